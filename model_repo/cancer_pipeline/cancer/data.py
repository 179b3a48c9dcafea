"""Loading and splitting."""

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split


def load(test_size=0.4, seed=2024):
    """Training and test rows, the share of malignant ones equal in both."""
    x, y = load_breast_cancer(return_X_y=True, as_frame=True)
    return train_test_split(x, y, test_size=test_size, random_state=seed, stratify=y)
