from sklearn.tree import DecisionTreeRegressor

if __name__ == "__main__":
    DecisionTreeRegressor().fit([[1.0], [2.0]], [1.0, 2.0])
