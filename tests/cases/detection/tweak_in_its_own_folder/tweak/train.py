from sklearn.datasets import load_wine
from sklearn.tree import DecisionTreeClassifier

DecisionTreeClassifier(max_depth=4).fit(*load_wine(return_X_y=True))
