"""The tasks of `bench.search`: real data, a developer's first model, and a good hand-written space
for KerasTuner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Data:
    """Training and test examples; the test's are looked at by the bench only, never by a method."""

    x: Any
    y: Any
    x_test: Any
    y_test: Any


@dataclass(frozen=True)
class Task:
    """What is to be solved."""

    load: Callable[[], Data]
    build: Callable[[Data], Any]
    """The developer's model, compiled."""
    space: Callable[[Any, Data], Any]
    """The same problem as a HyperModel's `build`."""
    epochs: int
    batch_size: int
    bars: tuple[float, ...]
    metric: str = "accuracy"
    budget_s: float = 90.0
    """Processor seconds a method gets."""


def cifar10() -> Data:
    """10,000 photographs in ten classes."""
    import numpy

    with numpy.load(DATA / "cifar10_12k.npz") as stored:
        return Data(
            stored["x_train"].astype("float32") / 255,
            stored["y_train"].astype("int64"),
            stored["x_test"].astype("float32") / 255,
            stored["y_test"].astype("int64"),
        )


def mnist() -> Data:
    """8,000 handwritten digits."""
    import numpy

    with numpy.load(DATA / "mnist_10k.npz") as stored:
        return Data(
            stored["x_train"][..., None].astype("float32") / 255,
            stored["y_train"].astype("int64"),
            stored["x_test"][..., None].astype("float32") / 255,
            stored["y_test"].astype("int64"),
        )


