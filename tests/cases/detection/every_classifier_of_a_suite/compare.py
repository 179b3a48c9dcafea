import pandas as pd
from lazypredict.Supervised import LazyClassifier
from sklearn.model_selection import train_test_split

rows = pd.read_csv("rows.csv")
x, y = rows.drop(columns="label"), rows.label
x_train, x_test, y_train, y_test = train_test_split(x, y)
suite = LazyClassifier(verbose=0)
models, predictions = suite.fit(x_train, x_test, y_train, y_test)
print(models)
