from sklearn.neighbors import KNeighborsClassifier
from sklearn.datasets import load_iris

KNeighborsClassifier().fit(*load_iris(return_X_y=True))
