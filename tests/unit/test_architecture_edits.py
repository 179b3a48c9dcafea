"""Edits: the new model computes the same function where the edit says "exact"."""

import keras
import numpy
import pytest
from keras import layers as kl

from mlops_lib.runner.search.keras import architecture_edits, graph

IMAGES = numpy.random.default_rng(0).normal(size=(5, 12, 12, 3)).astype("float32")
TABLE = numpy.random.default_rng(1).normal(size=(7, 6)).astype("float32")
TOKENS = numpy.random.default_rng(2).integers(0, 20, size=(6, 9))


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(3)


def cnn():
    return keras.Sequential(
        [
            keras.Input((12, 12, 3), name="image"),
            kl.Conv2D(4, 3, activation="relu", name="conv"),
            kl.BatchNormalization(name="norm"),
            kl.MaxPooling2D(name="pool"),
            kl.Flatten(name="flat"),
            kl.Dense(8, activation="relu", name="hidden"),
            kl.Dense(3, activation="softmax", name="out"),
        ]
    )


def skipping():
    image = keras.Input((12, 12, 3), name="image")
    first = kl.Conv2D(4, 3, padding="same", activation="relu", name="conv")(image)
    second = kl.Conv2D(4, 3, padding="same", activation="relu", name="conv2")(first)
    joined = kl.Add(name="add")([first, second])
    wide = kl.Conv2D(6, 3, activation="relu", name="conv3")(joined)
    pooled = kl.GlobalAveragePooling2D(name="gap")(wide)
    left, right = (
        kl.Dense(5, activation="relu", name="left")(pooled),
        kl.Dense(3, name="right")(pooled),
    )
    return keras.Model(image, [kl.Dense(3, name="left_out")(left), right])


def dense():
    return keras.Sequential(
        [
            keras.Input((6,), name="table"),
            kl.Dense(8, activation="relu", name="hidden"),
            kl.Dropout(0.3, name="drop"),
            kl.Dense(3, name="out"),
        ]
    )


def recurrent(layer):
    return keras.Sequential(
        [
            keras.Input((9,), dtype="int32", name="words"),
            kl.Embedding(20, 5, mask_zero=True, name="embed"),
            layer(4, return_sequences=True, name="rnn"),
            layer(3, name="rnn2"),
            kl.Dense(2, name="out"),
        ]
    )


def check(model, data, edit, *, inherited="exact", tolerance=1e-5):
    for layer in model.layers:  # not only fresh values: biases and statistics that matter
        layer.set_weights(
            [
                w + 0.05 * numpy.abs(numpy.sin(numpy.arange(w.size).reshape(w.shape)))
                for w in layer.get_weights()
            ]
        )
    child, grade = architecture_edits.apply(model, edit)
    assert grade == inherited
    before, after = model.predict(data, verbose=0), child.predict(data, verbose=0)
    if inherited == "exact":
        for one, other in zip(keras.tree.flatten(before), keras.tree.flatten(after), strict=True):
            numpy.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    return child


