import torch, random, json, logging, functools, numpy as np
from dataclasses import dataclass, field
from collections import namedtuple, OrderedDict, Counter
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
logging.basicConfig(filename="run.log", level=logging.INFO, format="%(message)s")
log = logging.getLogger("x")
class Meter:
    all = []
    total = 0
    __slots__ = ("name", "sum", "n", "__weakref__")
    def __init__(self, name): self.name, self.sum, self.n = name, 0.0, 0; Meter.all.append(self)
    def update(self, v): self.sum += v; self.n += 1; Meter.total += 1
    @property
    def avg(self): return self.sum / max(self.n, 1)
@dataclass
class Config:
    lr: float = 1e-2
    history: list = field(default_factory=list)
    best: tuple = (0, None)
Result = namedtuple("Result", "epoch loss")
cfg = Config(); counts = Counter(); rng = np.random.default_rng(1); pyr = random.Random(2)
torch.manual_seed(4)
x = torch.randn(320, 10); w = torch.randn(10, 1); y = x @ w
data = x.numpy()          # shares memory
model = nn.Linear(10, 1)
alias = model.weight
ref = model.state_dict()  # an alias of the weights, on purpose
opt = torch.optim.Adagrad([{"params": [model.weight]}, {"params": [model.bias], "lr": 0.1}], lr=cfg.lr)
@functools.lru_cache(None)
def noise(epoch): return torch.full((1,), epoch * 0.01)
augment = functools.partial(lambda a, s: a + s, s=noise(0))
hooks = []
def hook(module, args, out): hooks.append(out.detach().mean().item())
handle = model.register_forward_hook(hook)
def run_epoch(epoch, meter, lines):
    order = list(range(0, 320, 16)); pyr.shuffle(order)
    for s in order:
        data[s] += 0.001 * rng.normal(size=10).astype("float32")   # in place, seen by x
        xb, yb = augment(x[s:s+16]), y[s:s+16]
        loss = nn.functional.huber_loss(model(xb), yb)
        opt.zero_grad(); loss.backward(); opt.step()
        meter.update(loss.item()); counts[s % 5] += 1
        cfg.history.append(Result(epoch, loss.item()))
        if pyr.random() < 0.2: lines.write(json.dumps({"e": epoch, "l": loss.item()}) + "\n")
    return meter.avg
with open("lines.jsonl", "w") as lines:
    for epoch in range(6):
        meter = Meter(f"m{epoch}")
        avg = run_epoch(epoch, meter, lines)
        if epoch == 3: handle.remove(); handle = model.register_forward_hook(hook)
        augment = functools.partial(augment.func, s=noise(epoch))
        if cfg.best[1] is None or avg < cfg.best[1]: cfg.best = (epoch, avg)
        log.info("epoch %d avg %.6f total %d %s", epoch, avg, Meter.total, alias is model.weight)
        np.savez(f"arr{epoch}.npz", data[:3])
        print(epoch, avg, Meter.total, ref["weight"].sum().item(), len(hooks), flush=True)
torch.save({"m": model.state_dict(), "x": x, "h": hooks, "hist": [tuple(r) for r in cfg.history], "best": cfg.best, "c": dict(counts), "avgs": [m.avg for m in Meter.all]}, "out.pt")
