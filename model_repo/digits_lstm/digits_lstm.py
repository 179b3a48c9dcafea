#!/usr/bin/env python3
"""Reads a digit row by row, as a scanner delivers it, and says which one it was.

    python digits_lstm.py [--epochs 25] [--units 48]
"""
import argparse
import csv
import os

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits


def load(seed=7, test_share=0.25):
    pictures, labels = load_digits(return_X_y=True)
    rows = (pictures / 16.0).reshape(-1, 8, 8).astype("float32")
    order = np.random.default_rng(seed).permutation(len(rows))
    cut = int(len(rows) * test_share)
    test, train = order[:cut], order[cut:]
    return (rows[train], labels[train]), (rows[test], labels[test])


def build(units):
    rows = keras.Input(shape=(8, 8), name="rows")
    state = layers.LSTM(units, name="reader")(rows)
    state = layers.Dropout(0.2)(state)
    digit = layers.Dense(10, activation="softmax", name="digit")(state)
    model = keras.Model(rows, digit)
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=3e-3),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--units", type=int, default=48)
    args = parser.parse_args()

    keras.utils.set_random_seed(7)
    (x_train, y_train), (x_test, y_test) = load()
    model = build(args.units)
    os.mkdir("checkpoints")
    model.fit(
        x_train,
        y_train,
        validation_split=0.15,
        epochs=args.epochs,
        batch_size=64,
        verbose=2,
        callbacks=[
            keras.callbacks.EarlyStopping(patience=4, restore_best_weights=True),
            keras.callbacks.ModelCheckpoint(
                "checkpoints/best.keras", monitor="val_accuracy", save_best_only=True
            ),
            keras.callbacks.CSVLogger("history.csv"),
        ],
    )
    scores = model.evaluate(x_test, y_test, verbose=0, return_dict=True)
    print(f"{len(x_test)} unseen digits: {scores['accuracy']:.1%} read correctly")

    with open("mistakes.csv", "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["index", "is", "read as"])
        guesses = model.predict(x_test, verbose=0).argmax(axis=1)
        for i in np.flatnonzero(guesses != y_test):
            writer.writerow([i, y_test[i], guesses[i]])


if __name__ == "__main__":
    main()
