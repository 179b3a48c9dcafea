# Written for Python 2.7 and scikit-learn 0.17.
import cPickle
from sklearn.cross_validation import train_test_split, KFold
from sklearn.grid_search import GridSearchCV
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
import helper

iris = load_iris()
x, x_test, y, y_test = train_test_split(iris.data, iris.target, test_size=1 / 4.0, random_state=0)
print "half of seven:", 7 / 2, helper.half(7)
for train, test in KFold(len(x), n_folds=3):
    print len(train),
print
counts = {'a': 1}
if counts.has_key('a') and 1 <> 2:
    print >>open('log.txt', 'w'), "kept"
try:
    raise ValueError, "as it was"
except ValueError, error:
    print error
for i in xrange(1):
    print map(lambda value: value + 1, [i])[0], raw_input('name? ')
search = GridSearchCV(RandomForestClassifier(random_state=0, max_features='auto', criterion='gini'), {'n_estimators': [5]}, cv=2)
search.fit(x, y)
print "accuracy: %.2f" % search.score(x_test, y_test)
cPickle.dump(search.best_estimator_, open('model.pkl', 'wb'))
import urllib
print urllib.quote('a b')
