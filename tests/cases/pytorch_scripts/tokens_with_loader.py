"""A causal transformer over characters: a DataLoader of blocks, mean loss and perplexity of the validation part."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(1337)
words = "the quick brown fox jumps over lazy dog and runs away from a slow cat".split()
text = " ".join(words[i] for i in torch.randint(0, len(words), (700,)).tolist())
chars = sorted(set(text))
stoi = {c: i for i, c in enumerate(chars)}
data = torch.tensor([stoi[c] for c in text])
block_size = 16


class Blocks(Dataset):
    def __init__(self, data):
        self.data = data

    def __len__(self):
        return (len(self.data) - 1) // block_size

    def __getitem__(self, i):
        a = i * block_size
        return self.data[a : a + block_size], self.data[a + 1 : a + block_size + 1]


class TinyGPT(nn.Module):
    def __init__(self, vocab, width=32):
        super().__init__()
        self.tok = nn.Embedding(vocab, width)
        self.pos = nn.Embedding(block_size, width)
        layer = nn.TransformerEncoderLayer(width, 2, 64, 0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, 1)
        self.head = nn.Linear(width, vocab)

    def forward(self, idx, targets=None):
        mask = nn.Transformer.generate_square_subsequent_mask(idx.shape[1])
        h = self.tok(idx) + self.pos(torch.arange(idx.shape[1]))
        logits = self.head(self.blocks(h, mask=mask))
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


n = int(0.9 * len(data))
train_loader = DataLoader(Blocks(data[:n]), 16, shuffle=True)
val_loader = DataLoader(Blocks(data[n:]), 16, drop_last=True)
model = TinyGPT(len(chars))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
for epoch in range(2):
    model.train()
    for xb, yb in train_loader:
        _, loss = model(xb, yb)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    model.eval()
    losses = []
    with torch.no_grad():
        for xb, yb in val_loader:
            losses.append(model(xb, yb)[1].item())
    mean = sum(losses) / len(losses)
    print(f"epoch {epoch} val loss {mean:.6f} ppl {math.exp(mean):.6f}")
