"""Regression with early stopping in a class, the best weights restored, and sklearn's numbers on the test part."""

import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import make_friedman1
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, Dataset

SEED = 3
np.random.seed(SEED)
torch.manual_seed(SEED)


class TableDataset(Dataset):
    def __init__(self, x, y):
        self.x = torch.FloatTensor(x)
        self.y = torch.FloatTensor(y).reshape(-1, 1)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, idx):
        return self.x[idx], self.y[idx]


class EarlyStopping:
    def __init__(self, patience):
        self.patience, self.counter, self.best = patience, 0, float("inf")
        self.stop = False

    def __call__(self, value, model):
        if value < self.best:
            self.best, self.counter = value, 0
            torch.save(model.state_dict(), "best.pt")
        else:
            self.counter += 1
            self.stop = self.counter >= self.patience


class MLP(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.fc1 = nn.Linear(n, 64)
        self.fc2 = nn.Linear(64, 32)
        self.out = nn.Linear(32, 1)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        x = self.drop(torch.relu(self.fc1(x)))
        return self.out(torch.relu(self.fc2(x)))


X, y = make_friedman1(900, noise=0.5, random_state=SEED)
x_train, x_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=SEED)
x_train, x_val, y_train, y_val = train_test_split(x_train, y_train, test_size=0.2, random_state=1)
scaler = StandardScaler()
x_train = scaler.fit_transform(x_train)
x_val, x_test = scaler.transform(x_val), scaler.transform(x_test)
train_loader = DataLoader(TableDataset(x_train, y_train), batch_size=32, shuffle=True)
val_loader = DataLoader(TableDataset(x_val, y_val), batch_size=64)
test_loader = DataLoader(TableDataset(x_test, y_test), batch_size=64)
model = MLP(X.shape[1])
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=1e-5)
stopper = EarlyStopping(2)
for epoch in range(12):
    model.train()
    for xb, yb in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        val_loss = np.mean([criterion(model(xb), yb).item() for xb, yb in val_loader])
    stopper(val_loss, model)
    if stopper.stop:
        print("early stop at", epoch)
        break
model.load_state_dict(torch.load("best.pt"))
model.eval()
preds, trues = [], []
with torch.no_grad():
    for xb, yb in test_loader:
        preds.append(model(xb).cpu().numpy())
        trues.append(yb.numpy())
preds, trues = np.concatenate(preds).ravel(), np.concatenate(trues).ravel()
print(f"RMSE {np.sqrt(mean_squared_error(trues, preds)):.6f}")
print(f"MAE {mean_absolute_error(trues, preds):.6f} R2 {r2_score(trues, preds):.6f}")
