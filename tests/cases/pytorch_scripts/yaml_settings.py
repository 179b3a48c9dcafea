"""Settings in YAML that arguments override, a logger, SummaryWriter, the best checkpoint loaded for the test."""

import argparse
import logging
import os
import random

import numpy as np
import torch
import yaml
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset, random_split

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:
    SummaryWriter = None

DEFAULTS = """
model: {hidden: [48, 24], dropout: 0.1}
train: {epochs: 3, batch_size: 64, lr: 0.005, optimizer: AdamW}
seed: 7
"""


class DigitsData(Dataset):
    def __init__(self):
        digits = load_digits()
        self.images = digits.images.astype(np.float32) / 16.0
        self.labels = digits.target

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return torch.from_numpy(self.images[i]).unsqueeze(0), int(self.labels[i])


def build(cfg):
    layers, width = [nn.Flatten()], 64
    for hidden in cfg["hidden"]:
        layers += [nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Dropout(cfg["dropout"])]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, 10))


class AverageMeter:
    def __init__(self):
        self.sum = self.count = 0

    def update(self, value, n):
        self.sum += value * n
        self.count += n

    @property
    def avg(self):
        return self.sum / self.count


def run_epoch(model, loader, criterion, device, optimizer=None):
    losses, accs = AverageMeter(), AverageMeter()
    model.train(optimizer is not None)
    with torch.set_grad_enabled(optimizer is not None):
        for images, target in loader:
            images, target = images.to(device), target.to(device)
            output = model(images)
            loss = criterion(output, target)
            if optimizer is not None:
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
            losses.update(loss.item(), images.size(0))
            accs.update((output.argmax(dim=1) == target).float().mean().item(), images.size(0))
    return losses.avg, accs.avg


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default=None)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--out", default="runs/exp")
    args = parser.parse_args()
    cfg = yaml.safe_load(open(args.config) if args.config else DEFAULTS)
    if args.epochs:
        cfg["train"]["epochs"] = args.epochs
    random.seed(cfg["seed"])
    np.random.seed(cfg["seed"])
    torch.manual_seed(cfg["seed"])
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.makedirs(args.out, exist_ok=True)
    writer = SummaryWriter(args.out) if SummaryWriter else None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parts = random_split(DigitsData(), [1197, 300, 300])
    loaders = [
        DataLoader(part, cfg["train"]["batch_size"], shuffle=i == 0) for i, part in enumerate(parts)
    ]
    model = build(cfg["model"]).to(device)
    optimizer = getattr(optim, cfg["train"]["optimizer"])(
        model.parameters(), lr=float(cfg["train"]["lr"])
    )
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, cfg["train"]["epochs"])
    criterion = nn.CrossEntropyLoss()
    best_acc = 0.0
    for epoch in range(cfg["train"]["epochs"]):
        train_loss, _ = run_epoch(model, loaders[0], criterion, device, optimizer)
        val_loss, val_acc = run_epoch(model, loaders[1], criterion, device)
        scheduler.step()
        logging.info("epoch %d train %.4f val %.4f acc %.4f", epoch, train_loss, val_loss, val_acc)
        if writer:
            writer.add_scalar("Loss/train", train_loss, epoch)
            writer.add_scalar("Accuracy/val", val_acc, epoch)
        if val_acc > best_acc:
            best_acc = val_acc
            torch.save(
                {"epoch": epoch, "state_dict": model.state_dict()}, os.path.join(args.out, "best.pth")
            )
    model.load_state_dict(torch.load(os.path.join(args.out, "best.pth"))["state_dict"])
    test_loss, test_acc = run_epoch(model, loaders[2], criterion, device)
    print(f"Test: loss {test_loss:.6f} acc {test_acc:.6f}")


if __name__ == "__main__":
    main()
