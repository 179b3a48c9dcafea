from abc import ABC

from sklearn.decomposition import PCA


class Step(ABC):
    def fit(self, rows):
        return self


class Reduction(Step):
    def __init__(self, size):
        self.components = PCA(size)

    def transform(self, rows):
        return self.components.transform(rows)
