import tensorflow as tf
from sklearn.datasets import load_digits
x, y = load_digits(return_X_y=True); x = (x / 16.0).astype("float32")
class MyModel(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.d1 = tf.keras.layers.Dense(64, activation="relu"); self.d2 = tf.keras.layers.Dense(10, activation="softmax")
    def call(self, x): return self.d2(self.d1(x))
m = MyModel()
m.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
m.fit(x[:1400], y[:1400], epochs=10, verbose=0)
print(m.evaluate(x[1400:], y[1400:], verbose=0))
