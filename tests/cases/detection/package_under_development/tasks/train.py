from sklearn.datasets import load_iris

from tcn import TCN

X, y = load_iris(return_X_y=True)
model = TCN(max_depth=2).fit(X, y)
print("OWN", model.repository)
