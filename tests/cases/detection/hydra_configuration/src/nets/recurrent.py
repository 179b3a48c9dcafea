import lightning as L
from torch import nn


class Forecaster(L.LightningModule):
    def __init__(self, width):
        super().__init__()
        self.net = nn.GRU(4, width)
