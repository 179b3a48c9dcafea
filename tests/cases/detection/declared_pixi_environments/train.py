import torch
import timm
from sklearn.metrics import accuracy_score

net = torch.nn.Linear(1, 1)
torch.nn.functional.mse_loss(net(torch.ones(1)), torch.ones(1)).backward()