EXACT = {
    "widen a convolution through a norm and a flatten": (
        cnn,
        IMAGES,
        {"kind": "resize", "at": "conv", "size": 7},
    ),
    "widen a dense layer": (cnn, IMAGES, {"kind": "resize", "at": "hidden", "size": 20}),
    "widen before two heads": (skipping, IMAGES, {"kind": "resize", "at": "conv3", "size": 9}),
    "deepen a dense layer": (cnn, IMAGES, {"kind": "deepen", "at": "hidden"}),
    "deepen a convolution": (cnn, IMAGES, {"kind": "deepen", "at": "conv"}),
    "deepen beside a skip": (skipping, IMAGES, {"kind": "deepen", "at": "conv2"}),
    "dropout": (dense, TABLE, {"kind": "dropout", "at": "hidden", "size": 0.2}),
    "another rate": (dense, TABLE, {"kind": "set_dropout", "at": "drop", "size": 0.5}),
    "l2": (dense, TABLE, {"kind": "l2", "at": "hidden", "size": 1e-4}),
    "batch norm": (skipping, IMAGES, {"kind": "batch_norm", "at": "conv2"}),
    "a wider dense layer inserted": (dense, TABLE, {"kind": "dense", "at": "drop", "size": 12}),
    "input scaled": (
        dense,
        TABLE,
        {
            "kind": "normalise_input",
            "at": "table",
            "mean": [3.0, 1, 0, 0, 5, 2],
            "variance": [4.0, 1, 9, 2, 3, 1],
        },
    ),
    "input scaled by one number": (
        dense,
        TABLE,
        {"kind": "normalise_input", "at": "table", "mean": [3.0], "variance": [4.0]},
    ),
    "input of a valid convolution scaled": (
        cnn,
        IMAGES,
        {
            "kind": "normalise_input",
            "at": "image",
            "mean": [0.5, 0.4, 0.1],
            "variance": [4.0, 1, 9],
        },
    ),
    "output stretched": (
        dense,
        TABLE,
        {"kind": "scale_output", "at": "out", "mean": 5.0, "size": 8.0},
    ),
    "augmented in training only": (
        cnn,
        IMAGES,
        {"kind": "augment", "at": "image", "flip": True, "shift": 0.1},
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_edits_keep_the_function(name):
    build, data, edit = EXACT[name]
    child = check(build(), data, edit)
    child.compile("adam", "mse")
    outputs = keras.tree.map_structure(
        lambda o: numpy.zeros((len(data), *o.shape[1:]), "float32"), child.outputs
    )
    assert numpy.isfinite(child.fit(data, outputs, verbose=0).history["loss"][0])


@pytest.mark.parametrize("layer", [kl.LSTM, kl.GRU, kl.SimpleRNN])
@pytest.mark.parametrize(
    "edit",
    [
        {"kind": "resize", "at": "rnn", "size": 7},
        {"kind": "resize", "at": "rnn2", "size": 5},
        {"kind": "resize", "at": "embed", "size": 8},
        {"kind": "bidirectional", "at": "rnn"},
        {"kind": "bidirectional", "at": "rnn2"},
    ],
    ids=lambda edit: f"{edit['kind']}-{edit['at']}",
)
def test_recurrent_edits_keep_the_function(layer, edit):
    check(recurrent(layer), TOKENS, edit)


def test_bidirectional_layer_is_widened_exactly():
    model, _ = architecture_edits.apply(recurrent(kl.LSTM), {"kind": "bidirectional", "at": "rnn2"})
    check(model, TOKENS, {"kind": "resize", "at": "rnn2", "size": 6})


@pytest.mark.parametrize(
    "edit",
    [{"kind": "stack", "at": "rnn"}, {"kind": "resize", "at": "embed", "size": 8}],
    ids=lambda edit: edit["kind"],
)
def test_what_a_bidirectional_layer_reads_may_become_wider(edit):
    model, _ = architecture_edits.apply(recurrent(kl.GRU), {"kind": "bidirectional", "at": "rnn"})
    check(model, TOKENS, edit, inherited="approximate" if edit["kind"] == "stack" else "exact")


def test_new_units_learn():
    """The new rows are zero, not dead: a step of training moves them, and the new units then
    differ.
    """
    child = check(dense(), TABLE, {"kind": "resize", "at": "hidden", "size": 16})
    child.compile(keras.optimizers.SGD(0.1), "mse")
    child.fit(TABLE, numpy.ones((7, 3)), epochs=3, verbose=0)
    rows = child.get_layer("out").get_weights()[0][8:]
    assert numpy.abs(rows).max() > 0
    assert len(numpy.unique(rows.round(7), axis=0)) > 1


APPROXIMATE = [
    (cnn, IMAGES, {"kind": "resize", "at": "hidden", "size": 4}),
    (cnn, IMAGES, {"kind": "conv_block", "at": "pool", "like": "conv", "size": 8}),
    (cnn, IMAGES, {"kind": "global_pool", "at": "flat"}),
    (cnn, IMAGES, {"kind": "remove", "at": "hidden"}),
    (lambda: recurrent(kl.LSTM), TOKENS, {"kind": "stack", "at": "rnn2"}),
]


@pytest.mark.parametrize(
    ("build", "data", "edit"), APPROXIMATE, ids=[e["kind"] for _, _, e in APPROXIMATE]
)
def test_other_edits_say_approximate(build, data, edit):
    child = check(build(), data, edit, inherited="approximate")
    assert numpy.isfinite(child.predict(data, verbose=0)).all()


@pytest.mark.parametrize("at", ["conv", "conv2"])
def test_a_width_tied_by_a_skip_is_refused(at):
    with pytest.raises(architecture_edits.NotApplicableError):
        architecture_edits.apply(skipping(), {"kind": "resize", "at": at, "size": 9})


def test_lambda_custom_layer_and_nested_model_are_copied():
    class Scale(
        keras.layers.Layer
    ):  # its configuration is Keras' to find, which leaves the name out
        def __init__(self, by, **options):
            super().__init__(**options)
            self.by = by

        def build(self, shape):
            self.factor = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, x):
            return x * self.factor * self.by

    shift = 2.0
    inner = keras.Sequential(
        [keras.Input((6,)), kl.Lambda(lambda x: x + shift), Scale(3.0), kl.Dense(4, name="d")],
        name="inner",
    )
    model = keras.Sequential(
        [
            keras.Input((6,), name="table"),
            inner,
            kl.Dense(3, activation="relu", name="h"),
            kl.Dense(2),
        ]
    )
    child = check(model, TABLE, {"kind": "resize", "at": "h", "size": 5})
    assert [layer.name for layer in child.get_layer("inner").layers] == [
        layer.name for layer in inner.layers
    ]


def test_the_copy_has_the_models_own_class():
    class Mine(keras.Model):
        def train_step(self, data):
            self.steps_seen = getattr(self, "steps_seen", 0) + 1
            return super().train_step(data)

    x = keras.Input((6,), name="table")
    model = Mine(x, kl.Dense(1, name="out")(kl.Dense(4, activation="relu", name="hidden")(x)))
    model.temperature = 2
    child = check(model, TABLE, {"kind": "resize", "at": "hidden", "size": 6})
    assert type(child) is Mine
    assert child.temperature == 2


def test_a_subclassed_model_is_unclonable():
    class Code(keras.Model):
        def __init__(self):
            super().__init__()
            self.out = kl.Dense(1)

        def call(self, x):
            return self.out(x)

    model = Code()
    model(TABLE)
    with pytest.raises(graph.UnclonableError, match="subclassed"):
        architecture_edits.apply(model, {"kind": "dropout", "at": "out", "size": 0.1})


def test_every_edit_has_words():
    assert set(architecture_edits.WORDS) == set(architecture_edits.KINDS)
    assert (
        architecture_edits.words({"kind": "resize", "at": "conv", "size": 7})
        == "set the width of conv to 7"
    )
    rate = {"kind": "set_dropout", "at": "drop", "size": 0.1 + 0.2}
    assert architecture_edits.words(rate) == "set the rate of drop to 0.3"


def test_augmentation_does_not_stay_in_the_model():
    """A plain `model(x)` would be augmented by Keras, too."""
    model = cnn()
    child, _ = architecture_edits.apply(
        model, {"kind": "augment", "at": "image", "flip": True, "shift": 0.1}
    )
    numpy.testing.assert_allclose(
        architecture_edits.without_augmentation(child)(IMAGES), model(IMAGES), rtol=1e-6
    )
