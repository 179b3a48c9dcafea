"""Training by steps: `while step < max_steps` around an endless iterator, evaluated every so many steps."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

torch.manual_seed(4)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(y)
train_ds, eval_ds = TensorDataset(x[:1500], y[:1500]), TensorDataset(x[1500:], y[1500:])


def endless(loader):
    while True:
        yield from loader


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.head = nn.Linear(8 * 16, 10)

    def forward(self, images):
        h = F.max_pool2d(F.gelu(self.norm(self.conv(images))), 2)
        return self.head(h.flatten(1))


batches = endless(DataLoader(train_ds, 32, sampler=RandomSampler(train_ds)))
eval_loader = DataLoader(eval_ds, 99)
net = Net()
optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / 20))
step, max_steps, eval_every = 0, 120, 40
while step < max_steps:
    images, labels = next(batches)
    net.train()
    loss = F.cross_entropy(net(images), labels, label_smoothing=0.1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    warmup.step()
    step += 1
    if step % eval_every == 0:
        net.eval()
        hits = 0
        with torch.no_grad():
            for images, labels in eval_loader:
                hits += torch.eq(net(images).topk(1, dim=1)[1].squeeze(1), labels).sum().item()
        print(f"step {step} eval accuracy {hits / len(eval_ds):.6f}")
