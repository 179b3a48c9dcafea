import argparse

import torch
import torchvision.models as models
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--arch", default="resnet18")
model = models.__dict__[parser.parse_args().arch](num_classes=10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
nn.functional.cross_entropy(model(torch.rand(2, 3, 64, 64)), torch.tensor([0, 1])).backward()
optimizer.step()
