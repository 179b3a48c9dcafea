"""A GAN: two optimizers, one `while` over steps, `next(it)` of a loader that is begun again when it is over."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(7)
data = TensorDataset(torch.rand(700, 36) * 2 - 1)
loader = DataLoader(data, batch_size=32, shuffle=True, drop_last=True)
G = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 36), nn.Tanh())
D = nn.Sequential(nn.Linear(36, 32), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(32, 1))
opt_g = torch.optim.Adam(G.parameters(), 2e-4, betas=(0.5, 0.999))
opt_d = torch.optim.Adam(D.parameters(), 2e-4, betas=(0.5, 0.999))
bce = nn.BCEWithLogitsLoss()
fixed = torch.randn(4, 8)
step, N = 0, 260
it = iter(loader)
log = {"g": [], "d": []}
while step < N:
    try:
        (real,) = next(it)
    except StopIteration:
        it = iter(loader)
        (real,) = next(it)
    z = torch.randn(real.size(0), 8)
    fake = G(z)
    loss_d = bce(D(real), torch.ones(real.size(0), 1)) + bce(D(fake.detach()), torch.zeros(real.size(0), 1))
    opt_d.zero_grad()
    loss_d.backward()
    opt_d.step()
    loss_g = bce(D(fake), torch.ones(real.size(0), 1))
    opt_g.zero_grad()
    loss_g.backward()
    opt_g.step()
    log["g"].append(loss_g.item())
    log["d"].append(loss_d.item())
    step += 1
    if step % 20 == 0:
        G.eval()
        with torch.no_grad():
            s = G(fixed).sum().item()
        G.train()
        print(step, loss_d.item(), loss_g.item(), s, flush=True)
torch.save({"G": G.state_dict(), "D": D.state_dict(), "log": torch.tensor(log["g"] + log["d"])}, "gan.pt")
