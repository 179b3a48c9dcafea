from sklearn.svm import SVC

from rowsource import rows

x, y = rows()
SVC().fit(x, y)
