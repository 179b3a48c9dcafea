"""Regression of a polynomial on batches made on the spot; nothing is held out."""

from itertools import count

import torch
import torch.nn.functional as F

torch.manual_seed(0)
W_target = torch.randn(4, 1) * 5
b_target = torch.randn(1) * 5


def get_batch(batch_size=32):
    random = torch.randn(batch_size)
    x = torch.cat([random.unsqueeze(1) ** i for i in range(1, 5)], 1)
    return x, x.mm(W_target) + b_target.item()


fc = torch.nn.Linear(4, 1)
for batch_idx in count(1):
    batch_x, batch_y = get_batch()
    fc.zero_grad()
    output = F.smooth_l1_loss(fc(batch_x), batch_y)
    loss = output.item()
    output.backward()
    for param in fc.parameters():
        param.data.add_(-0.1 * param.grad)
    if loss < 1e-2 or batch_idx > 400:
        break
print(f"Loss: {loss:.6f} after {batch_idx} batches")
