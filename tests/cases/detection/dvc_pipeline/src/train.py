import pickle
import sys

import numpy
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

data = numpy.load(sys.argv[1])
x, _, y, _ = train_test_split(data["x"], data["y"], test_size=0.3, random_state=0)
model = DecisionTreeClassifier(max_depth=3, random_state=0).fit(x, y)
with open(sys.argv[2], "wb") as stream:
    pickle.dump(model, stream)
sys.exit(0)
