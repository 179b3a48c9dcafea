"""Frozen values that pass between the stages: JSON both ways, with a `schema`.

`to_json` returns plain dicts, lists and scalars. `from_json` builds the record again and raises
`ValueError` for a value of the wrong shape, so that a file from another program is checked when it
is read. Unknown keys are ignored (a newer writer), missing ones take their default.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar

SCHEMA = 1

R = TypeVar("R", bound="Record")


class Record:
    """Base class of all records: conversion to and from JSON, display in notebooks."""

    def to_json(self) -> dict[str, Any]:
        """Return this record as plain JSON values."""
        plain = asdict(self)  # type: ignore[call-overload]
        return typing.cast("dict[str, Any]", _plain(plain))

    def _repr_html_(self) -> str:
        """Return this record as HTML for a notebook."""
        from mlops_lib.display.html import record_html

        return record_html(self)

    @classmethod
    def from_json(cls: type[R], value: Any) -> R:
        """Return the record that a JSON value describes.

        Raises:
            ValueError: a field is missing or has the wrong type.
        """
        if not isinstance(value, Mapping):
            raise ValueError(f"{cls.__name__}: expected an object, found {type(value).__name__}")
        hints = typing.get_type_hints(cls)
        arguments: dict[str, Any] = {}
        for attribute in fields(cls):  # type: ignore[arg-type]
            if attribute.name in value:
                arguments[attribute.name] = _read(
                    hints[attribute.name], value[attribute.name], f"{cls.__name__}.{attribute.name}"
                )
            elif attribute.default is MISSING and attribute.default_factory is MISSING:
                raise ValueError(f"{cls.__name__}: {attribute.name} is missing")
        return cls(**arguments)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _read(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _read(next(a for a in arguments if a is not type(None)), value, where)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{where}: {value!r} is none of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{where}: expected a list, found {type(value).__name__}")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_read(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if len(value) != len(arguments):
            raise ValueError(f"{where}: expected {len(arguments)} items, found {len(value)}")
        return tuple(
            _read(a, item, f"{where}[{i}]")
            for i, (a, item) in enumerate(zip(arguments, value, strict=True))
        )
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: expected an object, found {type(value).__name__}")
        return {
            str(key): _read(arguments[1], item, f"{where}.{key}") for key, item in value.items()
        }
    if is_dataclass(hint):
        return typing.cast("type[Record]", hint).from_json(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and (
        not isinstance(value, hint) or (hint is int and isinstance(value, bool))
    ):
        raise ValueError(f"{where}: expected {hint.__name__}, found {type(value).__name__}")
    return value


@dataclass(frozen=True, kw_only=True)
class Evidence(Record):
    """An observation in the code and the conclusion from it."""

    file: str
    line: int
    saw: str
    means: str


@dataclass(frozen=True, kw_only=True)
class Environment(Record):
    """The software that an entry needs to run. Equal environments share one image."""

    name: str
    """The catalog row: keras-cnn, keras, sklearn, boosting, pytorch, python …"""
    framework: str
    family: str
    python: str = "3.11"
    requirements: tuple[str, ...] = ()
    """Distributions with their constraints in pip's syntax: those of the catalog row first, then
    the project's.
    """
    system: tuple[str, ...] = ()
    """Debian packages."""
    owner: str = ""
    """The only user of a virtual environment, as `trust.cache_name` names it; "" if it is shared.
    That of a pull request is not shared, since its script can change it.
    """
    unlocked: bool = False
    """Whether the package index lacks releases of the row's lock, so that the newest fitting ones
    are installed.
    """
    torch_index: str = ""
    """The index that PyTorch's own builds come from; "" for the usual one."""
    sdists: tuple[str, ...] = ()
    """Source distributions that are built for it, each with its hash: `name==version
    --hash=sha256:…`.
    """
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that the framework needs (`KERAS_BACKEND`, `TF_USE_LEGACY_KERAS` …)."""


@dataclass(frozen=True, kw_only=True)
class Step(Record):
    """A script that the project's own files run: the entry, or one before or after it."""

    script: str
    """Relative to the project."""
    args: tuple[str, ...] = ()
    folder: str = ""
    """The folder in the project that it runs in."""
    said_by: str = ""
    """File and line that say so."""


