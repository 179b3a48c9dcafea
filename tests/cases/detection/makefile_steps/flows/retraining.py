from flows.training import table
from sklearn.tree import DecisionTreeClassifier
DecisionTreeClassifier().fit(table[["x"]], table["y"])
