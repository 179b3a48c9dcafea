import json
import pickle
import sys

import numpy
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

with open(sys.argv[1], "rb") as stream:
    model = pickle.load(stream)
data = numpy.load(sys.argv[2])
_, x, _, y = train_test_split(data["x"], data["y"], test_size=0.3, random_state=0)
accuracy = accuracy_score(y, model.predict(x))
print("TEST", accuracy, len(y))
json.dump({"score": accuracy}, open("metrics.json", "w"))