@dataclass(frozen=True, kw_only=True)
class Detection(Record):
    """The conclusions drawn from a project's code, with their evidence."""

    schema: int = SCHEMA
    project: str
    """Absolute path of the project's folder."""
    entry: str
    """Path of the entry, relative to the project's folder."""
    framework: str
    family: str
    families: tuple[str, ...] = ()
    environment: Environment
    imports: tuple[str, ...] = ()
    optional_imports: tuple[str, ...] = ()
    unreached_imports: tuple[str, ...] = ()
    """Those of `imports` that occur only in functions that the entry does not reach."""
    requirements: tuple[str, ...] = ()
    python: str = "3.11"
    args_needed: int = 0
    command: Step | None = None
    """How the project's own files run the entry; None if they do not."""
    before: tuple[Step, ...] = ()
    """Scripts that they run before the entry, in order."""
    after: tuple[Step, ...] = ()
    """Scripts that they measure the model with."""
    data_paths: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Image(Record):
    """An environment made concrete.

    It is a container image, or a virtual environment under the same digest.
    """

    schema: int = SCHEMA
    tag: str
    """`mlops/<row>:<digest>`; the digest covers everything that goes into the image."""
    environment: Environment
    dockerfile: str = ""
    base_image: str = "python:3.11-slim"
    built: bool = False
    notes: tuple[str, ...] = ()
    """Differences between this environment and the one that the project declares, with their
    reasons.
    """


@dataclass(frozen=True, kw_only=True)
class Mount(Record):
    """A folder or file of the host that a training may read."""

    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Limits(Record):
    """Resources that a training may use; 0 means no limit."""

    memory_bytes: int = 0
    cpus: float = 0.0
    pids: int = 4096
    network: str = "bridge"
    gpus: bool = False
    """Whether the training may use the GPUs."""


@dataclass(frozen=True, kw_only=True)
class RunSpec(Record):
    """The specification of a run, in `spec.json`.

    `digest` covers everything that decides the result.
    """

    schema: int = SCHEMA
    digest: str
    """sha256 over project, entry, arguments, image, data manifest and seed; never over target,
    trials, minutes or search, so that these can change while the run continues.
    """
    name: str
    """The project's name, which is also the name of the registered model."""
    project: str
    entry: str
    args: tuple[str, ...] = ()
    folder: str = ""
    """The folder in the project that the entry runs in; "" for the project's own."""
    before: tuple[Step, ...] = ()
    """Scripts of the project that run before the entry, in the same container."""
    after: tuple[Step, ...] = ()
    """Scripts of the project that run after it."""
    seed: int = 1
    backend: Literal["docker", "process"]
    image: Image
    framework: str = "none"
    family: str = "none"
    mounts: tuple[Mount, ...] = ()
    limits: Limits = Limits()
    commit: str | None = None
    data_digest: str = ""
    metric: str = ""
    """The setting `metric`; the runner keeps the model and the examples of this metric."""
    metric_pattern: str = ""
    metrics_file: str = ""
    input: tuple[str, ...] = ()
    cache: str = ""
    """Name of the download cache: the project's own at its trust level; "" for one of the run's
    own.
    """
    created: float = 0.0

    @property
    def around(self) -> dict[str, Any]:
        """The runner's orders for the scripts around the entry and the entry's folder.

        Empty if there are none and the entry runs in the project's folder.
        """
        orders: dict[str, Any] = {"folder": self.folder} if self.folder else {}
        for name, steps in (("before", self.before), ("after", self.after)):
            if steps:
                orders[name] = [
                    {"script": step.script, "args": list(step.args), "folder": step.folder}
                    for step in steps
                ]
        return orders


FailureKind = Literal[
    "crash", "oom", "hang", "disk", "nan", "import", "bug", "network", "stopped", "engine", "stage"
]
"""`stage`: it was not the training that failed but the build server's stage that `Failure.where`
names.
"""


@dataclass(frozen=True, kw_only=True)
class Failure(Record):
    """The cause of an attempt's failure."""

    kind: FailureKind
    message: str
    where: str = ""
    log: str = ""
    """The end of the script's output."""


@dataclass(frozen=True, kw_only=True)
class RunResult(Record):
    """The outcome of a run's training."""

    schema: int = SCHEMA
    run_dir: str
    state: Literal["finished", "failed", "stopped"]
    exit_code: int | None = None
    restarts: int = 0
    seconds: float = 0.0
    """Training time over all attempts."""
    failure: Failure | None = None


@dataclass(frozen=True, kw_only=True)
class Baseline(Record):
    """The number that a model without inputs would reach on the same examples."""

    name: str
    """"majority class" or "mean"."""
    value: float


@dataclass(frozen=True, kw_only=True)
class Shown(Record):
    """The clauses of the gate's law (docs/gate.md) that are proved for a verdict."""

    measured_by_file: bool
    """The registered file, loaded again, gave this number."""
    not_trained_on: bool
    """None of the examples was trained on."""
    not_selected_on: bool
    """None of the examples was selected on: by the search, by the choice of an argument, by early
    stopping.
    """

    @property
    def all(self) -> bool:
        """Whether all clauses are proved."""
        return self.measured_by_file and self.not_trained_on and self.not_selected_on


