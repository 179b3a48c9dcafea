"""A loop of the script's own with accelerate: prepared loaders, accumulation, a schedule, a generator over batches."""

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def scaled(loader, factor):
    for x, y in loader:
        yield x * factor, y


set_seed(9)
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
x = torch.randn(480, 8)
y = (x.sum(1) > 0).float()[:, None]
loader = DataLoader(TensorDataset(x, y), 16, shuffle=True)
model = nn.Sequential(nn.Linear(8, 24), nn.Tanh(), nn.Dropout(0.1), nn.Linear(24, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)
model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
losses = []
for epoch in range(5):
    for x1, y1 in scaled(loader, 1 + epoch / 10):
        with accelerator.accumulate(model):
            loss = nn.functional.binary_cross_entropy_with_logits(model(x1), y1)
            accelerator.backward(loss)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    accelerator.print(epoch, sum(losses[-30:]) / 30, scheduler.get_last_lr()[0])
torch.save({"model": accelerator.unwrap_model(model).state_dict(), "losses": losses}, "final.pt")
