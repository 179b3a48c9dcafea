import torch
from torch import nn

judge = nn.Sequential(nn.Linear(784, 1), nn.Sigmoid())
maker = nn.Sequential(nn.Linear(20, 784), nn.Tanh())
judge_optimizer = torch.optim.Adam(judge.parameters())
maker_optimizer = torch.optim.Adam(maker.parameters())
loss = nn.BCELoss()


def train_judge(pictures):
    real = loss(judge(pictures), torch.ones(len(pictures), 1))
    made = maker(torch.rand(len(pictures), 20))
    total = real + loss(judge(made), torch.zeros(len(pictures), 1))
    total.backward()
    judge_optimizer.step()


def train_maker(count):
    loss(judge(maker(torch.rand(count, 20))), torch.ones(count, 1)).backward()
    maker_optimizer.step()


train_judge(torch.rand(8, 784))
train_maker(8)
