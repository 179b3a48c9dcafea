"""What the search proposes: the portfolio keeps away from what is frozen, pretrained or the output,
and stays in its limits.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy
import pytest
from keras import layers as kl

from mlops_lib.runner.metrics import example_hashes
from mlops_lib.runner.search import examples
from mlops_lib.runner.search.keras import (
    architecture_edits,
    blueprint,
    constraints,
    initial_weights,
    portfolio,
)
from mlops_lib.runner.search.keras.candidates import Candidate, Facts, Limits, standard_recipe
from mlops_lib.runner.search.keras.diagnosis import Diagnosis
from mlops_lib.runner.search.keras.edit_space import Space, next_candidate
from mlops_lib.runner.search.keras.facts import as_picture, far_from_standard
from mlops_lib.runner.search.keras.search import improve
from mlops_lib.runner.search.request import FitCall, SearchRequest

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def convnet(*, hidden: int = 8) -> Any:
    return keras.Sequential(
        [
            keras.Input((24, 24, 3), name="image"),
            kl.Conv2D(4, 3, activation="relu", name="conv"),
            kl.MaxPooling2D(name="pool"),
            kl.Flatten(name="flat"),
            kl.Dense(hidden, activation="relu", name="hidden"),
            kl.Dense(5, name="logits"),
            kl.Activation("softmax", name="shares"),
        ]
    )


def facts(**known: Any) -> Facts:
    return Facts(examples=4000, batch_size=64, epochs=10, **known)


def edited(model: Any, known: Facts) -> tuple[Any, list[Any]]:
    edits = portfolio.modernised(model, known, Diagnosis(()))
    return architecture_edits.apply_all(model, edits)[0], edits


def test_a_small_convnet_grows_down_to_a_small_map_and_keeps_its_output() -> None:
    made, edits = edited(convnet(), facts(images=["image"], mirrored=True))
    assert [type(one).__name__ for one in made.layers][-3:] == ["Dropout", "Dense", "Activation"]
    assert made.get_layer("logits").units == 5
    widths = [one.filters for one in portfolio.convolutions(made)]
    assert widths == sorted(widths)
    assert len(widths) >= 2
    assert all(portfolio.normalised(made, one) for one in portfolio.convolutions(made))
    assert {"augment", "batch_norm", "resize", "conv_block", "remove", "dropout"} == {
        edit["kind"] for edit in edits
    }


def test_wider_where_that_costs_little() -> None:
    processor, _ = edited(convnet(), facts())
    accelerator, _ = edited(convnet(), facts(accelerated=True))
    assert accelerator.count_params() > processor.count_params()


def test_limits_are_kept() -> None:
    _, edits = edited(convnet(), facts(limits=Limits(without=("conv_block", "remove"))))
    assert not {"conv_block", "remove"} & {edit["kind"] for edit in edits}
    small, _ = edited(convnet(), facts(limits=Limits(parameters=7000)))
    assert small.count_params() <= max(7000, convnet().count_params())
    assert standard_recipe(facts(limits=Limits(epochs=3))).epochs == 3
    only = Space(
        convnet(), facts(limits=Limits(edits=("dropout",))), Diagnosis(()), inheritable=True
    )
    assert {edit["kind"] for edit in only.first.edits} == {"dropout"}
    around = list(only.around(1, convnet(), Diagnosis(("underfitting",))))
    assert {edit["kind"] for one in around for edit in one.edits} <= {"dropout"}


def test_a_network_grows_only_as_far_as_it_can_be_paid() -> None:
    model = convnet()
    conv = model.get_layer("conv")
    assert portfolio.multiplications(model) > 9 * conv.filters * math.prod(conv.output.shape[1:3])
    dear = facts(most_cost=portfolio.multiplications(model))
    kinds = {edit["kind"] for one in _around(model, dear) for edit in one.edits}
    assert "dropout" in kinds
    assert not {"resize", "conv_block", "deepen"} & kinds
    assert "resize" in {edit["kind"] for one in _around(model, facts()) for edit in one.edits}


def _around(model: Any, known: Facts) -> list[Any]:
    return list(
        Space(model, known, Diagnosis(()), inheritable=True).around(1, model, Diagnosis(()))
    )


@pytest.mark.parametrize("inlined", [True, False])
def test_only_the_head_on_a_backbone_is_edited(inlined: bool) -> None:
    base = keras.Sequential(
        [keras.Input((24, 24, 3)), kl.Conv2D(8, 3, name="base_conv"), kl.GlobalAveragePooling2D()]
    )
    base.trainable = False
    image = keras.Input((24, 24, 3), name="image")
    seen = base.layers[1](base.layers[0](image)) if inlined else base(image)
    model = keras.Model(
        image, kl.Dense(3, name="out")(kl.Dense(8, activation="relu", name="hidden")(seen))
    )
    space = Space(model, facts(images=["image"]), Diagnosis(()), inheritable=False)
    proposed = [space.first, *space.around(1, model, Diagnosis(("underfitting",)))]
    touched = {edit["at"] for candidate in proposed for edit in candidate.edits}
    assert touched
    assert not touched & {"base_conv", base.name}


def test_weights_from_elsewhere_are_trained_gently() -> None:
    assert standard_recipe(facts(pretrained=True, learning_rate=1e-4)).learning_rate <= 1e-4
    assert standard_recipe(facts()).learning_rate > 1e-3


def test_few_examples_still_make_enough_steps() -> None:
    few = standard_recipe(Facts(examples=300, batch_size=64, epochs=5))
    assert few.batch_size == 16
    assert few.epochs * 300 / 16 > 500


def test_padding_is_skipped_by_recurrent_layers_only() -> None:
    words = keras.Input((9,), dtype="int32", name="words")
    embedded = kl.Embedding(20, 4, name="embed")(words)
    reader = keras.Model(words, kl.Dense(1)(kl.LSTM(4, name="reader")(embedded)))
    made, _ = edited(reader, facts(padded=["words"]))
    assert made.get_layer("embed").mask_zero
    flat = keras.Model(words, kl.Dense(1)(kl.Flatten()(embedded)))
    with pytest.raises(architecture_edits.NotApplicableError):
        architecture_edits.apply(flat, {"kind": "mask", "at": "embed"})


class Quiet:
    def write(self, event: str, **keys: Any) -> None:
        pass

    def progress(self, phase: str | None = None, **keys: Any) -> None:
        pass


def search(
    tmp_path: Path,
    model: Any,
    fit: dict[str, Any],
    *,
    seen: frozenset[bytes] = frozenset(),
    **more: Any,
) -> Any:
    compiled = {"optimizer": "adam", "loss": "binary_crossentropy", "metrics": ["accuracy"]}
    model.compile(**compiled)
    initial = [v.numpy() for v in model.variables] if model.built else None
    history = model.fit(**fit, verbose=0)
    request = SearchRequest(
        fit=1,
        directory=str(tmp_path / "search"),
        target=2.0,
        trials=1,
        limits={"epochs": 1},
        judged_value=-1.0,
        **more,
    )
    return improve(model, FitCall(fit, compiled, history, initial, seen=seen), request, Quiet())


def test_what_was_adapted_or_pretrained_is_so_in_trials_too(tmp_path: Path) -> None:
    random = numpy.random.default_rng(0)
    x = (random.normal(size=(200, 4)) * 50 + 300).astype("float32")
    y = (x[:, 0] > 300).astype("int64")
    scale = kl.Normalization(name="scale")
    scale.adapt(x)
    frozen = kl.Dense(6, name="frozen", trainable=False)
    model = keras.Sequential(
        [keras.Input((4,)), scale, frozen, kl.Dense(1, activation="sigmoid", name="out")]
    )
    before = [w.copy() for w in frozen.get_weights()]
    outcome = search(tmp_path, model, {"x": x, "y": y, "epochs": 1})
    assert outcome.result["winner"] == 1
    numpy.testing.assert_allclose(model.get_layer("scale").mean, scale.mean)
    for old, new in zip(before, model.get_layer("frozen").get_weights(), strict=True):
        numpy.testing.assert_array_equal(old, new)


def test_the_pixels_of_a_flattened_image_share_one_scale_that_a_patch_can_say() -> None:
    random = numpy.random.default_rng(0)
    pixels = random.integers(0, 256, (100, 64)).astype("float32")
    pixels[:, :8] = 0  # the margin
    [mean], [variance] = far_from_standard(pixels)
    assert mean == pytest.approx(pixels.mean(), rel=1e-3)
    assert variance == pytest.approx(pixels.var(), rel=1e-3)
    table = random.normal(size=(100, 64)) * numpy.logspace(-2, 3, 64)
    assert len(far_from_standard(table)[0]) == 64
    model = keras.Sequential([keras.Input((64,), name="pixels"), kl.Dense(3, name="out")])
    child = architecture_edits.apply(
        model, {"kind": "normalise_input", "at": "pixels", "mean": [mean], "variance": [variance]}
    )[0]
    written = blueprint.one_layer(child.layers[0])
    assert written["known"]
    assert written["arguments"] == {
        "axis": [],
        "mean": pytest.approx(mean),
        "variance": pytest.approx(variance),
    }


def test_examples_that_an_earlier_fit_has_seen_make_it_contaminated(tmp_path: Path) -> None:
    x = numpy.random.default_rng(0).normal(size=(200, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")
    model = keras.Sequential(
        [keras.Input((4,)), kl.Dense(3, activation="relu"), kl.Dense(1, activation="sigmoid")]
    )
    seen = example_hashes.examples(x)
    assert seen is not None
    outcome = search(tmp_path, model, {"x": x, "y": y, "epochs": 1}, seen=seen.hashes)
    assert outcome.result["selection"] == "contaminated"


def test_an_indexed_iterator_can_be_read_again() -> None:
    class Batches:
        def __getitem__(self, i: int) -> Any:
            return i

        def __len__(self) -> int:
            return 3

        def __next__(self) -> Any:
            return 0

    assert not examples.read_once(Batches())
    assert examples.read_once(iter([1, 2]))
    assert examples.read_once(one for one in (1, 2))


def test_a_candidate_survives_its_record() -> None:
    candidate = Candidate(
        2, ({"kind": "dropout", "at": "flat", "size": 0.3},), standard_recipe(facts()), True
    )
    assert Candidate.read(candidate.values()) == candidate


SPACE = """
import keras, keras_tuner

