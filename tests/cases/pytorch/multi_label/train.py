import numpy as np
import torch
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import accuracy_score, f1_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x, y = make_multilabel_classification(n_samples=600, n_features=20, n_classes=5, random_state=0)
x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
train_loader = DataLoader(TensorDataset(x[:450], y[:450]), batch_size=32, shuffle=True)
test_loader = DataLoader(TensorDataset(x[450:], y[450:]), batch_size=32)
model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 5))
loss_fn = nn.BCEWithLogitsLoss()
opt = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(5):
    model.train()
    for xb, yb in train_loader:
        opt.zero_grad()
        loss_fn(model(xb), yb).backward()
        opt.step()
model.eval()
preds, truth = [], []
with torch.no_grad():
    for xb, yb in test_loader:
        preds.append((torch.sigmoid(model(xb)) > 0.5).int().cpu().numpy())
        truth.append(yb.int().cpu().numpy())
preds, truth = np.concatenate(preds), np.concatenate(truth)
print(f"micro f1 {f1_score(truth, preds, average='micro'):.6f} subset accuracy {accuracy_score(truth, preds):.6f}")
