"""The search on real, tiny trainings: what it selects on, how it ends, and that a kill does not
change its winner.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy
import pytest
from keras import layers as kl

from mlops_lib.records import SearchResult, Trial
from mlops_lib.runner.metrics import example_hashes
from mlops_lib.runner.search.examples import Selected
from mlops_lib.runner.search.keras import trial
from mlops_lib.runner.search.keras.candidates import Recipe
from mlops_lib.runner.search.keras.memory_growth import SETTLED
from mlops_lib.runner.search.keras.search import improve
from mlops_lib.runner.search.keras.winner import stretched
from mlops_lib.runner.search.request import Clock, FitCall, SearchRequest
from mlops_lib.tuning.second_pass import lineage

# Keras itself, under newer NumPys.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning"),
]


class Journal:
    def __init__(self):
        self.events, self.steps = [], 0

    def write(self, event, **keys):
        self.events.append((event, json.loads(json.dumps(keys))))

    def progress(self, phase=None, **keys):
        self.steps += 1


def blobs(count=400, classes=3, seed=0, scale=1.0):
    """Points around class centres; `scale` makes one feature dwarf the others."""
    random = numpy.random.default_rng(seed)
    y = random.integers(0, classes, size=count)
    x = (numpy.eye(classes)[y] @ numpy.eye(classes, 6)) * 2 + random.normal(size=(count, 6)) * 0.6
    x[:, 5] *= scale
    return x.astype("float32"), y


X, Y = blobs()
TEST_X, TEST_Y = blobs(200, seed=1)


def weak(units=2, rate=1e-3):
    """A model that one epoch at this rate leaves far from any bar."""
    keras.utils.set_random_seed(4)
    return keras.Sequential(
        [
            keras.Input((6,), name="table"),
            kl.Dense(units, activation="relu", name="hidden"),
            kl.Dense(3, activation="softmax", name="out"),
        ]
    )


def searched(
    tmp_path,
    model,
    fit,
    *,
    compiled=None,
    journal=None,
    target=0.95,
    trials=3,
    leave=None,
    **request,
):
    """Fit a model as a script would, then search."""
    compiled = compiled or {
        "optimizer": "adam",
        "loss": "sparse_categorical_crossentropy",
        "metrics": ["accuracy"],
    }
    model.compile(**compiled)
    initial = [v.numpy() for v in model.variables] if model.built else None
    history = model.fit(**fit, verbose=0)
    request.setdefault("judged_digest", example_hashes.examples(TEST_X).digest)
    request.setdefault("limits", {"epochs": 4})
    asked = SearchRequest(
        fit=1, directory=str(tmp_path / "search"), target=target, trials=trials, **request
    )
    outcome = improve(
        model,
        FitCall(dict(fit), compiled, history, initial),
        asked,
        journal or Journal(),
        leave=leave,
    )
    SearchResult.from_json(outcome.result)
    assert json.loads((tmp_path / "search" / "result.json").read_text()) == json.loads(
        json.dumps(outcome.result)
    )
    return outcome


def accuracy(model):
    return float((model.predict(TEST_X, verbose=0).argmax(axis=-1) == TEST_Y).mean())


def test_the_bar_ends_the_search_and_the_script_holds_the_winner(tmp_path):
    model, journal, epochs = weak(), Journal(), 3
    outcome = searched(
        tmp_path, model, {"x": X, "y": Y, "epochs": epochs}, journal=journal, target=0.85, limits={}
    )
    assert outcome.changed
    assert outcome.result["stopped"] == "bar"
    assert outcome.result["selection"] == "split"
    assert accuracy(model) >= 0.85
    assert {"loss", "accuracy"} == set(outcome.history.history)
    assert all(len(values) == epochs for values in outcome.history.history.values())
    assert model.history is outcome.history
    states = [keys["trial"]["state"] for event, keys in journal.events if event == "trial"]
    assert states[0] == "finished"
    assert "running" in states
    assert journal.steps > 0
    for path in (tmp_path / "search" / "trials").glob("[0-9].json"):
        Trial.from_json(json.loads(path.read_text()))


def test_a_winner_that_passes_the_bar_on_few_examples_is_trained_to_the_end(tmp_path):
    """On 40 selection examples a score passes any bar at once, long before the model is at its
    best.
    """
    x, y = blobs(40, seed=7)
    fit = {"x": X, "y": Y, "epochs": 1, "validation_data": (x, y)}
    outcome = searched(tmp_path, weak(), fit, trials=3, target=0.5, limits={"epochs": 30})
    assert outcome.result["stopped"] == "bar"
    winner = outcome.result["trials"][outcome.result["winner"]]
    assert max(winner["curve"][:15]) >= 0.75, "passed by far early on"
    assert winner["epochs"] == winner["hyperparameters"]["epochs"] == 30


@pytest.mark.parametrize(
    ("schedule", "bar", "scores", "epoch"),
    [
        # A perfect score on 43 examples is not known to better than three points.
        ("cosine", 0.5, [0.6, 1.0, 0.98, 0.98, 0.93], 3),
        ("cosine", 0.99, [0.6, 1.0, 0.98, 0.98, 0.93], 1),
        ("cosine", 0.5, [0.6, 0.95, 0.8, 0.7], 1),
        ("own", 0.5, [0.6, 1.0, 0.98, 0.98, 0.93], 1),
    ],
)
def test_the_weights_of_which_epoch_are_kept(tmp_path, schedule, bar, scores, epoch):
    model = weak()
    directory = str(tmp_path / "search")
    request = SearchRequest(fit=1, directory=directory, target=bar, trials=1)
    selected = Selected("disjoint", *blobs(43, seed=7), None, {}, count=43)
    call = FitCall({}, {}, keras.callbacks.History(), None)
    context = trial.TrialContext(
        call, request, selected, Journal(), Clock(0.0, minutes=1.0), None, bar=bar, sure=2.0
    )
    run = trial.TrialRun()
    checkpoint = trial.TrialCheckpoint(str(tmp_path / "1.state.npz"))
    recipe = Recipe(schedule=schedule, epochs=len(scores))
    monitor = trial._monitor(context, recipe, 1, run, checkpoint)
    model.stop_training = False
    monitor.set_model(model)
    for number, score in enumerate(scores):
        model.set_weights([numpy.full(value.shape, number) for value in model.get_weights()])
        monitor.on_epoch_end(number, {"val_accuracy": score, "val_loss": 1.0, "loss": 1.0})
    assert run.score == scores[epoch]
    assert (run.weights[0] == epoch).all()


def test_selected_examples_are_neither_judged_nor_trained_on(tmp_path):
    outcome = searched(tmp_path, weak(), {"x": X, "y": Y, "epochs": 1}, trials=1, target=2.0)
    everything = example_hashes.examples(X).hashes
    assert outcome.selected_on < everything
    assert not outcome.selected_on & example_hashes.examples(TEST_X).hashes
    assert len(outcome.selected_on) == 100


def test_own_validation_data_selects_where_the_gate_judges_others(tmp_path):
    x, y = blobs(150, seed=7)
    outcome = searched(
        tmp_path,
        weak(),
        {"x": X, "y": Y, "epochs": 1, "validation_data": (x, y)},
        trials=1,
        target=2.0,
    )
    assert outcome.result["selection"] == "disjoint"
    assert outcome.selected_on == example_hashes.examples(x).hashes
    assert outcome.result["trials"][0]["score"] is not None


def test_half_of_the_validation_data_where_the_gate_judges_it(tmp_path):
    fit = {"x": X, "y": Y, "epochs": 1, "validation_data": (TEST_X, TEST_Y)}
    first = searched(tmp_path / "1", weak(), fit, trials=1, target=2.0)
    second = searched(tmp_path / "2", weak(), fit, trials=1, target=2.0)
    assert first.result["selection"] == "half"
    assert len(first.selected_on) == 100
    assert first.selected_on == second.selected_on
    history = first.history.history
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    # A trial's curve on the selecting half would be the number that the winner was chosen by.
    rest = [
        i for i, name in enumerate(example_hashes.hashes(TEST_X)) if name not in first.selected_on
    ]
    assert history["val_accuracy"] == [
        first.history.model.evaluate(TEST_X[rest], TEST_Y[rest], verbose=0)[1]
    ]
    assert first.measured.names == [example_hashes.hashes(TEST_X)[i] for i in rest]


def test_a_validation_pipeline_selects_by_half_and_trials_train_on_the_scripts_own(tmp_path):
    seen = []

    class Batches(keras.utils.PyDataset):
        def __init__(self, x, y, *, noise):
            super().__init__()
            self.x, self.y, self.noise = x, y, noise
            self.order = numpy.random.permutation(len(y))

        def __len__(self):
            return -(-len(self.y) // 32)

        def __getitem__(self, i):
            chosen = self.order[32 * i : 32 * i + 32]
            batch = self.x[chosen] + self.noise * numpy.random.normal(size=(len(chosen), 6)).astype(
                "float32"
            )
            if self.noise:
                seen.append(batch[0].tobytes())
            return batch, self.y[chosen]

        def on_epoch_end(self):
            numpy.random.shuffle(self.order)

    test = Batches(TEST_X, TEST_Y, noise=0.0)
    fit = {"x": Batches(X, Y, noise=0.01), "validation_data": test, "epochs": 1}
    outcome = searched(tmp_path, weak(), fit, trials=2, target=2.0)
    assert outcome.result["selection"] == "half"
    assert outcome.selected_on < example_hashes.examples(TEST_X).hashes
    assert len(outcome.selected_on) == 100
    assert len(set(seen)) == len(seen)  # its randomness is alive
    model, names = outcome.history.model, example_hashes.hashes(TEST_X)
    rest = [i for i, name in enumerate(names) if name not in outcome.selected_on]
    assert set(outcome.measured.names) == {names[i] for i in rest}
    assert outcome.history.history["val_accuracy"] == [
        model.evaluate(TEST_X[rest], TEST_Y[rest], verbose=0)[1]
    ]


def test_a_validation_that_is_never_the_same_is_not_taken_for_the_judged_one(tmp_path):
    class Noisy(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            noise = numpy.random.normal(size=(50, 6)).astype("float32")
            return TEST_X[50 * i : 50 * i + 50] + noise, TEST_Y[50 * i : 50 * i + 50]

    fit = {"x": X, "y": Y, "validation_data": Noisy(), "epochs": 1}
    outcome = searched(
        tmp_path, weak(), fit, trials=1, target=2.0, judged_digest="of another reading"
    )
    assert outcome.result["selection"] == "split"


def test_validation_that_may_be_the_judged_one_is_not_trusted(tmp_path):
    fit = {"x": X, "y": Y, "epochs": 1, "validation_split": 0.2}
    outcome = searched(tmp_path, weak(), fit, trials=1, target=2.0, judged_digest="")
    assert outcome.result["selection"] == "split"
    assert not outcome.selected_on & example_hashes.examples(X[320:]).hashes


def test_same_seed_same_winner(tmp_path):
    def once(folder):
        outcome = searched(
            tmp_path / folder, weak(), {"x": X, "y": Y, "epochs": 2}, trials=3, target=2.0
        )
        return [(t["score"], t["edits"]) for t in outcome.result["trials"]], outcome.result[
            "winner"
        ]

    assert once("a") == once("b")


def test_no_better_model_leaves_the_script_its_own(tmp_path):
    model = weak(units=32)
    fit = {"x": X, "y": Y, "epochs": 15, "validation_data": (TEST_X, TEST_Y)}
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    outcome = searched(tmp_path, model, fit, trials=0, target=2.0)
    assert not outcome.changed
    assert outcome.result["winner"] == 0
    assert outcome.result["before"] == outcome.result["after"]
    assert len(model.layers) == 2


def test_custom_and_lambda_losses_and_metric_objects_are_the_scripts_own(tmp_path):
    calls = []

    def focal(truth, guess):
        calls.append(1)
        return keras.losses.sparse_categorical_crossentropy(truth, guess)

    metric = keras.metrics.SparseCategoricalAccuracy(name="hits")
    compiled = {"optimizer": keras.optimizers.SGD(0.05), "loss": focal, "metrics": [metric]}
    model = weak()
    outcome = searched(
        tmp_path, model, {"x": X, "y": Y, "epochs": 1}, compiled=compiled, trials=1, target=2.0
    )
    assert (
        outcome.result["trials"][1]["score"] is not None
    )  # accuracy, although no metric is called so
    assert model.loss is focal
    before = len(calls)
    model.compile(optimizer="adam", loss=lambda t, g: focal(t, g))
    model.fit(X, Y, verbose=0)
    assert len(calls) > before


def test_callbacks_that_write_do_not_run_in_trials(tmp_path):
    seen = []
    spy = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    stop = keras.callbacks.EarlyStopping(monitor="loss", patience=50)
    outcome = searched(
        tmp_path,
        weak(),
        {"x": X, "y": Y, "epochs": 2, "callbacks": [spy, stop]},
        trials=2,
        target=2.0,
    )
    assert seen == [0, 1]
    assert any("LambdaCallback" in note for note in outcome.notes)


def test_subclassed_model_is_searched_without_edits(tmp_path):
    class Code(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.out = (
                kl.Dense(8, activation="relu"),
                kl.Dense(3, activation="softmax"),
            )

        def call(self, x):
            return self.out(self.hidden(x))

    keras.utils.set_random_seed(3)
    model = Code()
    layer = model.hidden
    fit = {"x": X, "y": Y, "epochs": 2, "validation_data": blobs(150, seed=7)}
    outcome = searched(tmp_path, model, fit, target=0.85, limits={})
    assert any("subclassed" in note for note in outcome.notes)
    assert outcome.changed
    assert model.hidden is layer
    assert accuracy(model) >= 0.8


def test_lambda_layers_and_dict_inputs(tmp_path):
    keras.utils.set_random_seed(3)
    one, two = keras.Input((3,), name="one"), keras.Input((3,), name="two")
    factor = 0.5
    joined = kl.Concatenate()([kl.Lambda(lambda v: v * factor, name="half")(one), two])
    model = keras.Model(
        {"one": one, "two": two},
        kl.Dense(3, activation="softmax", name="out")(
            kl.Dense(4, activation="relu", name="hidden")(joined)
        ),
    )
    x = {"one": X[:, :3], "two": X[:, 3:]}
    outcome = searched(tmp_path, model, {"x": x, "y": Y, "epochs": 1}, trials=2, target=2.0)
    assert all(t["state"] == "finished" for t in outcome.result["trials"])
    assert model.predict(x, verbose=0).shape == (400, 3)


def test_pipelines_are_read_again_and_again(tmp_path):
    import tensorflow

    train = tensorflow.data.Dataset.from_tensor_slices((X, Y)).shuffle(400, seed=1).batch(32)
    held = tensorflow.data.Dataset.from_tensor_slices(blobs(150, seed=7)).batch(32)
    outcome = searched(
        tmp_path, weak(), {"x": train, "epochs": 2, "validation_data": held}, trials=1, target=2.0
    )
    assert outcome.result["selection"] == "disjoint"
    assert outcome.result["trials"][1]["state"] == "finished"


def test_a_generator_is_refused(tmp_path):
    model = weak()
    weights = [w.copy() for w in model.get_weights()]
    batches = ((X[:32], Y[:32]) for _ in range(100))
    outcome = searched(tmp_path, model, {"x": batches, "epochs": 1, "steps_per_epoch": 2}, trials=1)
    assert outcome.result["stopped"] == "refused"
    assert "only once" in outcome.result["notes"][0]
    assert any(
        (a != b).any() for a, b in zip(weights, model.get_weights(), strict=True)
    )  # trained by the script, kept


def test_not_a_number_is_an_invalid_trial(tmp_path):
    steps = []

    def explodes(truth, guess):
        return keras.losses.sparse_categorical_crossentropy(truth, guess) * (
            float("nan") if steps else 1.0
        )

    class Arm(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            steps.append(1)

    compiled = {"optimizer": "adam", "loss": explodes, "metrics": ["accuracy"]}
    model = weak()
    outcome = searched(
        tmp_path,
        model,
        {"x": X, "y": Y, "epochs": 1, "callbacks": [Arm()]},
        compiled=compiled,
        trials=2,
    )
    assert {t["state"] for t in outcome.result["trials"][1:]} == {"invalid"}
    assert not outcome.changed


def test_out_of_memory_halves_the_batch(tmp_path):
    import tensorflow

    fits = []

    class Tight(keras.Sequential):
        def fit(self, *args, **kwargs):
            fits.append(kwargs.get("batch_size"))
            if len(fits) in (2, 3):
                raise tensorflow.errors.ResourceExhaustedError(
                    None, None, "OOM when allocating tensor"
                )
            return super().fit(*args, **kwargs)

    keras.utils.set_random_seed(4)
    model = Tight(
        [
            keras.Input((6,)),
            kl.Dense(4, activation="relu", name="hidden"),
            kl.Dense(3, activation="softmax"),
        ]
    )
    journal = Journal()
    outcome = searched(
        tmp_path,
        model,
        {"x": X, "y": Y, "epochs": 1, "batch_size": 64},
        trials=1,
        target=2.0,
        journal=journal,
    )
    assert outcome.result["trials"][1]["state"] == "finished"
    assert fits[1] == 2 * fits[2] == 4 * fits[3]
    assert sum(event == "warning" for event, _ in journal.events) == 2


def test_minutes_end_a_trial_under_way(tmp_path):
    x, y = blobs(20000, seed=3)
    outcome = searched(
        tmp_path,
        weak(),
        {"x": x, "y": y, "epochs": 1, "batch_size": 16},
        limits={},
        target=2.0,
        minutes=0.05,
    )
    assert outcome.result["stopped"] == "minutes"
    (_, cut) = outcome.result["trials"]
    assert (cut["state"], cut["message"]) == ("stopped", "the time is used up")
    assert 0 < cut["epochs"] < cut["hyperparameters"]["epochs"]
    assert outcome.result["winner"] == 1


def test_what_an_interrupted_trial_had_used_counts():
    clock = Clock(10.0, minutes=1.0)
    clock.count(20.0)
    assert clock.left_s == 30.0


def test_what_the_gate_rejected_must_be_beaten(tmp_path):
    fit = {"x": X, "y": Y, "epochs": 3}
    first = searched(tmp_path, weak(), fit, target=0.85, limits={}).result
    assert first["stopped"] == "bar"
    again = searched(
        tmp_path, weak(), fit, target=0.85, limits={}, rejected=(first["score"],)
    ).result
    assert len(again["trials"]) > len(first["trials"])
    assert again["stopped"] != "bar" or again["score"] > first["score"]


def test_a_process_that_grows_is_left_between_trials(tmp_path):
    class Left(BaseException):
        pass

    held = []

    class Hoarder(Journal):
        def write(self, event, **keys):
            super().write(event, **keys)
            if event == "trial" and keys["trial"]["state"] != "running":
                held.append(numpy.ones(12_500_000))

    def leave(why):
        assert "grown" in why
        raise Left

    journal = Hoarder()
    with pytest.raises(Left):
        searched(
            tmp_path,
            weak(),
            {"x": X, "y": Y, "epochs": 1},
            trials=20,
            target=2.0,
            journal=journal,
            leave=leave,
        )
    held.clear()
    ended = [
        keys["trial"]["number"]
        for event, keys in journal.events
        if keys["trial"]["state"] != "running"
    ]
    assert SETTLED < ended[-1] < 20
    more = searched(
        tmp_path, weak(), {"x": X, "y": Y, "epochs": 1}, trials=ended[-1] + 1, target=2.0
    )
    assert [t["number"] for t in more.result["trials"]] == list(range(ended[-1] + 2))


def test_minutes_count_over_attempts(tmp_path):
    outcome = searched(
        tmp_path, weak(), {"x": X, "y": Y, "epochs": 1}, trials=50, target=2.0, minutes=2 / 60
    )
    assert outcome.result["stopped"] == "minutes"
    trials = len(outcome.result["trials"])
    again = searched(
        tmp_path, weak(), {"x": X, "y": Y, "epochs": 1}, trials=50, target=2.0, minutes=2 / 60
    )
    assert len(again.result["trials"]) == trials


def test_interrupted_keeps_the_best_so_far(tmp_path):
    class Impatient(Journal):
        def write(self, event, **keys):
            super().write(event, **keys)
            if event == "trial" and keys["trial"]["number"] == 2:
                raise KeyboardInterrupt

    model = weak()
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, model, {"x": X, "y": Y, "epochs": 2}, target=2.0, journal=Impatient())
    result = json.loads((tmp_path / "search" / "result.json").read_text())
    assert result["stopped"] == "interrupted"
    assert result["winner"] == 1
    assert accuracy(model) > 0.5


def test_names_and_random_state_are_as_without_a_search(tmp_path):
    def after(search):
        keras.utils.clear_session(free_memory=False)
        model = weak()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        if search:
            searched(tmp_path, model, {"x": X, "y": Y, "epochs": 1}, trials=2, target=2.0)
        else:
            model.fit(X, Y, verbose=0)
        return kl.Dense(2).name, kl.Conv2D(2, 3).name

    assert after(True) == after(False)


def test_history_keeps_its_length():
    assert stretched([1.0, 2.0, 3.0], 3) == [1.0, 2.0, 3.0]
    assert stretched([1.0, 2.0], 4) == [1.0, 1.0, 2.0, 2.0]
    assert stretched([1.0, 2.0, 3.0, 4.0, 5.0], 2) == [1.0, 5.0]
    assert stretched([5.0], 3) == [5.0, 5.0, 5.0]


SCRIPT = Path(__file__)


def _search_in_child(folder):
    """What the killed process runs; prints a line when a trial begins."""

    class Loud(Journal):
        def progress(self, phase=None, **keys):
            if "epoch" in keys:
                sys.stdout.write(f"{keys['trial']} {keys['epoch']}\n")
                sys.stdout.flush()

    outcome = searched(
        Path(folder), weak(), {"x": X, "y": Y, "epochs": 4}, trials=3, target=2.0, journal=Loud()
    )
    sys.stdout.write(
        "winner "
        + json.dumps([outcome.result["winner"], [t["edits"] for t in outcome.result["trials"]]])
        + "\n"
    )


def _child(folder):
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path.cwd()),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONWARNINGS": "ignore",
    }
    code = f"import runpy; runpy.run_path({str(SCRIPT)!r})['_search_in_child']({str(folder)!r})"
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_killed_in_a_trial_the_search_goes_on_and_ends_with_the_same_winner(tmp_path):
    alone = _child(tmp_path / "alone")
    killed = _child(tmp_path / "killed")
    for line in killed.stdout:
        if line.startswith("2 2"):
            break
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    resumed, _ = _child(tmp_path / "killed").communicate(timeout=120)
    expected, _ = alone.communicate(timeout=120)
    assert resumed.splitlines()[-1] == expected.splitlines()[-1]
    began = [line for line in resumed.splitlines() if line[0].isdigit()]
    assert not any(line.startswith("1 ") for line in began)  # finished before the kill


def test_a_winner_is_trained_again_with_another_seed(tmp_path):
    fit = {"x": X, "y": Y, "epochs": 2}
    first = searched(tmp_path / "first", weak(), fit, target=2.0, trials=3, seed=1).result
    assert first["winner"]
    chain = lineage(SearchResult.from_json(first))
    model = weak()
    other = searched(
        tmp_path / "other",
        model,
        fit,
        target=2.0,
        seed=2,
        follow=tuple(one.to_json() for one in chain),
    ).result
    assert other["winner"] == first["winner"]
    assert [one["number"] for one in other["trials"]] == [0, *(one.number for one in chain)]
    assert other["trials"][-1]["edits"] == list(chain[-1].edits)
    assert other["after"] == first["after"], "the same architecture"
    assert other["trials"][-1]["curve"] != list(chain[-1].curve), "with other weights"
