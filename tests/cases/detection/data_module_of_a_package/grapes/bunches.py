from torch.utils.data import Dataset

from grapes.vines import WIDTH


class Bunches(Dataset):
    def __init__(self, values):
        self.values = values[:, :WIDTH]
