"""Text classification with EmbeddingBag: a collate function with offsets, accuracy by a running count."""

import torch
from torch import nn
from torch.utils.data import DataLoader

torch.manual_seed(2)
texts = []
for i in range(500):
    label = i % 3
    words = torch.randint(0, 60, (int(torch.randint(3, 12, (1,))),))
    words[0] = label * 20 + torch.randint(0, 20, (1,)).item()
    texts.append((label, words // (1 if i % 5 else 1)))


def collate_batch(batch):
    labels = torch.tensor([label for label, _ in batch], dtype=torch.int64)
    offsets = torch.tensor([0] + [len(text) for _, text in batch][:-1]).cumsum(dim=0)
    return labels, torch.cat([text for _, text in batch]), offsets


class TextClassificationModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.EmbeddingBag(60, 16, sparse=False)
        self.fc = nn.Linear(16, 3)

    def forward(self, text, offsets):
        return self.fc(self.embedding(text, offsets))


def train(dataloader):
    model.train()
    for idx, (label, text, offsets) in enumerate(dataloader):
        optimizer.zero_grad()
        loss = criterion(model(text, offsets), label)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()


def evaluate(dataloader):
    model.eval()
    total_acc, total_count = 0, 0
    with torch.no_grad():
        for idx, (label, text, offsets) in enumerate(dataloader):
            predicted_label = model(text, offsets)
            loss = criterion(predicted_label, label)
            total_acc += (predicted_label.argmax(1) == label).sum().item()
            total_count += label.size(0)
    return total_acc / total_count


model = TextClassificationModel()
criterion = torch.nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=5.0)
train_dl = DataLoader(texts[:350], 16, shuffle=True, collate_fn=collate_batch)
valid_dl = DataLoader(texts[350:420], 16, shuffle=True, collate_fn=collate_batch)
test_dl = DataLoader(texts[420:], 16, shuffle=True, collate_fn=collate_batch)
for epoch in range(4):
    train(train_dl)
    print(f"valid accuracy {evaluate(valid_dl):8.3f}")
print(f"test accuracy {evaluate(test_dl):8.6f}")
