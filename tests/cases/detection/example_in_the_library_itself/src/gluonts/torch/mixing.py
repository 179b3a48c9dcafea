from torch import nn


class Mixing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.TransformerEncoderLayer(8, 2) for _ in range(9)]
