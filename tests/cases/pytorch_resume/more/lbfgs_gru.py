import torch
from torch import nn
from collections import deque, defaultdict
torch.manual_seed(1)
seq = torch.sin(torch.arange(0, 400) * 0.1)[:, None] + 0.1 * torch.randn(400, 1)
gru = nn.GRU(1, 16, batch_first=True); head = nn.Linear(16, 1)
opt = torch.optim.SGD([*gru.parameters(), *head.parameters()], 0.05, momentum=0.9, nesterov=True)
recent = deque(maxlen=7); stats = defaultdict(list)
total_loss = 0
for epoch in range(4):
    h = torch.zeros(1, 1, 16)
    running = 0
    for t in range(0, 380, 20):
        xb, yb = seq[None, t:t+20], seq[None, t+1:t+21]
        out, h = gru(xb, h)
        loss = nn.functional.mse_loss(head(out), yb)
        opt.zero_grad(); loss.backward(); opt.step()
        h = h.detach()
        recent.append(loss.item()); stats[epoch].append(loss.item())
        running += loss
    total_loss += running
    print(epoch, sum(recent), running.item(), total_loss.item(), flush=True)
lin = nn.Linear(10, 1); A = torch.randn(50, 10); b = A @ torch.randn(10, 1)
lb = torch.optim.LBFGS(lin.parameters(), lr=0.5, max_iter=3)
calls = [0]
for step in range(15):
    def closure():
        lb.zero_grad(); calls[0] += 1
        l = nn.functional.mse_loss(lin(A), b) + 0.01 * sum(p.abs().sum() for p in lin.parameters())
        l.backward(); return l
    l = lb.step(closure)
    print(step, l.item(), calls[0], flush=True)
torch.save({"g": gru.state_dict(), "h": head.state_dict(), "l": lin.state_dict(), "s": dict(stats), "hh": h}, "out.pt")
