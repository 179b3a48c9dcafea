import torch
from torch import nn
class Block(nn.Module):
    def __init__(self, a, b):
        super().__init__(); self.l = nn.Linear(a, b)
    def forward(self, x): return self.l(x).clamp(min=0)
class Net(nn.Module):
    def __init__(self):
        super().__init__(); self.a = Block(4, 8); self.b = Block(8, 3)
    def forward(self, x): return self.b(self.a(x))
net = Net(); opt = torch.optim.SGD(net.parameters(), lr=.1)
loss = nn.functional.cross_entropy(net(x), y); loss.backward(); opt.step()
