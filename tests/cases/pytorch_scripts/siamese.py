"""Siamese network: two inputs, one answer between 0 and 1, decided at one half."""

import torch
from torch import nn, optim
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(1)


class Pairs(Dataset):
    def __init__(self, n):
        self.a = torch.randn(n, 10)
        self.targets = (torch.rand(n) > 0.5).float()
        self.b = torch.where(
            self.targets[:, None] > 0, self.a + 0.3 * torch.randn(n, 10), torch.randn(n, 10)
        )

    def __len__(self):
        return len(self.a)

    def __getitem__(self, index):
        return self.a[index], self.b[index], self.targets[index]


class SiameseNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 16))
        self.fc = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
        self.sigmoid = nn.Sigmoid()

    def forward(self, input1, input2):
        return self.sigmoid(self.fc((self.body(input1) - self.body(input2)).abs()))


def train(model, device, loader, optimizer):
    model.train()
    criterion = nn.BCELoss()
    for one, two, targets in loader:
        one, two, targets = one.to(device), two.to(device), targets.to(device)
        optimizer.zero_grad()
        loss = criterion(model(one, two).squeeze(), targets)
        loss.backward()
        optimizer.step()


def test(model, device, test_loader):
    model.eval()
    test_loss, correct = 0, 0
    criterion = nn.BCELoss()
    with torch.no_grad():
        for one, two, targets in test_loader:
            one, two, targets = one.to(device), two.to(device), targets.to(device)
            outputs = model(one, two).squeeze()
            test_loss += criterion(outputs, targets).sum().item()
            pred = torch.where(outputs > 0.5, 1, 0)
            correct += pred.eq(targets.view_as(pred)).sum().item()
    test_loss /= len(test_loader.dataset)
    print(
        f"Test set: Average loss: {test_loss:.4f}, Accuracy: {correct}/{len(test_loader.dataset)} ({100.0 * correct / len(test_loader.dataset):.4f}%)"
    )


device = torch.device("cpu")
model = SiameseNetwork().to(device)
optimizer = optim.Adadelta(model.parameters(), lr=1.0)
scheduler = StepLR(optimizer, step_size=1, gamma=0.7)
train_loader, test_loader = DataLoader(Pairs(600), 32, shuffle=True), DataLoader(Pairs(150), 64)
for epoch in range(3):
    train(model, device, train_loader, optimizer)
    test(model, device, test_loader)
    scheduler.step()
