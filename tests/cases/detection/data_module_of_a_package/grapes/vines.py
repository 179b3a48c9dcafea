import torch

WIDTH = 8


class Vines(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.TransformerEncoderLayer(WIDTH, 2)


DEFAULT = Vines()
