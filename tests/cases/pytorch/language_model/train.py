import math
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(1337)
words = "the a quick brown lazy dog fox jumps sleeps runs over under near it and but then".split()
text = " ".join(words[i] for i in torch.randint(len(words), (4000,)))
chars = sorted(set(text))
stoi = {c: i for i, c in enumerate(chars)}
data = torch.tensor([stoi[c] for c in text], dtype=torch.long)
n = int(0.9 * len(data))
train_data, val_data = data[:n], data[n:]
block_size, batch_size, eval_iters = 16, 32, 10


def get_batch(split):
    d = train_data if split == "train" else val_data
    ix = torch.randint(len(d) - block_size, (batch_size,))
    x = torch.stack([d[i:i + block_size] for i in ix])
    y = torch.stack([d[i + 1:i + block_size + 1] for i in ix])
    return x, y


class Model(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.embed = nn.Embedding(vocab, 32)
        self.rnn = nn.GRU(32, 64, batch_first=True)
        self.head = nn.Linear(64, vocab)

    def forward(self, idx, targets=None):
        h, _ = self.rnn(self.embed(idx))
        logits = self.head(h)
        loss = None
        if targets is not None:
            B, T, C = logits.shape
            loss = F.cross_entropy(logits.view(B * T, C), targets.view(B * T))
        return logits, loss


model = Model(len(chars))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)


@torch.no_grad()
def estimate_loss():
    out = {}
    model.eval()
    for split in ["train", "val"]:
        losses = torch.zeros(eval_iters)
        for k in range(eval_iters):
            X, Y = get_batch(split)
            logits, loss = model(X, Y)
            losses[k] = loss.item()
        out[split] = losses.mean()
    model.train()
    return out


for it in range(81):
    if it % 40 == 0:
        losses = estimate_loss()
        print(f"step {it}: train loss {losses['train']:.6f}, val loss {losses['val']:.6f} ppl {math.exp(losses['val']):.5f}")
    xb, yb = get_batch("train")
    logits, loss = model(xb, yb)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
losses = estimate_loss()
print(f"val loss {losses['val']:.6f}, perplexity {math.exp(losses['val']):.6f}")
