"""SimCLR's shape: an encoder learns from two views with a loss of its own, then a linear probe is trained on it."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
        self.projector = nn.Sequential(nn.ReLU(), nn.Linear(32, 16))

    def forward(self, x):
        h = self.net(x)
        return h, self.projector(h)


def nt_xent(z1, z2, temperature=0.5):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    sim = z @ z.t() / temperature
    n = len(z1)
    sim.fill_diagonal_(-1e9)
    labels = torch.cat([torch.arange(n) + n, torch.arange(n)])
    return F.cross_entropy(sim, labels)


torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
train = TensorDataset(x[:1400], y[:1400])
loader = DataLoader(train, batch_size=100, shuffle=True, drop_last=True)
test_loader = DataLoader(TensorDataset(x[1400:], y[1400:]), batch_size=100)
encoder = Encoder()
opt = torch.optim.Adam(encoder.parameters(), lr=1e-3)
for _epoch in range(3):
    for images, _ in loader:
        views = [images + 0.1 * torch.randn_like(images) for _ in range(2)]
        loss = nt_xent(encoder(views[0])[1], encoder(views[1])[1])
        opt.zero_grad()
        loss.backward()
        opt.step()
    print(f"contrastive loss {loss.item():.4f}")


class Probe(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        with torch.no_grad():
            h, _ = self.backbone(x)
        return self.head(h)


probe = Probe(encoder)
opt = torch.optim.Adam(probe.head.parameters(), lr=1e-2)
for epoch in range(3):
    probe.head.train()
    for images, labels in loader:
        opt.zero_grad()
        F.cross_entropy(probe(images), labels).backward()
        opt.step()
    probe.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in test_loader:
            correct += probe(images).argmax(1).eq(labels).sum().item()
    print(f"linear probe epoch {epoch} accuracy {correct / len(test_loader.dataset):.6f}")
