"""Pictures for the report."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from sklearn.metrics import RocCurveDisplay


def save_roc_curve(truth, probability, path):
    figure, axes = plt.subplots(figsize=(5, 5))
    RocCurveDisplay.from_predictions(truth, probability, ax=axes)
    axes.plot([0, 1], [0, 1], linestyle=":")
    figure.savefig(path, dpi=100)
    plt.close(figure)
