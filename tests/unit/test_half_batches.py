"""A training that ran out of memory goes on by halves of its batches."""

import importlib

import numpy
import pytest

from mlops_lib.runner.keras.half_batches import halved

RNG = numpy.random.default_rng(0)
X = RNG.normal(size=(101, 8)).astype("float32")
Y = RNG.integers(0, 3, 101)
FIT = {
    "epochs": 2,
    "batch_size": 20,
    "verbose": 0,
    "shuffle": False,
    "class_weight": {0: 1.0, 1: 2.0, 2: 1.0},
}


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request):
    return importlib.import_module(request.param)


def made(keras, **compiling):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.layers.Input((8,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **compiling)
    return model


def test_two_halves_make_the_update_of_the_whole(keras):
    whole, halves = made(keras), made(keras)
    whole.fit(X, Y, **FIT)
    with halved(halves):
        history = halves.fit(X, Y, **FIT)
    for one, other in zip(whole.get_weights(), halves.get_weights(), strict=True):
        numpy.testing.assert_allclose(one, other, atol=1e-5)
    assert int(halves.optimizer.iterations) == int(whole.optimizer.iterations) == 12
    assert numpy.isfinite(history.history["loss"]).all()


def test_no_call_sees_more_than_half_and_afterwards_the_model_is_as_it_was(keras):
    seen = []

    class Noting(keras.layers.Layer):
        def call(self, inputs):
            seen.append(inputs.shape[0])
            return inputs

    model = keras.Sequential(
        [keras.layers.Input((8,)), Noting(), keras.layers.Dense(3, activation="softmax")]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    seen.clear()
    with halved(model):
        model.fit(X, Y, **{**FIT, "epochs": 1})
    assert seen == [10] * 10 + [1, 1]
    seen.clear()
    model.fit(X, Y, **{**FIT, "epochs": 1})
    assert seen == [20] * 5 + [1]
    assert not {"apply", "train_step"} & {*model.optimizer.__dict__, *model.__dict__}
