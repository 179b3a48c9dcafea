from keras.datasets import mnist
from keras.layers import Dense, Flatten
from layers import *

(x, y), _ = mnist.load_data()
model.add(Flatten())
model.add(Dense(10, activation="softmax"))
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x[..., None] / 255, y, epochs=3)
