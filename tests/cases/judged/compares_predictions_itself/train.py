import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.ensemble import RandomForestClassifier
X, y = load_wine(return_X_y=True)
Xtr, Xte, ytr, yte = train_test_split(X, y, test_size=0.3, random_state=1)
clf = RandomForestClassifier().fit(Xtr, ytr)
print("accuracy", np.mean(clf.predict(Xte) == yte))
