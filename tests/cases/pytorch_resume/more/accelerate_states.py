"""Accelerate's example shape: prepared loaders with workers, gathered metrics, clipped gradients, states saved."""

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Pairs(Dataset):
    def __init__(self, n, seed):
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randn(n, 6, generator=generator)
        self.y = (self.x[:, 0] > self.x[:, 1]).long()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"x": self.x[index] * (1 + 0.1 * torch.rand(1)), "y": self.y[index]}


def training_function(epochs):
    accelerator = Accelerator(cpu=True)
    set_seed(2)
    train = DataLoader(Pairs(320, 1), 16, shuffle=True, num_workers=2, drop_last=True)
    val = DataLoader(Pairs(90, 2), 32)
    model = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(0.2), nn.Linear(16, 2))
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-2, total_steps=epochs * len(train))
    model, optimizer, train, val, schedule = accelerator.prepare(model, optimizer, train, val, schedule)
    for epoch in range(epochs):
        model.train()
        total = 0
        for step, batch in enumerate(train):
            with accelerator.autocast():
                loss = nn.functional.cross_entropy(model(batch["x"]), batch["y"])
            total += loss.detach().float()
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        model.eval()
        right = []
        for batch in val:
            with torch.no_grad():
                answer = model(batch["x"]).argmax(-1)
            answer, wanted = accelerator.gather_for_metrics((answer, batch["y"]))
            right.append(answer == wanted)
        accuracy = torch.cat(right).float().mean().item()
        accelerator.print(f"epoch {epoch}: {accuracy:.4f} {total.item() / len(train):.6f}")
        accelerator.save_state(f"epoch_{epoch}", safe_serialization=False)
    return accelerator.unwrap_model(model)


if __name__ == "__main__":
    torch.save(training_function(5).state_dict(), "final.pt")