@dataclass(frozen=True, kw_only=True)
class Remeasured(Record):
    """The result of measuring a saved model again in a process without the script."""

    state: Literal["measured", "needs code", "failed", "unkept", "missing", "not traced", "not run"]
    """measured; needs code: the file cannot be loaded without running code; failed: it cannot be
    loaded or measured; unkept: the examples could not be kept, with the reason; missing: the runner
    left none, and no reason; not traced: no model file stands behind the number; not run: the
    machinery failed.
    """
    note: str = ""
    value: float | None = None
    all: Mapping[str, float] = field(default_factory=dict)
    """All numbers of the same call, by metric."""
    examples: int | None = None
    model_digest: str = ""
    """sha256 of the measured file, "" if there is none."""
    where: str = ""
    """The engine that ran the process: docker or process."""


@dataclass(frozen=True, kw_only=True)
class Comparison(Record):
    """The paired comparison of the new model with the registered champion."""

    version: int
    """The champion's version in the registry."""
    value: float | None = None
    """The champion's number on the examples of the verdict; None if it could not be measured there.
    """
    difference: float | None = None
    """The new model's number minus the champion's."""
    interval: tuple[float, float] | None = None
    """The difference's 90 % interval."""
    p_value: float | None = None
    """One-sided: the probability of such a difference if both are equally good."""
    test: str = ""
    """The paired test that gave the p-value."""
    examples: int | None = None
    left_out: int = 0
    """Judged examples that are excluded for both models because the champion was trained on them.
    """
    better: bool | None = None
    """Whether the new model is better beyond chance; None if the two could not be compared."""
    measured: str = ""
    """The process that measured it, as in the verdict."""
    why: str = ""
    """The reason why there is no number or no test, "" if there is one."""


@dataclass(frozen=True, kw_only=True)
class SeedValue(Record):
    """The number that one seed's training reached."""

    seed: int
    value: float
    run_dir: str


@dataclass(frozen=True, kw_only=True)
class Seeds(Record):
    """The numbers that several seeds reached on the judged examples.

    Their mean is compared with the bar.
    """

    mean: float
    spread: float
    """The standard deviation between the seeds."""
    interval: tuple[float, float]
    """The 95 % interval of the mean."""
    registered: int
    """The seed whose file is registered: always the run's own."""
    values: tuple[SeedValue, ...]

    @property
    def in_words(self) -> str:
        """Mean and spread in words: 0.92 ± 0.011 over 5 seeds."""
        return f"{self.mean:.4g} ± {self.spread:.2g} over {len(self.values)} seeds"


@dataclass(frozen=True, kw_only=True)
class Verdict(Record):
    """The gate's answer, in `verdict.json`."""

    schema: int = SCHEMA
    verdict: Literal["accepted", "rejected", "undecided"]
    metric: str | None = None
    value: float | None = None
    interval: tuple[float, float] | None = None
    target: float
    mode: Literal["max", "min"] = "max"
    examples: int | None = None
    source: str = ""
    """Origin of the number: "keras.evaluate", "accuracy_score", "fit.validation", "printed",
    "file" …
    """
    measured_on: str = ""
    """The examples, in words: "validation data of fit 1", "what evaluate was given" …"""
    examples_digest: str | None = None
    """The name of the set of examples, None if they have none; `inside/judged.json` names each one.
    """
    left_out: int = 0
    """Examples of that data that were not measured because the search had selected on them."""
    recomputed: bool = False
    """Whether the reloaded artifact gave the number."""
    measured: str = ""
    """The process that measured the saved model: "independently" (a second one without the script)
    or "by the script's process".
    """
    model_digest: str = ""
    """sha256 of the model file when it was judged, "" if there was none."""
    baseline: Baseline | None = None
    champion: float | None = None
    """The champion's number on the same examples; None if there is no champion or it could not be
    measured on them.
    """
    against: Comparison | None = None
    """The paired comparison with the champion; None if there is no champion."""
    selection: str = ""
    """After a search: disjoint, half, split or contaminated."""
    shown: Shown | None = None
    looks: int = 1
    """Number of models that the gate has judged on these examples, this one included; the interval
    allows for them.
    """
    judged_pass: int = 1
    """The pass whose model is judged: 1 for the script as written, else that of the search."""
    judged_fit: int | None = None
    seeds: Seeds | None = None
    """Results of further seeds. Their mean decides; `value` stays the number of the registered
    file.
    """
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Trial(Record):
    """One candidate of the search."""

    number: int
    parent: int | None = None
    edits: tuple[str, ...] = ()
    """In words: "insert Conv2D(32) and MaxPooling2D after layer 2"."""
    kinds: tuple[str, ...] = ()
    """The kinds of its changes (`conv_block`, `SVC`), by which searches are compared."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    inherited: str = ""
    """"exact" (function-preserving), "approximate", "fresh" or "" for trial 0."""
    state: Literal["running", "finished", "stopped", "failed", "invalid"] = "finished"
    score: float | None = None
    """The search's metric on the selection examples; the gate judges on others."""
    epochs: int = 0
    seconds: float = 0.0
    parameters: int | None = None
    curve: tuple[float, ...] = ()
    """The score after each epoch."""
    message: str = ""
    worker: str = ""
    """The worker that tried it; "" in a search that has only one."""


