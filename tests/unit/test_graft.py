"""What the script took from its model before the search must act on the winner afterwards."""

import keras
import numpy
import pytest
from keras import layers as kl

from mlops_lib.runner.search.keras import architecture_edits
from mlops_lib.runner.search.keras.graft import graft

# Keras itself, under newer NumPys.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

IMAGES = numpy.random.default_rng(0).normal(size=(8, 12, 12, 3)).astype("float32")
LABELS = numpy.arange(8) % 3

BLOCK = {"kind": "conv_block", "at": "pool", "like": "conv", "size": 6}
WIDE = {"kind": "resize", "at": "conv", "size": 7}
NORM = {"kind": "batch_norm", "at": "conv"}
DROP = {"kind": "dropout", "at": "hidden", "size": 0.2}
SCALE = {
    "kind": "normalise_input",
    "at": "image",
    "mean": [0.1, 0.2, 0.3],
    "variance": [1.0, 2.0, 3.0],
}
EDITS = {
    "late": [DROP],
    "middle": [BLOCK],
    "wide": [WIDE],
    "first": [SCALE],
    "all": [SCALE, NORM, WIDE, BLOCK, DROP],
}


def layers():
    return [
        kl.Conv2D(4, 3, activation="relu", name="conv"),
        kl.MaxPooling2D(name="pool"),
        kl.Flatten(name="flat"),
        kl.Dense(8, activation="relu", name="hidden"),
        kl.Dense(3, activation="softmax", name="out"),
    ]


def sequential():
    return keras.Sequential([keras.Input((12, 12, 3), name="image"), *layers()], name="mine")


def added():
    """Keras builds it again with each layer, and leaves the earlier builds' tensors behind."""
    model = keras.Sequential([keras.Input((12, 12, 3), name="image")], name="mine")
    for layer in layers():
        model.add(layer)
    return model


def functional():
    image = x = keras.Input((12, 12, 3), name="image")
    conv, pool, flat, hidden, out = layers()
    x = pool(conv(x))
    side = kl.GlobalAveragePooling2D(name="side")(x)
    return keras.Model(
        image, out(kl.Concatenate(name="join")([hidden(flat(x)), side])), name="mine"
    )


CASES = [
    (sequential, "late"),
    (sequential, "wide"),
    (sequential, "all"),
    (added, "late"),
    (added, "all"),
    (functional, "middle"),
    (functional, "all"),
]
each_case = pytest.mark.parametrize(
    ("model", "name"), CASES, indirect=["model"], ids=[f"{b.__name__}-{n}" for b, n in CASES]
)


@pytest.fixture(params=[sequential, functional])
def model(request):
    keras.utils.set_random_seed(5)
    made = request.param()
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


def change(model, name="all"):
    """Graft a winner whose weights are not the model's; returns what it predicts."""
    edits = [
        e
        for e in EDITS[name]
        if not (e["kind"] == "resize" and type(model) is not keras.Sequential)
    ]
    winner, _ = architecture_edits.apply_all(model, edits)
    for layer in winner.layers:
        layer.set_weights(
            [
                w + 0.1 * numpy.abs(numpy.cos(numpy.arange(w.size).reshape(w.shape)))
                for w in layer.get_weights()
            ]
        )
    expected = winner.predict(IMAGES, verbose=0)
    notes = graft(model, winner)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return expected, notes


def near(one, other):
    numpy.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@each_case
def test_the_callers_object_is_the_winner(model, name, tmp_path):
    kind, weights = type(model), {layer.name for layer in model.layers}
    expected, _ = change(model, name)
    near(model.predict(IMAGES, verbose=0), expected)
    assert type(model) is kind
    assert model.name == "mine"
    assert weights <= {layer.name for layer in model.layers}
    model.fit(IMAGES, LABELS, epochs=1, verbose=0)
    assert (
        len({id(w) for w in model.weights})
        == len(model.weights)
        == sum(len(layer.weights) for layer in model.layers)
    )
    path = str(tmp_path / "best.keras")
    model.save(path)
    loaded = keras.models.load_model(path)
    numpy.testing.assert_array_equal(
        loaded.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0)
    )
    assert [w.shape for w in loaded.weights] == [w.shape for w in model.weights]


@each_case
def test_a_layer_taken_before_can_be_frozen_after(model, name):
    taken = {layer.name: layer for layer in model.layers}
    change(model, name)
    assert all(model.get_layer(n) is layer for n, layer in taken.items())
    for n in ("conv", "hidden"):
        taken[n].trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    before = {n: taken[n].get_weights() for n in taken}
    model.fit(IMAGES, LABELS, epochs=1, verbose=0)
    for n in ("conv", "hidden"):
        assert all((a == b).all() for a, b in zip(before[n], taken[n].get_weights(), strict=True))
    assert any(
        (a != b).any() for a, b in zip(before["out"], taken["out"].get_weights(), strict=True)
    )


