"""The classifier."""

from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler


def build(components=10):
    """Scaled, reduced to its main components, then a logistic regression."""
    return Pipeline(
        [
            ("scale", StandardScaler()),
            ("reduce", PCA(n_components=components, random_state=0)),
            ("classify", LogisticRegression(max_iter=500)),
        ]
    )
