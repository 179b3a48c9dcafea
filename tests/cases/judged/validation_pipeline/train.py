import keras
import tensorflow as tf
from sklearn.datasets import load_digits

x, y = load_digits(return_X_y=True)
x = x / 16.0
train = tf.data.Dataset.from_tensor_slices((x[:1200], y[:1200])).shuffle(1200).batch(32)
validation = tf.data.Dataset.from_tensor_slices((x[1200:1600], y[1200:1600])).batch(64)
m = keras.Sequential([keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10, activation="softmax")])
m.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])


class Watch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.predict(x[1600:], verbose=0)


m.fit(train, validation_data=validation, epochs=10, callbacks=[Watch()], verbose=0)
