"""A saved model whose layers hold lambdas is loaded again beside the one that was saved."""

from pathlib import Path

import keras
import numpy
import pytest
from keras import layers, ops

from mlops_lib.runner.keras import lambdas

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings(
        "ignore:The object being serialized includes a `lambda`:UserWarning"
    ),
]


def siamese() -> keras.Model:
    factor = 2.0
    base = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4, activation=lambda x: factor * ops.relu(x))], name="base"
    )
    left, right = keras.Input((6,)), keras.Input((6,))
    distance = layers.Lambda(lambda pair: ops.abs(pair[0] - pair[1]))([base(left), base(right)])
    return keras.Model([left, right], layers.Dense(1)(distance))


def test_layers_take_the_functions_of_those_with_their_name(tmp_path: Path) -> None:
    model = siamese()
    path = str(tmp_path / "model.keras")
    model.save(path)
    with pytest.raises(Exception, match=r"relu|Lambda|activation"):
        keras.models.load_model(path, safe_mode=False)
    held = lambdas.holders(list(model._flatten_layers()))
    assert len(held) == 2
    with lambdas.shared_functions(held):
        loaded = keras.models.load_model(path, safe_mode=False)
    data = [numpy.random.default_rng(i).normal(size=(5, 6)).astype("float32") for i in (0, 1)]
    numpy.testing.assert_array_equal(
        loaded.predict(data, verbose=0), model.predict(data, verbose=0)
    )
    with pytest.raises(Exception, match=r"relu|Lambda|activation"):
        keras.models.load_model(path, safe_mode=False)


def test_a_name_that_two_layers_have_lends_nothing() -> None:
    pair = [
        layers.Lambda(lambda x: x + 1, name="shift"),
        layers.Lambda(lambda x: x + 2, name="shift"),
    ]
    assert lambdas.holders([*pair, layers.Dense(1)]) == {}
