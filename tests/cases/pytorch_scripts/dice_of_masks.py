"""A small U-Net for binary masks: BCE with logits plus a Dice loss, sigmoid above a half, pixel accuracy and Dice."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Circles(Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        grid = torch.arange(16.0)
        self.items = []
        for _ in range(n):
            cx, cy, r = (torch.rand(3, generator=g) * torch.tensor([10.0, 10.0, 3.0]) + 3).tolist()
            mask = ((grid[:, None] - cx) ** 2 + (grid[None] - cy) ** 2 < r * r).float()[None]
            self.items.append((mask + 0.6 * torch.randn(1, 16, 16, generator=g), mask))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def block(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU())


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2 = block(1, 8), block(8, 16)
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.dec = block(16, 8)
        self.out = nn.Conv2d(8, 1, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.up(self.down2(self.pool(a)))
        return self.out(self.dec(torch.cat([a, b], 1)))


def dice_loss(logits, target, eps=1.0):
    p = torch.sigmoid(logits)
    inter = (p * target).sum()
    return 1 - (2 * inter + eps) / (p.sum() + target.sum() + eps)


torch.manual_seed(2)
train_loader = DataLoader(Circles(120, 0), 20, shuffle=True)
val_loader = DataLoader(Circles(60, 1), 20)
model = UNet()
bce = nn.BCEWithLogitsLoss()
opt = torch.optim.Adam(model.parameters(), 3e-3)
for epoch in range(3):
    model.train()
    for image, mask in train_loader:
        logits = model(image)
        loss = bce(logits, mask) + dice_loss(logits, mask)
        opt.zero_grad()
        loss.backward()
        opt.step()
    model.eval()
    num_correct = num_pixels = 0
    inter = both = 0.0
    with torch.no_grad():
        for image, mask in val_loader:
            preds = (torch.sigmoid(model(image)) > 0.5).float()
            num_correct += (preds == mask).sum().item()
            num_pixels += preds.numel()
            inter += (preds * mask).sum().item()
            both += (preds + mask).sum().item()
    print(f"epoch {epoch} acc {num_correct / num_pixels:.6f} dice {2 * inter / both:.6f}")
