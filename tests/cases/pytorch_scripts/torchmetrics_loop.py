"""torchmetrics in a loop of its own: a collection of macro averages, computed after the epoch."""

import torch
import torchmetrics
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
train = DataLoader(TensorDataset(x[:1200], y[:1200]), 64, shuffle=True)
val = DataLoader(TensorDataset(x[1200:], y[1200:]), 128)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.Adam(model.parameters(), 5e-3)
metrics = torchmetrics.MetricCollection(
    {
        "acc": torchmetrics.classification.MulticlassAccuracy(10, average="micro"),
        "f1": torchmetrics.classification.MulticlassF1Score(10, average="macro"),
    }
)
for epoch in range(3):
    model.train()
    for xb, yb in train:
        loss = nn.functional.cross_entropy(model(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        for xb, yb in val:
            metrics.update(model(xb), yb)
    found = metrics.compute()
    metrics.reset()
    print(f"epoch {epoch} acc {found['acc']:.6f} f1 {found['f1']:.6f}")
