import importlib
import sys

import torch

net = importlib.import_module(f"models.{sys.argv[1]}").Model()
optimizer = torch.optim.Adam(net.parameters())
for x, y in [(torch.ones(2, 8, 3), torch.ones(2))]:
    loss = ((net(x) - y) ** 2).mean()
    loss.backward()
    optimizer.step()
