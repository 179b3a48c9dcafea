import lightgbm as lgb
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.metrics import accuracy_score
X, y = load_breast_cancer(return_X_y=True)
a, b, ya, yb = train_test_split(X, y, random_state=0)
m = lgb.train({"objective": "binary", "verbose": -1}, lgb.Dataset(a, ya), 30, valid_sets=[lgb.Dataset(b, yb)])
p = m.predict(b)
print(accuracy_score(yb, p.round(0)))
