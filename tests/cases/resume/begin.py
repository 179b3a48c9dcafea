"""How every script of tests/cases/resume begins that has no beginning of its own."""

import hashlib
import os
import time

import numpy as np
import keras
from keras import layers

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
        told = [(one.history, one.epoch, sorted(one.params)) for one in histories]
        results.write(f"{name} {digest(model.variables)} {digest(model.optimizer.variables)} {told} {np.random.rand()}\n")


def slow(seconds=0.03):
    return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: time.sleep(seconds))


def dense(*first):
    return keras.Sequential(
        [layers.Input((6,)), *first, layers.Dense(4, activation="relu"), layers.Dense(1, activation="sigmoid")]
    )


def small(*first):
    return keras.Sequential(
        [layers.Input((8, 8, 1)), *first, layers.Conv2D(3, 3, activation="relu"), layers.Flatten(),
         layers.Dense(2, activation="softmax")]
    )


class Noisy(keras.utils.PyDataset):
    def __init__(self, **k):
        super().__init__(**k)
        self.order = np.arange(160)

    def __len__(self):
        return 20

    def __getitem__(self, i):
        take = self.order[i * 8 : (i + 1) * 8]
        return X[take] + np.random.normal(size=(len(take), 1, 1, 1)).astype("float32") * 0.01, Y[take]

    def on_epoch_end(self):
        np.random.shuffle(self.order)
