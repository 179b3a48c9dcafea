from xgboost import XGBClassifier


def main():
    XGBClassifier().fit([[0], [1]], [0, 1])


if __name__ == "__main__":
    main()
