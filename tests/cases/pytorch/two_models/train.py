import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
enc, head = nn.Sequential(nn.Linear(64, 32), nn.ReLU()), nn.Linear(32, 10)
opt = torch.optim.Adam([*enc.parameters(), *head.parameters()], 3e-3)
tr, te = DataLoader(TensorDataset(x[:1300], y[:1300]), 64, shuffle=True), DataLoader(TensorDataset(x[1300:], y[1300:]), 64)
for e in range(3):
    for a, b in tr:
        loss = F.cross_entropy(head(enc(a)), b); opt.zero_grad(); loss.backward(); opt.step()
enc.eval(); head.eval(); n = 0
with torch.no_grad():
    for a, b in te:
        n += (head(enc(a)).argmax(1) == b).sum().item()
print("acc", n / 497)
