import numpy as np
from sklearn.cross_validation import KFold, LabelKFold, cross_val_score
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import RandomizedPCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.grid_search import GridSearchCV
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, mean_squared_error
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

x, y = load_digits(3).data, load_digits(3).target
print(sorted(set(y.tolist())), RandomizedPCA(2).fit_transform(x).shape)
iris = load_iris()
model = KNeighborsClassifier(1).fit(iris.data, iris.target)
print(model.predict(iris.data[70]), model.predict(list(iris.data[0])))
search = GridSearchCV(SVC(class_weight='auto'), {'C': [1, 10]}, 'accuracy', cv=3)
search.fit(iris.data, iris.target)
print([(row.parameters['C'], len(row.cv_validation_scores)) for row in search.grid_scores_])
print(cross_val_score(SVC(), iris.data, iris.target, scoring='mean_squared_error', cv=3).max() <= 0)
print([len(test) for _, test in KFold(len(y), n_folds=3, indices=True)], len(LabelKFold([1, 1, 2, 2], 2)))
print(confusion_matrix([0, 1, 2], [0, 1, 2], [0, 1]).tolist(), mean_squared_error([1, 2], [1, 4], squared=False) == 2 ** 0.5)
words = CountVectorizer()
words.fit(['a bad film', 'good film'])
print(words.get_feature_names(), LogisticRegression('l2', C=2.0).C)
from scipy import stats
from sklearn.preprocessing import MinMaxScaler
scaler = MinMaxScaler().fit(np.array([1, 3, 2]))
print(scaler.transform([1, 2]).tolist(), scaler.inverse_transform(np.array([0.5])).tolist())
votes = np.array([[0, 1, 2], [0, 1, 1], [0, 2, 2]])
print(stats.mode([3, 3, 1])[0][0], stats.mode(votes)[0][0].tolist())
from sklearn.utils import class_weight
print(class_weight.compute_class_weight('balanced', np.array([0, 1]), np.array([0, 0, 0, 1])).tolist())
