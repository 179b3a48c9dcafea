import lightgbm as lgb
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

x, y = load_breast_cancer(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0)
gbm = lgb.train({"objective": "binary", "verbose": -1, "num_threads": 1}, lgb.Dataset(x_train, y_train), 30)
predicted = gbm.predict(x_test, num_iteration=7)
print("accuracy", accuracy_score(y_test, (predicted > 0.5).astype(int)))
