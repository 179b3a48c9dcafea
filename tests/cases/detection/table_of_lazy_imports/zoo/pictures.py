import cv2
from torch import nn


class Pictures(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)

    def forward(self, path):
        return self.b(self.a(cv2.imread(path)))
