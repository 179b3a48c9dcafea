import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

X, y = load_breast_cancer(return_X_y=True)
order = np.random.default_rng(0).permutation(len(X))
X, y = X[order], y[order]
X_train, X_val, X_test = X[:300], X[300:400], X[400:]
y_train, y_val, y_test = y[:300], y[300:400], y[400:]
best = max(range(1, 6), key=lambda depth: DecisionTreeClassifier(max_depth=depth).fit(X_train, y_train).score(X_val, y_val))
scaler = StandardScaler().fit(X_train)
model = LogisticRegression().fit(scaler.transform(X_train), y_train)
p = model.predict_proba(scaler.transform(X_test))[:, 1]
accuracy = (y_test == (p > .5)).mean()
print("test accuracy", accuracy, "errors", np.sum((p > 0.5) != y_test), "brier", np.mean((p - y_test) ** 2))
