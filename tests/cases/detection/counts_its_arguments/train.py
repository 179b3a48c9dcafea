import sys

from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier


def main(argv):
    if len(argv) != 3:
        print(f"usage: {argv[0]} DEPTH OUTPUT")
        sys.exit(1)
    X, y = load_iris(return_X_y=True)
    DecisionTreeClassifier(max_depth=int(argv[1])).fit(X, y)


if __name__ == "__main__":
    main(sys.argv)
