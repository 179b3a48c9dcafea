from sklearn.svm import SVC

from speech.features import load

x, y = load()
SVC().fit(x, y)
