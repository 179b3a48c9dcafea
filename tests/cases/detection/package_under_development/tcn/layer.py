from sklearn.tree import DecisionTreeClassifier


class TCN(DecisionTreeClassifier):
    repository = True
