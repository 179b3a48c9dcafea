"""Several labels an example: logits thresholded at zero, accuracy of all answers by hand."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(3)
x = torch.randn(700, 12)
y = (x @ torch.randn(12, 4) + 0.5 * torch.randn(700, 4) > 0).float()
train, valid = TensorDataset(x[:500], y[:500]), TensorDataset(x[500:], y[500:])
dataloaders = {"train": DataLoader(train, 50, shuffle=True), "val": DataLoader(valid, 50)}
model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 4))
criterion = nn.BCEWithLogitsLoss()
optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
for epoch in range(3):
    for phase in ["train", "val"]:
        model.train() if phase == "train" else model.eval()
        running_loss, running_corrects, seen = 0.0, 0, 0
        for inputs, labels in dataloaders[phase]:
            optimizer.zero_grad()
            with torch.set_grad_enabled(phase == "train"):
                outputs = model(inputs)
                loss = criterion(outputs, labels)
                if phase == "train":
                    loss.backward()
                    optimizer.step()
            running_loss += loss.item() * inputs.size(0)
            running_corrects += ((outputs > 0) == labels.bool()).sum().item()
            seen += labels.numel()
        print(f"{phase} Loss: {running_loss / (seen / 4):.6f} Acc: {running_corrects / seen:.6f}")
