from sklearn.datasets import load_wine
from tensorflow import keras

x, y = load_wine(return_X_y=True)
model = keras.Sequential([keras.layers.Dense(3, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, y, epochs=2)
