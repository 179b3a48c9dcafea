import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Shapes(Dataset):
    def __init__(self, n, seed):
        g = torch.Generator().manual_seed(seed)
        self.x = torch.randn(n, 1, 16, 16, generator=g) * 0.4
        self.y = torch.zeros(n, 16, 16, dtype=torch.long)
        for i in range(n):
            a, b = torch.randint(0, 10, (2,), generator=g).tolist()
            self.y[i, a:a + 6, b:b + 6] = 1 + i % 2
        self.x[:, 0] += self.y.float()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"image": self.x[i], "mask": self.y[i]}


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.mid = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.out = nn.Conv2d(32, 3, 1)

    def forward(self, x):
        d = self.down(x)
        m = self.mid(F.max_pool2d(d, 2))
        return self.out(torch.cat([self.up(m), d], 1))


torch.manual_seed(0)
train_loader = DataLoader(Shapes(200, 0), batch_size=20, shuffle=True)
val_loader = DataLoader(Shapes(50, 1), batch_size=20)
model = UNet()
opt = torch.optim.AdamW(model.parameters(), lr=5e-3)
for epoch in range(3):
    model.train()
    for batch in train_loader:
        opt.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(batch["image"]), batch["mask"])
        loss.backward()
        opt.step()
    model.eval()
    right = total = 0
    inter, union = torch.zeros(3), torch.zeros(3)
    with torch.inference_mode():
        for batch in val_loader:
            pred = model(batch["image"]).argmax(1)
            right += (pred == batch["mask"]).sum().item()
            total += pred.numel()
            for c in range(3):
                inter[c] += ((pred == c) & (batch["mask"] == c)).sum()
                union[c] += ((pred == c) | (batch["mask"] == c)).sum()
    print(f"epoch {epoch}: pixel accuracy {right / total:.6f} miou {(inter / union).mean():.6f}")
