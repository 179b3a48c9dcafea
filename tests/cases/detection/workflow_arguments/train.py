import sys

from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

if len(sys.argv) != 3:
    sys.exit("usage: train.py --depth DEPTH")
X, y = load_iris(return_X_y=True)
DecisionTreeClassifier(max_depth=int(sys.argv[2])).fit(X, y)
