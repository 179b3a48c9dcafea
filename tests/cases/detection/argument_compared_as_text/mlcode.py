import sys

from keras.layers import Dense
from keras.models import Sequential
from sklearn.datasets import load_digits

i = sys.argv[1]
X, y = load_digits(return_X_y=True)
model = Sequential()
model.add(Dense(64, activation="relu"))
if i == 1:
    model.add(Dense(64, activation="relu"))
model.add(Dense(10, activation="softmax"))
model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(X, y)
