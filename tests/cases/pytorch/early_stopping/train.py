import copy
import torch
from torch import nn
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset, random_split

x, y = load_breast_cancer(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0)
scaler = StandardScaler().fit(x_train)
train = TensorDataset(torch.tensor(scaler.transform(x_train), dtype=torch.float32), torch.tensor(y_train, dtype=torch.float32))
test = TensorDataset(torch.tensor(scaler.transform(x_test), dtype=torch.float32), torch.tensor(y_test, dtype=torch.float32))
train, val = random_split(train, [0.8, 0.2], generator=torch.Generator().manual_seed(0))
train_dl = DataLoader(train, batch_size=32, shuffle=True)
val_dl = DataLoader(val, batch_size=64)
test_dl = DataLoader(test, batch_size=64)

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(30, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
best, best_state, patience = float("inf"), None, 0
for epoch in range(30):
    model.train()
    for xb, yb in train_dl:
        optimizer.zero_grad()
        loss = criterion(model(xb).squeeze(1), yb)
        loss.backward()
        optimizer.step()
    model.eval()
    total = 0.0
    with torch.no_grad():
        for xb, yb in val_dl:
            total += criterion(model(xb).squeeze(1), yb).item() * len(xb)
    val_loss = total / len(val)
    scheduler.step(val_loss)
    if val_loss < best:
        best, best_state, patience = val_loss, copy.deepcopy(model.state_dict()), 0
    else:
        patience += 1
        if patience >= 5:
            break
print(f"best val loss {best:.6f} after {epoch + 1} epochs")
model.load_state_dict(best_state)
model.eval()
correct = 0
with torch.no_grad():
    for xb, yb in test_dl:
        pred = (torch.sigmoid(model(xb).squeeze(1)) > 0.5).float()
        correct += (pred == yb).sum().item()
print(f"test accuracy: {correct / len(test):.6f}")
torch.save(best_state, "best.pt")
