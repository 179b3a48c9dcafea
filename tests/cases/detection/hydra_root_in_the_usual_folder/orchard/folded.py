import torch
from lightning import LightningModule


class Folded(LightningModule):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 16, 3)
        self.second = torch.nn.Conv2d(16, 32, 3)
        self.third = torch.nn.Conv2d(32, 32, 3)
