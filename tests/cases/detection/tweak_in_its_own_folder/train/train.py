from sklearn.datasets import load_wine
from sklearn.tree import DecisionTreeClassifier

DecisionTreeClassifier().fit(*load_wine(return_X_y=True))
