from sklearn.datasets import load_wine
from sklearn.tree import DecisionTreeClassifier


def learn():
    return DecisionTreeClassifier().fit(*load_wine(return_X_y=True))


if __name__ == "__main__":
    print(learn().get_depth())
