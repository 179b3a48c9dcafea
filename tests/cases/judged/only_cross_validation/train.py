from sklearn.datasets import load_wine
from sklearn.model_selection import cross_val_score, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.linear_model import LogisticRegression
X, y = load_wine(return_X_y=True)
m = make_pipeline(StandardScaler(), LogisticRegression())
s = cross_val_score(m, X, y, cv=KFold(5, shuffle=True, random_state=0))
print("acc %.3f +- %.3f" % (s.mean(), s.std()))
