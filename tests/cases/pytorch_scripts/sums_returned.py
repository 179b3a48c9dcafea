"""An evaluation that returns sums; the caller divides; a test set beside the validation set, at the end only."""

import torch
import torch.nn as nn
from sklearn.datasets import load_digits

torch.manual_seed(5)
X, Y = load_digits(return_X_y=True)
X, Y = torch.tensor(X, dtype=torch.float32) / 16, torch.tensor(Y)
loaders = [
    torch.utils.data.DataLoader(list(zip(X[a:b], Y[a:b])), batch_size=50, shuffle=a == 0)
    for a, b in ((0, 1200), (1200, 1500), (1500, 1797))
]
net = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
opt = torch.optim.SGD(net.parameters(), lr=0.5)
lossf = nn.CrossEntropyLoss(reduction="sum")


@torch.inference_mode()
def evaluate(loader):
    net.eval()
    loss_sum = n_correct = n = 0
    for xb, yb in loader:
        out = net(xb)
        loss_sum += lossf(out, yb)
        n_correct += (out.argmax(-1) == yb).sum()
        n += len(yb)
    return loss_sum.item(), n_correct.item(), n


for epoch in range(3):
    net.train()
    for xb, yb in loaders[0]:
        opt.zero_grad()
        (lossf(net(xb), yb) / len(yb)).backward()
        opt.step()
    l, c, n = evaluate(loaders[1])
    print(f"valid {l / n:.6f} {c / n:.6f}")
l, c, n = evaluate(loaders[2])
print(f"test loss {l / n:.6f} accuracy {c / n:.6f}")
