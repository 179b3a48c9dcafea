"""A tagger: padded sequences of different lengths, a bidirectional LSTM, accuracy of the tokens that are no padding."""

import random

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

random.seed(0)
torch.manual_seed(0)
PAD = -100


class Sentences(Dataset):
    def __init__(self, n, seed):
        r = random.Random(seed)
        self.items = []
        for _ in range(n):
            words = [r.randrange(1, 50) for _ in range(r.randrange(4, 12))]
            tags = [(w + (words[i - 1] if i else 0)) % 3 for i, w in enumerate(words)]
            self.items.append((torch.tensor(words), torch.tensor(tags)))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def collate(batch):
    words, tags = zip(*batch)
    return (
        pad_sequence(words, batch_first=True, padding_value=0),
        pad_sequence(tags, batch_first=True, padding_value=PAD),
    )


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(50, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 24, batch_first=True, bidirectional=True)
        self.out = nn.Linear(48, 3)

    def forward(self, x):
        return self.out(self.lstm(self.emb(x))[0])


train_iter = DataLoader(Sentences(300, 1), 20, shuffle=True, collate_fn=collate)
dev_iter = DataLoader(Sentences(100, 2), 20, collate_fn=collate)
model = Tagger()
criterion = nn.CrossEntropyLoss(ignore_index=PAD)
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
for epoch in range(3):
    model.train()
    for words, tags in train_iter:
        optimizer.zero_grad()
        logits = model(words)
        loss = criterion(logits.view(-1, logits.shape[-1]), tags.view(-1))
        loss.backward()
        optimizer.step()
    model.eval()
    right = total = 0
    with torch.no_grad():
        for words, tags in dev_iter:
            pred = model(words).argmax(-1)
            mask = tags != PAD
            right += (pred[mask] == tags[mask]).sum().item()
            total += mask.sum().item()
    print(f"epoch {epoch}: dev token accuracy {right / total:.6f}")
