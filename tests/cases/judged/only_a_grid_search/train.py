from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC
X, y = load_wine(return_X_y=True)
g = GridSearchCV(SVC(), {"C": [1, 10, 100]}, cv=5)
g.fit(X, y)
print(g.best_params_, g.best_score_)
