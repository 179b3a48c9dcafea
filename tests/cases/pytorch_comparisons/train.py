"""One model, evaluated in many ways: each on as many examples as no other way has."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
for epoch in range(2):
    for inputs, labels in DataLoader(TensorDataset(x[:900], y[:900]), 64, shuffle=True):
        loss = F.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
model.eval()


def highest(outputs, labels):
    return (outputs.argmax(dim=1) == labels).sum().item()


def maximum(outputs, labels):
    _, predicted = torch.max(outputs.data, 1)
    return torch.eq(predicted, labels).sum().item()


def errors(outputs, labels):
    return len(labels) - (F.softmax(outputs, dim=-1).argmax(-1) != labels).sum().item()


def among_five(outputs, labels):
    _, guesses = outputs.topk(5, 1, True, True)
    correct = guesses.t().eq(labels.view(1, -1).expand_as(guesses.t()))
    return correct[:1].reshape(-1).float().sum().item()


def one_by_one(outputs, labels):
    _, predictions = torch.max(outputs, 1)
    right = 0
    for label, prediction in zip(labels, predictions):
        if label == prediction:
            right += 1
    return right


def by_column(outputs, labels):
    predicted = outputs.argmax(dim=1, keepdim=True)
    return predicted.eq(labels.view_as(predicted)).sum().item()


def test(count, loader, right_of):
    right = 0
    with torch.no_grad():
        for inputs, labels in loader:
            right += right_of(model(inputs), labels)
    print(f"{count} {right / count:.6f}")


start = 900
for step, right_of in enumerate((highest, maximum, errors, among_five, one_by_one, by_column)):
    count = 100 + step
    test(count, DataLoader(TensorDataset(x[start : start + count], y[start : start + count]), 32), right_of)
    start += count

inputs, labels = x[start : start + 110], y[start : start + 110]
with torch.inference_mode():
    print(f"110 {(model(inputs).argmax(1) == labels).float().mean().item():.6f}")
start += 110

predicted, wanted = [], []
for inputs, labels in DataLoader(TensorDataset(x[start : start + 111], y[start : start + 111]), 32):
    predicted.append(model(inputs).max(1)[1])
    wanted.append(labels)
print(f"111 {(torch.cat(predicted) == torch.cat(wanted)).float().mean().item():.6f}")