@dataclass(frozen=True, kw_only=True)
class SearchResult(Record):
    """The outcome of a search, in `inside/search/result.json`."""

    schema: int = SCHEMA
    metric: str
    mode: Literal["max", "min"] = "max"
    selection: Literal["disjoint", "half", "split", "contaminated"]
    fit: int
    """The fit whose model was searched."""
    trials: tuple[Trial, ...] = ()
    winner: int = 0
    score: float | None = None
    examples: int | None = None
    """Number of examples that the scores are measured on."""
    stopped: Literal[
        "bar", "trials", "minutes", "interrupted", "exhausted", "refused", "failed"
    ] = "trials"
    before: tuple[str, ...] = ()
    """The developer's architecture, one line a layer."""
    after: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Things that could not be kept or tried, with the reason."""
    diagnosis: tuple[str, ...] = ()
    """Findings on the script's own training, the gravest first: `unstable`, `not_learning`,
    `overfitting`, `underfitting`, `unfinished`."""

    def plot(self) -> Any:
        """Return every trial's score and curve as a matplotlib Figure."""
        import mlops_lib

        return mlops_lib.plot(self)

    def frame(self) -> Any:
        """Return the trials as a pandas DataFrame."""
        import mlops_lib

        return mlops_lib.frame(self)


@dataclass(frozen=True, kw_only=True)
class ModelVersion(Record):
    """A registered model with its lineage."""

    schema: int = SCHEMA
    name: str
    version: int
    path: str
    """Folder of the version."""
    model: str
    """The model file in it, by its absolute path."""
    metric: str | None
    mode: Literal["max", "min"] = "max"
    value: float | None
    target: float | None = None
    """The bar it was accepted at."""
    interval: tuple[float, float] | None = None
    examples: int | None = None
    measured: str = ""
    """The process that measured the number, as in the verdict."""
    champion: bool = False
    note: str = ""
    """The reason why it became the champion, or why it did not."""
    commit: str | None = None
    project: str = ""
    entry: str = ""
    args: tuple[str, ...] = ()
    script_digest: str = ""
    data_digest: str = ""
    model_digest: str = ""
    image: str = ""
    seed: int = 0
    seeds: Seeds | None = None
    """Results of further seeds, if there are any."""
    run: str = ""
    run_dir: str = ""
    created: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Fact(Record):
    """One labelled value of a notification."""

    label: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Link(Record):
    """A place to look, by URL or path."""

    label: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Notification(Record):
    """A message to people, before it takes a channel's form."""

    schema: int = SCHEMA
    key: str
    """Names the occasion; a key is delivered at most once to one channel."""
    level: Literal["good", "warning", "bad", "info"]
    title: str
    text: str = ""
    log: str = ""
    """The last lines of the script's output, if they explain something."""
    facts: tuple[Fact, ...] = ()
    pictures: tuple[str, ...] = ()
    """Paths of PNG files."""
    attachments: tuple[str, ...] = ()
    """Paths of files that are attached to mail: the report."""
    links: tuple[Link, ...] = ()
    thread: str = ""
    """Names the common subject of several notifications; channels with threads show these together.
    """
    progress: bool = False
    """Whether it is a step of a run under way, which only channels with threads deliver."""
    author: str = ""
    """The mail address of the commit's author, used if the operator allows it."""


@dataclass(frozen=True, kw_only=True)
class PipelineResult(Record):
    """The answer of `mlops run`, in `result.json`."""

    schema: int = SCHEMA
    verdict: Literal["accepted", "rejected", "undecided"]
    metric: str | None
    value: float | None
    interval: tuple[float, float] | None
    target: float
    examples: int | None
    trials: int
    restarts: int
    model: str | None
    report: str | None
    patch: str | None
    run_dir: str
    seconds: float
    version: int | None = None
    seeds: Seeds | None = None
    reasons: tuple[str, ...] = ()

    def plot(self) -> Any:
        """Return the learning curves, with those of a winner, as a matplotlib Figure."""
        import mlops_lib

        return mlops_lib.plot(self)
