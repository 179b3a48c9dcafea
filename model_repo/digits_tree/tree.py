import joblib
from sklearn import datasets, metrics, tree
from sklearn.model_selection import train_test_split

X, y = datasets.load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3)

# kept shallow so that we can print it and explain it to the customer
clf = tree.DecisionTreeClassifier(max_depth=4, min_samples_leaf=20)
clf.fit(X_train, y_train)

print(tree.export_text(clf))
print(metrics.confusion_matrix(y_test, clf.predict(X_test)))
print("Accuracy:", clf.score(X_test, y_test))

joblib.dump(clf, "tree.joblib")