def digits() -> Data:
    """1,257 small digits."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    x, x_test, y, y_test = train_test_split(
        found.images[..., None].astype("float32") / 16,
        found.target,
        test_size=0.3,
        random_state=0,
        stratify=found.target,
    )
    return Data(x, y, x_test, y_test)


def pima() -> Data:
    """576 patients, eight unscaled numbers each; 35 % are ill."""
    import numpy
    from sklearn.model_selection import train_test_split

    table = numpy.genfromtxt(DATA / "pima_diabetes.csv", delimiter=",", skip_header=1)
    x, x_test, y, y_test = train_test_split(
        table[:, :8].astype("float32"),
        table[:, 8].astype("int64"),
        test_size=0.25,
        random_state=0,
        stratify=table[:, 8],
    )
    return Data(x, y, x_test, y_test)


def spam() -> Data:
    """4,180 messages as word numbers; 13 % are spam."""
    import collections
    import re

    import numpy
    from sklearn.model_selection import train_test_split

    lines = [
        line.split("\t", 1)
        for line in (DATA / "sms_spam.tsv").read_text("utf-8").splitlines()
        if "\t" in line
    ]
    words = [re.findall(r"[a-z0-9£$']+", text.lower())[:40] for _, text in lines]
    common = collections.Counter(word for message in words for word in message).most_common(4000)
    number = {word: i + 2 for i, (word, _) in enumerate(common)}
    x = numpy.zeros((len(words), 40), "int32")
    for row, message in zip(x, words, strict=True):
        row[: len(message)] = [number.get(word, 1) for word in message]
    y = numpy.array([label == "spam" for label, _ in lines], "int64")
    parts = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)
    return Data(parts[0], parts[2], parts[1], parts[3])


def _compiled(
    layers: list[Any], *, loss: str = "sparse_categorical_crossentropy", optimizer: Any = "adam"
) -> Any:
    import keras

    model = keras.Sequential(layers)
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    return model


def small_convnet(data: Data) -> Any:
    """One block, flattened into a narrow layer."""
    import keras
    from keras import layers as kl

    return _compiled(
        [
            keras.Input(data.x.shape[1:]),
            kl.Conv2D(16, 3, activation="relu"),
            kl.MaxPooling2D(),
            kl.Flatten(),
            kl.Dense(32, activation="relu"),
            kl.Dense(10, activation="softmax"),
        ]
    )


def tiny_convnet(data: Data) -> Any:
    """Four filters, pooled too soon."""
    import keras
    from keras import layers as kl

    return _compiled(
        [
            keras.Input(data.x.shape[1:]),
            kl.Conv2D(4, 3, padding="same", activation="relu"),
            kl.MaxPooling2D(),
            kl.MaxPooling2D(),
            kl.Flatten(),
            kl.Dense(10, activation="softmax"),
        ]
    )


def tiny_dense(data: Data) -> Any:
    """Eight units on inputs that nobody scaled."""
    import keras
    from keras import layers as kl

    return _compiled(
        [
            keras.Input(data.x.shape[1:]),
            kl.Dense(8, activation="relu"),
            kl.Dense(1, activation="sigmoid"),
        ],
        loss="binary_crossentropy",
    )


def tiny_recurrent(data: Data) -> Any:
    """A small recurrent network, trained too little."""
    import keras
    from keras import layers as kl

    return _compiled(
        [
            keras.Input(data.x.shape[1:], dtype="int32"),
            kl.Embedding(4002, 8),
            kl.SimpleRNN(8),
            kl.Dense(1, activation="sigmoid"),
        ],
        loss="binary_crossentropy",
    )


def convnets(hp: Any, data: Data) -> Any:
    """One to four Conv-Pool blocks of 8 to 128 filters, up to two hidden layers, dropout."""
    import keras
    from keras import layers as kl

    layers: list[Any] = [keras.Input(data.x.shape[1:])]
    blocks = hp.Int("blocks", 1, 4 if data.x.shape[1] >= 28 else 2)
    for i in range(blocks):
        layers += [
            kl.Conv2D(hp.Int(f"filters_{i}", 8, 128, step=8), 3, padding="same", activation="relu"),
            kl.MaxPooling2D(),
        ]
    layers.append(kl.Flatten())
    for i in range(hp.Int("hidden", 0, 2)):
        layers.append(kl.Dense(hp.Int(f"units_{i}", 32, 256, step=32), activation="relu"))
    layers += [kl.Dropout(hp.Float("dropout", 0.0, 0.5)), kl.Dense(10, activation="softmax")]
    return _compiled(layers, optimizer=_adam(hp))


def denses(hp: Any, data: Data) -> Any:
    """One to three hidden layers, with or without scaled inputs."""
    import keras
    from keras import layers as kl

    layers: list[Any] = [keras.Input(data.x.shape[1:])]
    if hp.Boolean("normalise"):
        layers.append(kl.BatchNormalization())
    for i in range(hp.Int("hidden", 1, 3)):
        layers.append(kl.Dense(hp.Int(f"units_{i}", 8, 256, sampling="log"), activation="relu"))
    layers += [kl.Dropout(hp.Float("dropout", 0.0, 0.5)), kl.Dense(1, activation="sigmoid")]
    return _compiled(layers, loss="binary_crossentropy", optimizer=_adam(hp))


def recurrents(hp: Any, data: Data) -> Any:
    """SimpleRNN, GRU or LSTM, forwards or both ways."""
    import keras
    from keras import layers as kl

    cell = getattr(kl, hp.Choice("cell", ["SimpleRNN", "GRU", "LSTM"]))(
        hp.Int("units", 8, 64, sampling="log")
    )
    layers: list[Any] = [
        keras.Input(data.x.shape[1:], dtype="int32"),
        kl.Embedding(4002, hp.Int("width", 8, 64, sampling="log")),
        kl.Bidirectional(cell) if hp.Boolean("both_ways") else cell,
        kl.Dropout(hp.Float("dropout", 0.0, 0.5)),
        kl.Dense(1, activation="sigmoid"),
    ]
    return _compiled(layers, loss="binary_crossentropy", optimizer=_adam(hp))


def _adam(hp: Any) -> Any:
    import keras

    return keras.optimizers.Adam(hp.Float("learning_rate", 1e-4, 1e-2, sampling="log"))


TASKS: dict[str, Task] = {
    "cifar10": Task(
        cifar10, small_convnet, convnets, 20, 64, (0.62, 0.66, 0.70, 0.75), budget_s=420.0
    ),
    "mnist": Task(mnist, tiny_convnet, convnets, 10, 64, (0.97, 0.98), budget_s=180.0),
    "digits": Task(digits, tiny_convnet, convnets, 15, 32, (0.95, 0.98)),
    "pima": Task(pima, tiny_dense, denses, 40, 32, (0.74, 0.76)),
    "spam": Task(
        spam, tiny_recurrent, recurrents, 3, 64, (0.92, 0.94), "balanced_accuracy", budget_s=120.0
    ),
}
