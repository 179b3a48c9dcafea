import torch, numpy as np, random
from torch import nn
torch.manual_seed(6); np.random.seed(6)
class Env:
    def __init__(self): self.rng = np.random.RandomState(0)
    def reset(self): self.s = self.rng.randn(3); self.t = 0; return self.s.copy()
    def step(self, a): self.t += 1; self.s = self.s + (0.1 if a else -0.1) + 0.05 * self.rng.randn(3); return self.s.copy(), float(-abs(self.s).sum()), self.t > 8 or abs(self.s).sum() > 4
policy = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2)); value = nn.Linear(3, 1)
opt = torch.optim.Adam([*policy.parameters(), *value.parameters()], 1e-2)
env = Env(); buffer = []; returns = []
for episode in range(40):
    s, done, logps, rs, vs = env.reset(), False, [], [], []
    while not done:
        st = torch.as_tensor(s, dtype=torch.float32)
        d = torch.distributions.Categorical(logits=policy(st)); a = d.sample()
        vs.append(value(st)); s, r, done = env.step(a.item())
        logps.append(d.log_prob(a)); rs.append(r); buffer.append((st, a, r))
    if len(buffer) > 200: del buffer[:50]
    R, loss = 0, 0
    for lp, r, v in reversed(list(zip(logps, rs, vs))):
        R = r + 0.99 * R; loss = loss - lp * (R - v.item()) + (v - R) ** 2
    opt.zero_grad(); loss.sum().backward(); opt.step()
    for _ in range(2):
        batch = random.sample(buffer, min(16, len(buffer)))
        st = torch.stack([b[0] for b in batch]); rr = torch.tensor([b[2] for b in batch])
        l2 = nn.functional.mse_loss(value(st)[:, 0], rr); opt.zero_grad(); l2.backward(); opt.step()
    returns.append(sum(rs))
    if episode % 5 == 0: print(episode, np.mean(returns[-5:]), l2.item(), flush=True)
torch.save({"p": policy.state_dict(), "v": value.state_dict(), "r": returns}, "out.pt")
