from sksurv.ensemble import RandomSurvivalForest
from sksurv.datasets import load_whas500
X, y = load_whas500()
m = RandomSurvivalForest(n_estimators=100).fit(X, y)
