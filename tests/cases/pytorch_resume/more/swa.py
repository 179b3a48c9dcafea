import torch, math, itertools
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.optim.swa_utils import AveragedModel, SWALR, update_bn
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(2)
x = torch.randn(400, 1, 16); y = x.mean((1, 2), keepdim=False)[:, None]
loader = DataLoader(TensorDataset(x, y), 16, shuffle=True, generator=torch.Generator().manual_seed(4))
model = nn.Sequential(weight_norm(nn.Conv1d(1, 4, 3)), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(56, 1))
opt = torch.optim.Adam(model.parameters(), 1e-2, amsgrad=True)
swa = AveragedModel(model); sched = SWALR(opt, swa_lr=5e-3, anneal_epochs=2)
warm = torch.optim.lr_scheduler.LambdaLR(opt, lambda e: 0.5 * (1 + math.cos(math.pi * e / 6)))
scaler = torch.amp.GradScaler("cpu", init_scale=256., growth_interval=20)
ema = torch.optim.swa_utils.AveragedModel(model, avg_fn=lambda a, b, n: 0.9 * a + 0.1 * b)
global_step = 0
for epoch in itertools.count():
    if epoch >= 6: break
    for i, (xb, yb) in enumerate(loader, 1):
        if i == 5 and epoch % 2: continue
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = nn.functional.mse_loss(model(xb), yb)
        scaler.scale(loss).backward()
        scaler.unscale_(opt); torch.nn.utils.clip_grad_value_(model.parameters(), 0.5)
        scaler.step(opt); scaler.update(); opt.zero_grad()
        ema.update_parameters(model); global_step += 1
    if epoch > 2: swa.update_parameters(model); sched.step()
    else: warm.step()
    print(epoch, global_step, loss.item(), scaler.get_scale(), opt.param_groups[0]["lr"], flush=True)
update_bn(loader, swa)
torch.save({"m": model.state_dict(), "swa": swa.state_dict(), "ema": ema.state_dict(), "scaler": scaler.state_dict(), "opt": opt.state_dict()}, "out.pt")
