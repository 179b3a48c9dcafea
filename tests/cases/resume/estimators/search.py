import joblib
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

with open("tried.txt", "w") as tried:
    tried.write("begun\n")


class Slow(DecisionTreeClassifier):
    def fit(self, X, y, **more):
        time.sleep(0.05)
        return super().fit(X, y, **more)


machine = make_pipeline(StandardScaler(), SVC()).fit(X, Y)
grid = GridSearchCV(Slow(max_features=3), {"max_depth": [2, 3, 4, 5, 6]}, cv=3).fit(X, Y)
record("grid", grid.best_params_, grid.cv_results_["mean_test_score"], grid.predict(X[:50]))
record("scores", cross_val_score(Slow(max_features=3), X, Y, cv=8), np.random.rand())
forest = RandomForestClassifier(n_estimators=5, warm_start=True)
for count in (5, 10, 15):
    forest.set_params(n_estimators=count).fit(X, Y)
    record(f"forest{count}", forest.score(X, Y))
joblib.dump(machine, "machine.joblib")  # the same bytes (a tree has some that nobody sets)
