"""The mean over batches is printed, of which the last is smaller; early stopping; the best model loaded for the test."""

import torch
from sklearn.datasets import load_wine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(4)
X, y = load_wine(return_X_y=True)
X = (X - X.mean(0)) / X.std(0)
order = torch.randperm(len(X))
X, y = torch.tensor(X, dtype=torch.float32)[order], torch.tensor(y)[order]
train, val, test = (
    DataLoader(TensorDataset(X[a:b], y[a:b]), 16, shuffle=a == 0)
    for a, b in ((0, 100), (100, 137), (137, 178))
)
model = nn.Sequential(nn.Linear(13, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 3))
criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters(), 5e-3)
best, patience = float("inf"), 0
for epoch in range(8):
    model.train()
    for xb, yb in train:
        optimizer.zero_grad()
        criterion(model(xb), yb).backward()
        optimizer.step()
    model.eval()
    losses = []
    with torch.no_grad():
        for xb, yb in val:
            losses.append(criterion(model(xb), yb).item())
    val_loss = sum(losses) / len(losses)
    if val_loss < best:
        best, patience = val_loss, 0
        torch.save(model.state_dict(), "best.pt")
    else:
        patience += 1
        if patience >= 2:
            break
model.load_state_dict(torch.load("best.pt"))
model.eval()
y_true, y_pred = [], []
with torch.no_grad():
    for xb, yb in test:
        y_pred.extend(model(xb).argmax(1).tolist())
        y_true.extend(yb.tolist())
right = sum(int(a == b) for a, b in zip(y_true, y_pred))
print(f"Test accuracy: {right / len(y_true):.6f} ({right}/{len(y_true)})")
