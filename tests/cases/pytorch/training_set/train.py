import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
class Aug(torch.utils.data.Dataset):
    def __init__(self, x, y): self.x, self.y = x, y
    def __len__(self): return len(self.x)
    def __getitem__(self, i): return self.x[i] + 0.01 * torch.randn(64), self.y[i]
m = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
opt = torch.optim.Adam(m.parameters(), 3e-3)
ds = Aug(x, y)
tr = DataLoader(ds, 64, shuffle=True)
for e in range(3):
    for a, b in tr:
        loss = F.cross_entropy(m(a), b); opt.zero_grad(); loss.backward(); opt.step()
m.eval(); n = 0
with torch.no_grad():
    for a, b in tr:
        n += (m(a).argmax(1) == b).sum().item()
print("acc", n / len(ds))
