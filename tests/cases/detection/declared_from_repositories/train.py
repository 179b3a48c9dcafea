import peft
import transformers
import torch
import ours

net = torch.nn.Linear(1, 1)
torch.nn.functional.mse_loss(net(torch.ones(1)), torch.ones(1)).backward()
