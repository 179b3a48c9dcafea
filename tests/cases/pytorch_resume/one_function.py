"""Everything at the top level: no function, BatchNorm, Adam, gradient accumulation, checkpoints and a log of its own."""

import csv
import os

import numpy as np
import torch
from torch import nn

torch.manual_seed(3)
rng = np.random.default_rng(3)
x = torch.from_numpy(rng.normal(size=(900, 20)).astype("float32"))
y = (x[:, :5].sum(1) > 0).long()
model = nn.Sequential(nn.Linear(20, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
scaler = torch.amp.GradScaler("cpu", enabled=True)
ema = {name: value.clone() for name, value in model.state_dict().items()}
history = []
best = float("inf")
os.mkdir("checkpoints")
log = open("log.csv", "w", newline="")
writer = csv.writer(log)
writer.writerow(["epoch", "loss", "best"])
for epoch in range(6):
    order = rng.permutation(800)
    total = 0.0
    optimizer.zero_grad()
    for number, start in enumerate(range(0, 800, 25)):
        rows = torch.from_numpy(order[start : start + 25])
        noisy = x[rows] + torch.randn(len(rows), 20) * 0.1
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(model(noisy), y[rows]) / 2
        scaler.scale(loss).backward()
        if number % 2:
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            with torch.no_grad():
                for name, value in model.state_dict().items():
                    if value.is_floating_point():
                        ema[name].mul_(0.9).add_(value, alpha=0.1)
        total += loss.item()
        history.append(loss.item())
    model.eval()
    with torch.no_grad():
        held_out = nn.functional.cross_entropy(model(x[800:]), y[800:]).item()
    model.train()
    if held_out < best:
        best = held_out
        torch.save({"model": model.state_dict(), "epoch": epoch}, "checkpoints/best.pt")
    torch.save(optimizer.state_dict(), f"checkpoints/{epoch}.pt")
    if epoch > 1:
        os.remove(f"checkpoints/{epoch - 2}.pt")
    writer.writerow([epoch, total, best])
    print(epoch, total, held_out, best, flush=True)
log.close()
torch.save({"model": model.state_dict(), "ema": ema, "history": history}, "final.pt")
