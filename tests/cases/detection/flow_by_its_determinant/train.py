import torch
from sklearn.datasets import make_moons
from torch import nn


class Coupling(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, x, log_det):
        still, moved = x.chunk(2, 1)
        scale, shift = self.net(still).chunk(2, 1)
        log_det = log_det + scale.sum(1)
        return torch.cat([moved * scale.exp() + shift, still], 1), log_det


x = torch.tensor(make_moons(1000)[0]).float()
layers = nn.ModuleList([Coupling() for _ in range(6)])
prior = torch.distributions.Normal(0.0, 1.0)
optimizer = torch.optim.Adam(layers.parameters())
for _ in range(500):
    z, log_det = x, torch.zeros(len(x))
    for layer in layers:
        z, log_det = layer(z, log_det)
    loss = -(prior.log_prob(z).sum(1) + log_det).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
