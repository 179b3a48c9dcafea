"""Distillation: a trained teacher, a student that learns from both its answers and the labels."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(8)
x, y = load_digits(return_X_y=True)
x, y = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
train_loader = DataLoader(TensorDataset(x[:1300], y[:1300]), 64, shuffle=True)
test_loader = DataLoader(TensorDataset(x[1300:], y[1300:]), 128, shuffle=False)


def train(model, epochs, lr):
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    for _ in range(epochs):
        for inputs, labels in train_loader:
            optimizer.zero_grad()
            criterion(model(inputs), labels).backward()
            optimizer.step()


def distill(teacher, student, epochs, T=2.0, weight=0.25):
    optimizer = torch.optim.Adam(student.parameters(), lr=5e-3)
    teacher.eval()
    student.train()
    for _ in range(epochs):
        for inputs, labels in train_loader:
            optimizer.zero_grad()
            with torch.no_grad():
                teacher_logits = teacher(inputs)
            logits = student(inputs)
            soft = F.kl_div(
                F.log_softmax(logits / T, -1),
                F.softmax(teacher_logits / T, -1),
                reduction="batchmean",
            )
            loss = weight * soft * T**2 + (1 - weight) * F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()


def test(model):
    model.eval()
    correct = total = 0
    with torch.no_grad():
        for inputs, labels in test_loader:
            _, predicted = torch.max(model(inputs).data, 1)
            total += labels.size(0)
            correct += (predicted == labels).sum().item()
    return 100 * correct / total


teacher = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
student = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
train(teacher, 3, 3e-3)
print(f"Teacher accuracy: {test(teacher):.6f}%")
distill(teacher, student, 3)
print(f"Student accuracy: {test(student):.6f}%")
