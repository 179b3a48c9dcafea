#!/usr/bin/python3
# usage: python3 mlcode.py NUMBER_OF_HIDDEN_LAYERS
# the accuracy in percent is left in accuracy.txt
import sys

import numpy
from keras.layers import Activation, Dense
from keras.models import Sequential
from keras.utils import to_categorical
from sklearn.datasets import load_digits

hidden = int(sys.argv[1]) if len(sys.argv) > 1 else 0

(X, y) = load_digits(return_X_y=True)
X = X / 16
numpy.random.seed(1)
shuffled = numpy.random.permutation(len(X))
X = X[shuffled]
y = to_categorical(y[shuffled])
X_train, y_train = X[:1200], y[:1200]
X_test, y_test = X[1200:], y[1200:]

model = Sequential()
for i in range(hidden):
    model.add(Dense(64))
    model.add(Activation('relu'))
model.add(Dense(10))
model.add(Activation('softmax'))
model.compile(loss='categorical_crossentropy', optimizer='adam', metrics=['accuracy'])
model.fit(X_train, y_train, batch_size=100, epochs=6)

scores = model.evaluate(X_test, y_test)
print('Accuracy:', scores[1] * 100)
f = open('accuracy.txt', 'w')
f.write(str(int(scores[1] * 100)))
f.close()
