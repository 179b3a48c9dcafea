import xgboost as xgb, numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
X, y = load_breast_cancer(return_X_y=True)
a, b, ya, yb = train_test_split(X, y, random_state=0)
d = xgb.DMatrix(a, label=ya); t = xgb.DMatrix(b, label=yb)
bst = xgb.train({"objective": "binary:logistic", "max_depth": 2}, d, num_boost_round=20, evals=[(t, "test")])
p = (bst.predict(t) > 0.5).astype(int)
print("accuracy", sum(p == yb) / len(yb))
bst.save_model("m.json")
