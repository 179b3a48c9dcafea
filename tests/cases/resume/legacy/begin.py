import hashlib
import time

import numpy as np
import tensorflow as tf
from tensorflow.keras import layers

RNG = np.random.default_rng(0)
X = RNG.random((160, 8, 8, 1), dtype="float32")
Y = (X.mean(axis=(1, 2, 3)) > 0.5).astype("int32")
V = RNG.random((160, 6), dtype="float32")
T = (V.sum(axis=1) > 3).astype("float32")


def digest(variables):
    whole = hashlib.sha256()
    for variable in variables:
        whole.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return whole.hexdigest()[:12]


def record(name, model, *histories):
    with open("results.txt", "a") as results:
        told = [(one.history, one.epoch) for one in histories]
        numbers = model.evaluate(X, Y, verbose=0)
        results.write(f"{name} {digest(model.variables)} {told} {numbers} {np.random.rand()}\n")


def slow():
    return tf.keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: time.sleep(0.03))


def small(*first):
    return tf.keras.Sequential(
        [layers.Input((8, 8, 1)), *first, layers.Conv2D(3, 3, activation="relu"), layers.Flatten(),
         layers.Dropout(0.3), layers.Dense(2, activation="softmax")]
    )


assert "tf_keras" in tf.keras.Model.__module__
