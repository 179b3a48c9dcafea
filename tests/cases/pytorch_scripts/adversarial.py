"""DCGAN's shape: two networks against each other, no held-out data."""

import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
loader = DataLoader(
    TensorDataset(torch.randn(256, 1, 8, 8), torch.zeros(256)), batch_size=32, shuffle=True
)
netG = nn.Sequential(
    nn.ConvTranspose2d(8, 8, 4),
    nn.BatchNorm2d(8),
    nn.ReLU(),
    nn.ConvTranspose2d(8, 1, 4, 2, 1),
    nn.Tanh(),
)
netD = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 4), nn.Sigmoid())
criterion = nn.BCELoss()
fixed_noise = torch.randn(16, 8, 1, 1)
optimizerD = optim.Adam(netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
optimizerG = optim.Adam(netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
for epoch in range(2):
    for i, data in enumerate(loader, 0):
        netD.zero_grad()
        real = data[0]
        label = torch.full((real.size(0),), 1.0)
        output = netD(real).view(-1)
        errD_real = criterion(output, label)
        errD_real.backward()
        noise = torch.randn(real.size(0), 8, 1, 1)
        fake = netG(noise)
        label.fill_(0.0)
        errD_fake = criterion(netD(fake.detach()).view(-1), label)
        errD_fake.backward()
        optimizerD.step()
        netG.zero_grad()
        label.fill_(1.0)
        output = netD(fake).view(-1)
        errG = criterion(output, label)
        errG.backward()
        optimizerG.step()
        if i % 4 == 0:
            print(
                f"[{epoch}][{i}/{len(loader)}] Loss_D: {(errD_real + errD_fake).item():.4f} Loss_G: {errG.item():.4f}"
            )
    with torch.no_grad():
        fake = netG(fixed_noise)
    torch.save(netG.state_dict(), f"netG_epoch_{epoch}.pth")