class Space(keras_tuner.HyperModel):
    def build(self, hp):
        model = keras.Sequential([
            keras.Input((4,)), keras.layers.Dense(hp.Int("units", 8, 32), activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ])
        rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
        model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
        return model
"""


@pytest.mark.parametrize(
    "space", [SPACE, SPACE + "\nbuild = Space().build\ndel Space"], ids=["class", "function"]
)
def test_a_projects_own_hypermodel_is_used_as_it_is(
    space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "search_space.py").write_text(space)
    monkeypatch.chdir(tmp_path)
    x = numpy.random.default_rng(0).normal(size=(200, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")
    model = keras.Sequential(
        [keras.Input((4,)), kl.Dense(3, activation="relu"), kl.Dense(1, activation="sigmoid")]
    )
    outcome = search(tmp_path, model, {"x": x, "y": y, "epochs": 1})
    assert outcome.result["winner"] == 1
    values = outcome.result["trials"][1]["edits"]
    assert values[1].startswith("units = ")
    assert model.layers[0].units == int(values[1].split()[-1])
    assert model.predict(x, verbose=0).shape == (200, 1)


def test_a_code_that_a_decoder_takes_stays_as_wide_as_it_is() -> None:
    image = keras.Input((16,))
    code = kl.Dense(3, activation="relu", name="code")(image)
    last = kl.Dense(16, name="decoded")
    model, taken = keras.Model(image, last(code)), keras.Input((3,))
    decoder = keras.Model(taken, last(taken))
    extractor = keras.Model(image, code)
    tied = constraints.find(model, inputs_are_targets=False)
    assert list(tied.layers) == ["decoded"], "what the extractor gives may change"
    kept = {edit["kind"] for one in _around(model, facts(ties=tied)) for edit in one.edits}
    assert "resize" not in kept
    assert not any(edit["kind"] == "resize" for edit in edited(model, facts(ties=tied))[1])
    del decoder, extractor
    alone = constraints.find(model, inputs_are_targets=True)
    assert alone.narrowest == 3
    wider, _ = architecture_edits.apply(model, {"kind": "resize", "at": "code", "size": 9})
    assert not alone.allow(wider)


def test_a_linear_model_gets_a_hidden_layer_behind_its_input() -> None:
    model = keras.Sequential([keras.Input((13,), name="input"), kl.Dense(1)])
    for unscaled in ({}, {"input": ([5.0] * 13, [4.0] * 13)}):
        space = Space(model, facts(unscaled=unscaled), Diagnosis(()), inheritable=True)
        assert space.first is not None
        made, _ = architecture_edits.apply_all(model, list(space.first.edits))
        kinds = [type(one).__name__ for one in made.layers if type(one).__name__ != "Dropout"]
        assert kinds == ["Normalization"] * len(unscaled) + ["Dense", "Dense"]
    for one in _around(model, facts()):
        architecture_edits.apply_all(model, list(one.edits))


def test_a_code_that_a_pooling_makes_stays_as_large_as_it_is() -> None:
    image = keras.Input((8, 8, 1))
    code = kl.MaxPooling2D()(kl.Conv2D(2, 3, padding="same", name="last_of_encoder")(image))
    up = kl.UpSampling2D()(kl.Conv2D(8, 3, padding="same", name="first_of_decoder")(code))
    model = keras.Model(image, kl.Conv2D(1, 3, padding="same")(up))
    tied = constraints.find(model, inputs_are_targets=True)
    assert tied.narrowest == 4 * 4 * 2
    larger, _ = architecture_edits.apply(
        model, {"kind": "resize", "at": "last_of_encoder", "size": 16}
    )
    assert not tied.allow(larger)
    stronger, _ = architecture_edits.apply(
        model, {"kind": "resize", "at": "first_of_decoder", "size": 16}
    )
    assert tied.allow(stronger)


def test_pictures_that_are_flattened_at_once_get_convolutions() -> None:
    random = numpy.random.default_rng(0)
    coarse = random.normal(size=(200, 4, 4))
    pictures = coarse.repeat(4, axis=1).repeat(4, axis=2)
    assert as_picture(pictures.reshape(200, -1)) == [16, 16, 1]
    assert as_picture(pictures) == [16, 16, 1]
    assert not as_picture(random.normal(size=(200, 256)))
    assert not as_picture(random.normal(size=(200, 256)).cumsum(axis=1)), (
        "a signal goes on where a row would end"
    )
    vector = keras.Sequential(
        [keras.Input((256,), name="flat"), kl.Dense(8, "relu"), kl.Dense(3, name="out")]
    )
    second = Space(
        vector, facts(pictures={"flat": [16, 16, 1]}), Diagnosis(()), inheritable=True
    ).second
    assert second is not None
    made, _ = architecture_edits.apply_all(vector, list(second.edits))
    assert [type(one).__name__ for one in made.layers][:2] == ["Reshape", "Conv2D"]
    assert len(portfolio.convolutions(made)) == 2
    assert made.outputs[0].shape == (None, 3)
    assert (
        Space(
            convnet(), facts(pictures={"image": [24, 24, 3]}), Diagnosis(()), inheritable=True
        ).second
        is None
    )


def test_a_network_of_the_scripts_own_inside_another_is_not_pretrained() -> None:
    encoder = keras.Sequential([keras.Input((4,)), kl.Dense(3, activation="relu")])
    model = keras.Sequential([keras.Input((4,)), encoder, kl.Dense(2)])
    call = FitCall({}, {}, None, [v.numpy() for v in model.variables])
    assert initial_weights.is_untrained([encoder], model, call)
    encoder.layers[0].bias.assign([0.1, 0.0, 0.0])
    trained = FitCall({}, {}, None, [v.numpy() for v in model.variables])
    assert not initial_weights.is_untrained([encoder], model, trained)


def test_where_the_script_failed_with_another_network_only_its_training_is_searched(
    tmp_path: Path,
) -> None:
    random = numpy.random.default_rng(0)
    x = random.normal(size=(200, 4)).astype("float32")
    data = {"x": x, "y": (x[:, 0] > 0).astype("int64"), "epochs": 1}
    model = keras.Sequential(
        [keras.Input((4,)), kl.Dense(3, activation="relu"), kl.Dense(1, activation="sigmoid")]
    )
    search(tmp_path, model, dict(data))
    assert list((tmp_path / "search" / "trials").iterdir())
    again = keras.Sequential(
        [keras.Input((4,)), kl.Dense(3, activation="relu"), kl.Dense(1, activation="sigmoid")]
    )
    outcome = search(tmp_path, again, dict(data), failed_with="train.py:9: ValueError")
    assert again.count_params() == 19
    assert (tmp_path / "search" / "architectures" / "trials" / "1.json").is_file()
    edits = [edit for trial in outcome.result["trials"][1:] for edit in trial["edits"]]
    assert edits
    assert not [edit for edit in edits if "width" in edit or edit.startswith("insert")]
    assert "ValueError" in " ".join(outcome.notes)


def test_pictures_are_shifted_and_trained_for_long_once_the_portfolio_was_tried() -> None:
    known = facts(images=["image"])
    space = Space(convnet(), known, Diagnosis(()), inheritable=True)
    model, _ = architecture_edits.apply_all(convnet(), list(space.first.edits))
    tried = [space.first.values()]
    second = next_candidate(space, 1, lambda _: model, lambda _: Diagnosis(()), tried)
    assert second is not None
    before = len(portfolio.convolutions(model))
    assert [edit["kind"] for edit in second.edits] == ["augment", *["conv_block"] * (before - 1)]
    assert (second.parent, second.fresh) == (1, True)
    deep, _ = architecture_edits.apply_all(model, list(second.edits))
    assert len(portfolio.convolutions(deep)) == 2 * before - 1
    assert second.recipe.epochs == 2 * space.first.recipe.epochs
    tried.append(second.values())
    third = next_candidate(space, 1, lambda _: model, lambda _: Diagnosis(()), tried)
    assert third is not None
    assert third.recipe.epochs < second.recipe.epochs
    dense = keras.Sequential([keras.Input((6,)), kl.Dense(4), kl.Dense(2)])
    assert space.thorough(1, dense) is None


def test_what_did_not_help_is_not_tried_on_the_next_model_first() -> None:
    space = Space(convnet(), facts(), Diagnosis(()), inheritable=True)
    model, _ = architecture_edits.apply_all(convnet(), list(space.first.edits))

    def proposed(best: int, tried: list[Any]) -> Candidate:
        found = next_candidate(space, best, lambda _: model, lambda _: Diagnosis(()), tried)
        assert found is not None
        return found

    first = space.first.values()
    failed = proposed(1, [first])
    helpful = proposed(1, [first, failed.values()])
    places = [{(e["kind"], e["at"]) for e in one.edits} for one in (failed, helpful)]
    assert places[0] != places[1]
    # The third trial is the best now: the second's change waits until others were tried.
    after = proposed(3, [first, failed.values(), helpful.values()])
    assert {(edit["kind"], edit["at"]) for edit in after.edits} != places[0]
