"""torchmetrics: a collection for regression, updated batch by batch, reset after each epoch."""

import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection, R2Score

torch.manual_seed(0)
X, y = load_diabetes(return_X_y=True)
X = torch.tensor(X / X.std(0), dtype=torch.float32)
y = torch.tensor(y, dtype=torch.float32).unsqueeze(1)
dataset = TensorDataset(X, y)
train_set, test_set = random_split(dataset, [342, 100], torch.Generator().manual_seed(1))
train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
test_loader = DataLoader(test_set, batch_size=50)
model = nn.Sequential(nn.Linear(10, 64), nn.SiLU(), nn.Linear(64, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
loss_fn = nn.SmoothL1Loss()
metrics = MetricCollection(
    {"mae": MeanAbsoluteError(), "mse": MeanSquaredError(), "r2": R2Score()}
)
for epoch in range(8):
    model.train()
    for xb, yb in train_loader:
        loss = loss_fn(model(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        for xb, yb in test_loader:
            metrics.update(model(xb), yb)
    found = metrics.compute()
    metrics.reset()
    print(f"epoch {epoch} MAE {found['mae']:.6f} MSE {found['mse']:.6f} R2 {found['r2']:.6f}")
