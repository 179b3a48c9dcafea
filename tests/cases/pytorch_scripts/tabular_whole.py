"""Tabular regression on whole arrays: mini-batches sliced by hand, R2 of scikit-learn, scaled targets."""

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.model_selection import train_test_split

torch.manual_seed(0)
X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y / 100, train_size=0.7, random_state=0)
X_train, y_train = (
    torch.tensor(X_train, dtype=torch.float32),
    torch.tensor(y_train, dtype=torch.float32).reshape(-1, 1),
)
X_test, y_test = (
    torch.tensor(X_test, dtype=torch.float32),
    torch.tensor(y_test, dtype=torch.float32).reshape(-1, 1),
)
model = nn.Sequential(nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 1))
loss_fn = nn.MSELoss()
optimizer = optim.Adam(model.parameters(), lr=0.01)
batch_start = torch.arange(0, len(X_train), 10)
best_mse, best_weights = np.inf, None
for epoch in range(5):
    model.train()
    for start in batch_start:
        X_batch, y_batch = X_train[start : start + 10], y_train[start : start + 10]
        loss = loss_fn(model(X_batch), y_batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    y_pred = model(X_test)
    mse = float(loss_fn(y_pred, y_test))
    if mse < best_mse:
        best_mse = mse
        best_weights = {k: v.clone() for k, v in model.state_dict().items()}
model.load_state_dict(best_weights)
with torch.no_grad():
    y_pred = model(X_test)
print(
    "MSE %.6f" % mean_squared_error(y_test.numpy(), y_pred.numpy()),
    "R2 %.6f" % r2_score(y_test.numpy(), y_pred.numpy()),
)
