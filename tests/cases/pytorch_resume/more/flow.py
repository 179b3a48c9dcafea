import torch, sys
from torch import nn
torch.manual_seed(5)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)); opt = torch.optim.RAdam(model.parameters(), 1e-2)
class Stop(Exception): pass
class Engine:
    registry = {}
    def __init__(self): self.epoch = 0; self.it = 0; self.log = []
    def __getattr__(self, k):
        if k.startswith("do_"): return lambda *a: getattr(self, "train_" + k[3:])(*a)
        raise AttributeError(k)
    def train_step(self, b):
        x = torch.randn(16, 4)
        loss = nn.functional.mse_loss(model(x), x.sum(1, keepdim=True)) * b
        opt.zero_grad(); loss.backward(); opt.step()
        self.log.append(loss.item()); self.it += 1
        if loss.item() != loss.item(): raise Stop
        return loss
    def epoch_loop(self, n):
        i = 0
        while i < n:
            i += 1
            try:
                if i == 7: raise ValueError(i)
                self.do_step(1.0)
            except ValueError as e:
                self.log.append(-float(e.args[0])); continue
            finally:
                self.it += 0
            if self.it % 50 == 49: return "early"
        return "full"
    def run(self):
        for self.epoch in range(8):
            r = self.epoch_loop(20)
            print(self.epoch, self.it, r, sum(self.log), flush=True)
            if self.it > 140: raise Stop("done")
def search(depth):
    if depth == 0: return
    for j in range(3):
        l = e.train_step(0.5 + depth)
        search(depth - 1)
    print("search", depth, e.it, l.item(), flush=True)
e = Engine()
try: e.run()
except Stop as s: print("stopped", s)
search(3)
for lr in (0.1, 0.01):
    for g in opt.param_groups: g["lr"] = lr
    k = 0
    while True:
        k += 1
        for _ in range(2):
            if k % 3 == 0: break
            l = e.train_step(lr)
        else:
            e.log.append(k)
        if k > 12: break
    print(lr, k, l.item(), flush=True)
torch.save({"m": model.state_dict(), "log": e.log, "it": e.it}, "out.pt")
