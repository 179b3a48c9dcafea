"""Augmentation in two persistent workers, by Python's, numpy's and PyTorch's random numbers; a weighted sampler."""

import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler


class Augmented(Dataset):
    def __init__(self, x, y, train):
        self.x, self.y, self.train, self.seen = x, y, train, 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        im = self.x[i]
        self.seen += 1
        if self.train:
            im = np.roll(im, (random.randint(-2, 2), self.seen % 3), (0, 1))
            im = im + np.random.normal(0, 0.05, im.shape).astype(np.float32)
            if torch.rand(1).item() < 0.3:
                im = im * 0.8
        return torch.from_numpy(im)[None], int(self.y[i])


def evaluate(model, loader):
    model.eval()
    hit = n = 0
    with torch.inference_mode():
        for x, y in loader:
            hit += (model(x).argmax(1) == y).sum().item()
            n += len(y)
    return hit / n


def run(workers=2):
    x = np.random.rand(600, 10, 10).astype(np.float32)
    y = (x.mean((1, 2)) > 0.5).astype(int)
    sampler = WeightedRandomSampler(np.where(y[:500] == 1, 1.0, 2.0), 500)
    data = Augmented(x[:500], y[:500], True)
    train = DataLoader(data, 25, sampler=sampler, num_workers=workers, persistent_workers=True)
    plain = DataLoader(data, 50, shuffle=True, num_workers=workers)
    test = DataLoader(Augmented(x[500:], y[500:], False), 50)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(256, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(5):
        model.train()
        total = 0
        for (x1, y1), (x2, y2) in zip(train, plain):
            loss = nn.functional.cross_entropy(model(torch.cat([x1, x2])), torch.cat([y1, y2]))
            optimizer.zero_grad(set_to_none=False)
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(epoch, total, evaluate(model, test), flush=True)
    torch.save(model.state_dict(), "model.pt")


if __name__ == "__main__":
    run()
