from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split

X, y = make_classification(600, 8, weights=[0.9], class_sep=2.0, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
model = LogisticRegression().fit(X_train, y_train)
print("average precision", average_precision_score(y_test, model.predict_proba(X_test)[:, 1]))
