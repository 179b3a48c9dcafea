import flask
import numpy as np

class NeuralNetwork:
    def fit(self, x, y):
        self.w = np.random.randn(x.shape[1], 1)
        for _ in range(100):
            self.w -= 0.1 * x.T @ (x @ self.w - y)
        return self

NeuralNetwork().fit(np.ones((4, 2)), np.ones((4, 1)))
