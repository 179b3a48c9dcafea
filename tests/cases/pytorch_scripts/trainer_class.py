"""A Trainer class with self.epoch, gradient accumulation, autocast, compiled model, history in a dict."""

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Trainer:
    def __init__(self, model, loaders, lr=1e-2, accumulate=2):
        self.model = model
        self.train_loader, self.valid_loader = loaders
        self.criterion = nn.BCEWithLogitsLoss()
        self.optimizer = torch.optim.Adam(model.parameters(), lr)
        self.accumulate = accumulate
        self.epoch = 0
        self.history = {"train_loss": [], "valid_loss": [], "valid_acc": []}

    def _step(self, batch):
        x, y = batch
        logits = self.model(x).squeeze(1)
        return logits, self.criterion(logits, y), y

    def train_epoch(self):
        self.model.train()
        total = 0
        for i, batch in enumerate(self.train_loader):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=False):
                _, loss, _ = self._step(batch)
            (loss / self.accumulate).backward()
            if (i + 1) % self.accumulate == 0:
                self.optimizer.step()
                self.optimizer.zero_grad()
            total += loss.item()
        return total / len(self.train_loader)

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        total, right, count = 0, 0, 0
        for batch in self.valid_loader:
            logits, loss, y = self._step(batch)
            total += loss.item() * len(y)
            right += ((torch.sigmoid(logits) >= 0.5).float() == y).sum().item()
            count += len(y)
        return total / count, right / count

    def fit(self, epochs):
        while self.epoch < epochs:
            self.history["train_loss"].append(self.train_epoch())
            loss, acc = self.validate()
            self.history["valid_loss"].append(loss)
            self.history["valid_acc"].append(acc)
            self.epoch += 1
            print(f"epoch {self.epoch} loss {loss:.6f} acc {acc:.6f}")


torch.manual_seed(0)
x, y = load_breast_cancer(return_X_y=True)
x_train, x_valid, y_train, y_valid = train_test_split(x, y, random_state=0, stratify=y)
scaler = StandardScaler().fit(x_train)
sets = [
    TensorDataset(
        torch.tensor(scaler.transform(a), dtype=torch.float32), torch.tensor(b, dtype=torch.float32)
    )
    for a, b in ((x_train, y_train), (x_valid, y_valid))
]
model = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1))
Trainer(model, (DataLoader(sets[0], 32, shuffle=True), DataLoader(sets[1], 64))).fit(4)
