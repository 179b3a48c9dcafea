import math

import torch
from torch import nn


class Heads(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(size, size), nn.Linear(size, size), nn.Linear(size, size)

    def forward(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
        return torch.matmul(torch.softmax(scores, dim=-1), v)


class Sounds(nn.Module):
    def __init__(self):
        super().__init__()
        self.cut = nn.Sequential(nn.Conv1d(1, 16, 5, 2), nn.GELU(), nn.Conv1d(16, 16, 5, 2))
        self.blocks = nn.ModuleList([Heads(16) for _ in range(4)])
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        x = self.cut(x).transpose(1, 2)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x.mean(1))


net = Sounds()
steps = torch.optim.SGD(net.parameters(), 0.1)
loss = nn.functional.cross_entropy(net(torch.ones(2, 1, 99)), torch.tensor([0, 1]))
loss.backward()
steps.step()
