import tensorflow as tf, numpy as np
from sklearn.datasets import load_digits
x, y = load_digits(return_X_y=True); x = (x / 16.0).reshape(-1, 8, 8, 1).astype("float32")
ds = tf.data.Dataset.from_tensor_slices((x, y))
test = ds.take(360).batch(32); train = ds.skip(360).shuffle(2000).batch(32).prefetch(2)
m = tf.keras.Sequential([tf.keras.layers.Conv2D(16, 3, activation="relu"), tf.keras.layers.Flatten(), tf.keras.layers.Dense(10)])
m.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
m.fit(train, validation_data=test, epochs=5)
loss, acc = m.evaluate(test)
print("test accuracy", acc)
print(m.evaluate(train))
