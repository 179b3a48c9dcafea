import numpy as np
from herring.learning import Learner
from herring.network import Shoal

if __name__ == "__main__":
    rows = np.load("catch.npz")
    Learner(Shoal(32)).fit_all(zip(rows["x"], rows["y"]))
