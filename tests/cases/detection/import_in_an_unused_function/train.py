from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

from plot import *

X, y = load_iris(return_X_y=True)
model = DecisionTreeClassifier(max_depth=2).fit(X, y)
show(model.score(X, y))
