import time

import numpy as np

np.random.seed(3)
X = np.random.default_rng(0).normal(size=(1500, 8))
Y = (X[:, 0] * X[:, 1] + 0.3 * np.random.normal(size=1500) > 0).astype(int)


def record(name, *values):
    with open("results.txt", "a") as results:
        results.write(f"{name} {[value.tolist() if hasattr(value, 'tolist') else value for value in values]}\n")
