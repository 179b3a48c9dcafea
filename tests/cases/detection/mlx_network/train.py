import mlx.core as mx, mlx.nn as nn, mlx.optimizers as optim
class MLP(nn.Module):
    def __init__(self, n, i, h, o):
        super().__init__()
        sizes = [i] + [h] * n + [o]
        self.layers = [nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:])]
    def __call__(self, x):
        for l in self.layers[:-1]: x = mx.maximum(l(x), 0.0)
        return self.layers[-1](x)
def loss_fn(model, X, y): return mx.mean(nn.losses.cross_entropy(model(X), y))
model = MLP(2, 784, 32, 10)
lg = nn.value_and_grad(model, loss_fn)
opt = optim.SGD(1e-2)
loss, grads = lg(model, X, y); opt.update(model, grads)
