import copy, torch, numpy as np
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset
torch.manual_seed(0); np.random.seed(0)
x = torch.randn(300, 8); y = (x[:, 0] * x[:, 1] > 0).long()
data = TensorDataset(x, y)
results, models = [], []
def make_counter():
    n = 0
    def tick(k=1):
        nonlocal n
        n += k
        return n
    return tick
tick = make_counter()
folds = np.array_split(np.random.permutation(300), 3)
for k, held in enumerate(folds):
    rest = np.concatenate([f for f in folds if f is not held])
    model = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 2))
    loader = DataLoader(Subset(data, rest.tolist()), 20, shuffle=True)
    opt = torch.optim.AdamW(model.parameters(), 1e-2)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 1e-2, epochs=4, steps_per_epoch=len(loader))
    best, best_state, bad = -1, None, 0
    for epoch in range(4):
        for xb, yb in loader:
            loss = nn.functional.cross_entropy(model(xb), yb)
            opt.zero_grad(); loss.backward(); opt.step(); sched.step(); tick()
        with torch.no_grad():
            acc = (model(x[held]).argmax(1) == y[held]).float().mean().item()
        print(k, epoch, round(acc, 4), tick(0), flush=True)
        if acc > best:
            best, best_state, bad = acc, copy.deepcopy(model.state_dict()), 0
        else:
            bad += 1
            if bad > 2: break
    else:
        print("all epochs", k, flush=True)
    model.load_state_dict(best_state)
    results.append(best); models.append(model)
    torch.save(best_state, f"fold{k}.pt")
print("mean", np.mean(results), tick(0))
torch.save([m.state_dict() for m in models], "all.pt")
