import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from model import Net

digits = datasets.MNIST("data", train=True, download=True, transform=transforms.ToTensor())
net, loss_of = Net(), nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(net.parameters())
for pictures, labels in DataLoader(digits, batch_size=64, shuffle=True):
    optimizer.zero_grad()
    loss_of(net(pictures), labels).backward()
    optimizer.step()
torch.save(net.state_dict(), "net.pth")
