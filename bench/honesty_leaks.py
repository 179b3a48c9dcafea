"""The leak radar: how many planted copies it finds, and how often it warns where nothing leaks.

    python -m bench.honesty_leaks           # all data sets, every kind of copy
    python -m bench.honesty_leaks --json

Judged examples of real and synthetic data are replaced by altered training examples, a third of
them, and the radar is asked which. A clean data set is one as its script would split it; a warning
there, or an example left out beyond one in a hundred, is a false alarm. The data sets beside the
checkout (`../shared/data`) are left out if they are missing.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from sklearn import datasets

from mlops_lib.runner.journal import Journal
from mlops_lib.runner.metrics.leaks import Findings, LeakDetector

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MOST_PLANTED = 300
FALSE_ALARM, FEW = 0.01, 2
"""Share and number of the judged examples that may be left out of a clean data set: iris has the
same flower twice.
"""

Inputs = Any


class DataSet(NamedTuple):
    """One data set, split as a script would split it."""

    name: str
    kind: str
    """pictures, table or texts."""
    x_train: Inputs
    y_train: Any
    x_test: Inputs
    y_test: Any


class Recall(NamedTuple):
    """How many planted copies were found."""

    data: str
    copy: str
    planted: int
    found: int
    wrong: int
    """Judged examples that were no copies and were called so."""


def data_sets() -> Iterator[DataSet]:
    """Yield the clean data sets."""
    yield from _pictures()
    yield from _tables()
    yield from _texts()


def _pictures() -> Iterator[DataSet]:
    for name in ("mnist_10k", "cifar10_12k"):
        path = DATA / f"{name}.npz"
        if path.exists():
            held = numpy.load(path)
            yield DataSet(
                name,
                "pictures",
                *(held[part] for part in ("x_train", "y_train", "x_test", "y_test")),
            )
    digits = datasets.load_digits()
    yield _split("digits", "pictures", digits.images, digits.target)
    yield _split("digits, flat", "pictures", digits.data / 16.0, digits.target)


def _tables() -> Iterator[DataSet]:
    for load in ("iris", "wine", "breast_cancer", "diabetes"):
        loaded = getattr(datasets, f"load_{load}")()
        yield _split(load, "table", loaded.data, loaded.target)
    pima = DATA / "pima_diabetes.csv"
    if pima.exists():
        rows = numpy.genfromtxt(pima, delimiter=",", skip_header=1)
        yield _split("pima", "table", rows[:, :8], rows[:, 8].astype(int))
    for seed in range(3):
        yield _split(
            f"classification {seed}",
            "table",
            *datasets.make_classification(2000, 20, random_state=seed),
        )
    yield _split(
        "regression", "table", *datasets.make_regression(1500, 12, noise=5.0, random_state=0)
    )
    yield _split("friedman", "table", *datasets.make_friedman1(1000, random_state=0))
    yield _split("blobs", "table", *datasets.make_blobs(900, 4, centers=3, random_state=0)[:2])
    yield _split("moons", "table", *datasets.make_moons(900, noise=0.2, random_state=0))
    yield _split(
        "wide", "table", *datasets.make_classification(900, 200, n_informative=30, random_state=0)
    )
    random = numpy.random.default_rng(0)
    coarse = random.integers(0, 3, (1250, 6))
    yield _split(
        "coarse", "table", coarse, (coarse.sum(1) + random.integers(-2, 3, 1250) > 6).astype(int)
    )
    one_hot = numpy.concatenate(
        [numpy.eye(4)[random.choice(4, 1500, p=[0.7, 0.1, 0.1, 0.1])] for _ in range(5)], 1
    )
    yield _split("one-hot", "table", one_hot, random.random(1500) < 0.3 + 0.5 * one_hot[:, 0])
    yield _split(
        "mixed precision",
        "table",
        numpy.round(random.normal(50, 12, (800, 7)), 1),
        random.integers(0, 2, 800),
    )


def _texts() -> Iterator[DataSet]:
    path = DATA / "sms_spam.tsv"
    if path.exists():
        lines = [
            line.split("\t", 1)
            for line in path.read_text(encoding="utf-8").splitlines()
            if "\t" in line
        ]
        labels = numpy.array([label == "spam" for label, _ in lines])
        yield _split(
            "sms_spam", "texts", numpy.array([text for _, text in lines], dtype=object), labels
        )


def _split(name: str, kind: str, x: Any, y: Any, *_: Any) -> DataSet:
    order = numpy.random.default_rng(7).permutation(len(x))
    cut = int(0.75 * len(x))
    return DataSet(name, kind, x[order[:cut]], y[order[:cut]], x[order[cut:]], y[order[cut:]])


def _encode(quality: int) -> Callable[[Any], Any]:
    def alter(x: Any) -> Any:
        from PIL import Image

        return _each_picture(x, lambda one: Image.open(_saved(one, quality)))

    return alter


def _saved(picture: Any, quality: int) -> io.BytesIO:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file


def _resize(share: float) -> Callable[[Any], Any]:
    def alter(x: Any) -> Any:
        from PIL import Image

        def there_and_back(one: Any) -> Any:
            side = round(one.width * share)
            return one.resize((side, side), Image.Resampling.BILINEAR).resize(
                one.size, Image.Resampling.BILINEAR
            )

        return _each_picture(x, there_and_back)

    return alter


def _each_picture(x: Any, alter: Callable[[Any], Any]) -> Any:
    from PIL import Image

    low, high = float(x.min()), float(x.max())
    side = round(x[0].size ** 0.5)
    pictures = x.reshape(-1, side, side) if x.ndim == 2 else x
    levels = numpy.round(255 * (pictures.astype("float64") - low) / (high - low)).astype("uint8")
    made = numpy.stack([numpy.asarray(alter(Image.fromarray(one))) for one in levels])
    scaled = made.astype("float64") * (high - low) / 255 + low
    return (
        numpy.round(scaled).astype(x.dtype).reshape(x.shape)
        if x.dtype.kind in "iu"
        else scaled.reshape(x.shape)
    )


def _square(x: Any) -> Any:
    side = round(x[0].size ** 0.5)
    return x.reshape(-1, side, side) if x.ndim == 2 else x


PICTURE_COPIES: dict[str, Callable[[Any], Any]] = {
    "exact": lambda x: x.copy(),
    "mirrored": lambda x: _square(x)[:, :, ::-1].reshape(x.shape),
    "upside down": lambda x: _square(x)[:, ::-1].reshape(x.shape),
    "JPEG 90": _encode(90),
    "JPEG 75": _encode(75),
    "JPEG 50": _encode(50),
    "resized to 3/4 and back": _resize(0.75),
    "resized to half and back": _resize(0.5),
    "resized to double and back": _resize(2.0),
    "float16": lambda x: x.astype("float16"),
    "divided by 255": lambda x: x / 255.0,
    "noise": lambda x: x + numpy.random.default_rng(0).normal(0, 0.01 * float(x.max()), x.shape),
}
TABLE_COPIES: dict[str, Callable[[Any], Any]] = {
    "exact": lambda x: x.copy(),
    "float32": lambda x: x.astype("float32"),
    "float16": lambda x: x.astype("float16"),
    "3 decimals": lambda x: numpy.round(x.astype("float64"), 3),
}
TEXT_COPIES: dict[str, Callable[[Any], Any]] = {
    "exact": lambda x: x.copy(),
    "case": lambda x: numpy.array([text.upper() for text in x], dtype=object),
    "white space": lambda x: numpy.array(
        ["  " + text.replace(" ", "  ") + "\t" for text in x], dtype=object
    ),
}
COPIES = {"pictures": PICTURE_COPIES, "table": TABLE_COPIES, "texts": TEXT_COPIES}
REPEATING = ("coarse", "one-hot")
"""Data in which equal rows are no copies, so that none can be planted."""


def look(data: DataSet, x: Any, y: Any) -> tuple[Findings, float, float]:
    """Return what the radar finds among judged examples, and the seconds it took at the fit and at
    the end.
    """
    with tempfile.TemporaryDirectory() as folder:
        radar = LeakDetector(Journal(folder, number_of_pass=1, attempt=1))
        model = _Model()
        began = time.perf_counter()
        radar.record_training(model, data.x_train, data.y_train)
        between = time.perf_counter()
        found = radar.examine(model, x, y)
        assert found is not None
        return found, between - began, time.perf_counter() - between


class _Model:
    """Anything that can be named as what was trained."""


def recall(data: DataSet, copy: str) -> Recall:
    """Plant copies of one kind in a third of the judged examples, and count those found."""
    count = min(len(data.x_test) // 3, MOST_PLANTED)
    planted = COPIES[data.kind][copy](data.x_train[:count])
    rest = data.x_test[count:]
    if copy == "divided by 255":
        rest = rest / 255.0
    dtype = numpy.result_type(planted, rest) if data.kind != "texts" else object
    x = numpy.concatenate([planted.astype(dtype), rest.astype(dtype)])
    y = numpy.concatenate([data.y_train[:count], data.y_test[count:]])
    leaking = look(data, x, y)[0].leaking
    return Recall(data.name, copy, count, int(leaking[:count].sum()), int(leaking[count:].sum()))


def is_false_alarm(data: DataSet) -> tuple[bool, int, float]:
    """Return whether the radar warns about a clean data set, how many examples it calls copies, and
    its seconds.
    """
    found, fitted_s, judged_s = look(data, data.x_test, data.y_test)
    count = int(found.leaking.sum())
    warns = count > max(FEW, FALSE_ALARM * len(data.x_test)) or bool(
        found.targets or found.prepared or found.groups
    )
    return warns, count, fitted_s + judged_s


LEAST_EXACT, LEAST_NEAR = 1.0, 0.9
SMALLEST_HALVED = 16
"""Pixels; of a smaller picture, half the pixels of a side leave too little."""


def copies_of(data: DataSet) -> list[str]:
    """Return the kinds of copies that can be planted in a data set."""
    if data.name in REPEATING:
        return []
    is_small = data.kind == "pictures" and round(data.x_train[0].size ** 0.5) < SMALLEST_HALVED
    return [copy for copy in COPIES[data.kind] if not (is_small and "half" in copy)]


def main() -> int:
    """Print the table; return how many limits are not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sets = list(data_sets())
    clean = {data.name: is_false_alarm(data) for data in sets}
    found = [recall(data, copy) for data in sets for copy in copies_of(data)]
    if options.json:
        print(json.dumps({"clean": clean, "recall": [one._asdict() for one in found]}))
        return 0
    missed = sum(warns for warns, _, _ in clean.values())
    print(
        f"false alarms: {sum(warns for warns, _, _ in clean.values())} of {len(clean)} clean data sets"
    )
    for name, (warns, count, seconds) in clean.items():
        print(
            f"  {name:20} {'WARNS' if warns else 'silent'}, {count} called copies, {seconds:.2f} s"
        )
    for kind, copies in COPIES.items():
        for copy in copies:
            of_kind = [
                one
                for one in found
                if one.copy == copy and any(d.name == one.data and d.kind == kind for d in sets)
            ]
            planted, seen = sum(one.planted for one in of_kind), sum(one.found for one in of_kind)
            worst = min(of_kind, key=lambda one: one.found / one.planted, default=None)
            if worst is not None:
                missed += seen < planted * (LEAST_EXACT if copy == "exact" else LEAST_NEAR)
                print(
                    f"{kind:9} {copy:28} {seen:5} of {planted:5} ({100 * seen / planted:.1f} %), worst {worst.data}:"
                    f" {worst.found} of {worst.planted}, wrong {sum(one.wrong for one in of_kind)}"
                )

    return missed


if __name__ == "__main__":
    sys.exit(main())
