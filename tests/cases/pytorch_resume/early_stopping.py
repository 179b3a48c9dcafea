"""A trainer class with early stopping, a plateau scheduler, tqdm, and a deep copy of the best weights; two fits."""

import copy

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from tqdm import tqdm


class EarlyStopping:
    def __init__(self, patience=3):
        self.patience, self.counter, self.best, self.state = patience, 0, None, None

    def __call__(self, loss, model):
        if self.best is None or loss < self.best - 1e-4:
            self.best, self.counter, self.state = loss, 0, copy.deepcopy(model.state_dict())
        else:
            self.counter += 1
        return self.counter >= self.patience


class Trainer:
    def __init__(self, model, lr):
        self.model, self.epoch, self.losses = model, 0, []
        self.optimizer = torch.optim.RMSprop(model.parameters(), lr=lr)
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, patience=1, factor=0.5)
        self.stopper = EarlyStopping()

    def run_epoch(self, loader):
        self.model.train()
        total = 0
        bar = tqdm(loader, desc=f"epoch {self.epoch}", leave=False)
        for x, y in bar:
            loss = nn.functional.mse_loss(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            total += loss.item()
            self.losses.append(loss.item())
            bar.set_postfix(loss=loss.item())
        return total / len(loader)

    @torch.no_grad()
    def evaluate(self, loader):
        self.model.eval()
        return sum(nn.functional.mse_loss(self.model(x), y).item() for x, y in loader) / len(loader)

    def fit(self, train, held_out, epochs):
        while self.epoch < epochs:
            loss, held = self.run_epoch(train), self.evaluate(held_out)
            self.scheduler.step(held)
            print(self.epoch, loss, held, self.optimizer.param_groups[0]["lr"], self.stopper.counter, flush=True)
            self.epoch += 1
            if self.stopper(held, self.model):
                print("stopped early")
                break
        self.model.load_state_dict(self.stopper.state)


torch.manual_seed(11)
x = torch.randn(600, 10)
y = (x[:, :1] * x[:, 1:2]) + 0.3 * torch.randn(600, 1)
train, held_out = random_split(TensorDataset(x, y), [480, 120])
model = nn.Sequential(nn.Linear(10, 64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 1))
for lr in (3e-3, 1e-2):
    trainer = Trainer(model, lr)
    trainer.fit(DataLoader(train, 24, shuffle=True), DataLoader(held_out, 60), 9)
    torch.save({"model": model.state_dict(), "losses": trainer.losses}, f"best_{lr}.pt")
