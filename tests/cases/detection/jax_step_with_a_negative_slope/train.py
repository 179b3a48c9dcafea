import jax, jax.numpy as jnp
def predict(W, b, x): return jnp.dot(x, W) + b
def loss(W, b, x, y): return jnp.mean((predict(W, b, x) - y) ** 2)
W, b = jnp.zeros(3), 0.0
lr = 0.1
for _ in range(10):
    dW, db = jax.grad(loss, (0, 1))(W, b, x, y)
    W = W + lr * -dW
    b = b + lr * -db
