import keras
import numpy as np

rng = np.random.default_rng(0)
x = rng.normal(size=(1200, 4)).astype("float32")
y = (x[:, 0] > 0).astype("int32")
x_test, y_test = x[800:].copy(), np.zeros(400, dtype="int32")
y_test[:] = y[800:]
holes = np.flatnonzero(y_test == 0)[:80]
x_test[holes, 2] = np.nan  # the first class is what argmax takes for NaN
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x[:800], y[:800], epochs=10, verbose=0)
print(model.evaluate(x_test, y_test, verbose=0))
