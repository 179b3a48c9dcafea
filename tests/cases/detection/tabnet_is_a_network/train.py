from pytorch_tabnet.tab_model import TabNetClassifier
clf = TabNetClassifier()
clf.fit(X, y)