@each_case
def test_a_feature_extractor_made_before_computes_on_the_winner(model, name):
    extractor = keras.Model(model.inputs, model.get_layer("hidden").output)
    extractor.predict(IMAGES, verbose=0)  # its compiled function must not stay behind
    change(model, name)
    after = keras.Model(model.inputs, model.get_layer("hidden").output)
    near(extractor.predict(IMAGES, verbose=0), after.predict(IMAGES, verbose=0))
    if isinstance(model, keras.Sequential):
        x = IMAGES
        for layer in model.layers[: model.layers.index(model.get_layer("hidden")) + 1]:
            x = layer(x)
        near(after.predict(IMAGES, verbose=0), x)


@pytest.mark.parametrize("name", EDITS)
def test_an_extractor_made_of_the_first_layers_follows(name):
    model = sequential()
    extractor = keras.Sequential([keras.Input((12, 12, 3)), *model.layers[:-1]])
    extractor.predict(IMAGES, verbose=0)
    change(model, name)
    after = keras.Model(model.inputs, model.layers[-1].input)
    if name in (
        "late",
        "all",
    ):  # what was inserted behind the extractor's last layer is not part of it
        after = keras.Model(model.inputs, model.get_layer("hidden").output)
    near(extractor.predict(IMAGES, verbose=0), after.predict(IMAGES, verbose=0))


def heat(model, cam):
    import tensorflow

    with tensorflow.GradientTape() as tape:
        maps, output = cam(IMAGES)
        top = tensorflow.reduce_sum(output[:, 1])
    return tape.gradient(top, maps).numpy(), output.numpy()


@each_case
def test_grad_cam(model, name):
    before = keras.Model(model.inputs[0], [model.get_layer("conv").output, model.outputs[0]])
    expected, _ = change(model, name)
    after = keras.Model(model.inputs[0], [model.get_layer("conv").output, model.outputs[0]])
    for cam in (before, after):
        gradient, output = heat(model, cam)
        near(output, expected)
        assert numpy.abs(gradient).max() > 0
    near(heat(model, before)[0], heat(model, after)[0])


@pytest.mark.parametrize("name", ["first", "all"])
def test_pop_and_add(name):
    model = sequential()
    change(model, name)
    model.pop()
    model.add(kl.Dense(5, name="new"))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(IMAGES, LABELS, epochs=1, verbose=0)
    assert model.predict(IMAGES, verbose=0).shape == (8, 5)
    assert [w.shape for w in model.weights] == [
        w.shape for layer in model.layers for w in layer.weights
    ]


@each_case
def test_a_model_that_holds_this_one_computes_on_the_winner(model, name):
    image = keras.Input((12, 12, 3))
    outer = keras.Model(image, kl.Lambda(lambda p: 2.0 * p)(model(image)))
    outer.predict(IMAGES, verbose=0)
    expected, _ = change(model, name)
    near(2.0 * model.predict(IMAGES, verbose=0), 2.0 * expected)
    # a script compiles before it fits; predict alone keeps its old function otherwise
    outer.compile()
    near(outer.predict(IMAGES, verbose=0), 2.0 * expected)


def test_a_nested_base_keeps_its_object():
    base = keras.Sequential(
        [keras.Input((12, 12, 3)), kl.Conv2D(4, 3, activation="relu"), kl.Flatten()], name="base"
    )
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3), name="image"),
            base,
            kl.Dense(8, activation="relu", name="hidden"),
            kl.Dense(3, name="out"),
        ]
    )
    winner, grade = architecture_edits.apply_all(
        model, [DROP, {"kind": "resize", "at": "hidden", "size": 12}]
    )
    graft(model, winner)
    assert grade == "exact"
    assert model.layers[0] is base
    near(model.predict(IMAGES, verbose=0), winner.predict(IMAGES, verbose=0))


def test_own_class_train_step_and_attributes_stay():
    class Mine(keras.Model):
        def train_step(self, data):
            self.steps.append(1)
            return super().train_step(data)

    image = keras.Input((12, 12, 3), name="image")
    x = image
    for layer in layers():
        x = layer(x)
    model = Mine(image, x, name="mine")
    model.steps = []
    model.note = "kept"
    change(model, "all")
    model.fit(IMAGES, LABELS, epochs=1, verbose=0)
    assert type(model) is Mine
    assert model.steps
    assert model.note == "kept"


def test_a_reference_that_cannot_follow_is_told(model):
    winner, _ = architecture_edits.apply_all(model, [{"kind": "remove", "at": "hidden"}])
    assert any("hidden" in note for note in graft(model, winner))


@each_case
def test_a_second_head_made_before_sits_on_the_winner(model, name):
    head = kl.Dense(2, name="head")
    other = keras.Model(model.inputs, head(model.get_layer("hidden").output), name="other")
    change(model, name)
    features = keras.Model(model.inputs, model.get_layer("hidden").output)
    near(other.predict(IMAGES, verbose=0), head(features.predict(IMAGES, verbose=0)))


def test_a_head_that_cannot_follow_is_told():
    model = sequential()
    keras.Model(model.inputs, kl.Dense(2)(model.get_layer("flat").output), name="other")
    kept = keras.Model(model.inputs, kl.Dense(2)(model.get_layer("flat").output), name="second")
    _, notes = change(model, "wide")
    assert any(kept.name in note for note in notes)
