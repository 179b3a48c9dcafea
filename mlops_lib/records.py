"""The values that pass between the stages: frozen, JSON both ways, each with a `schema` number.

`to_json` gives plain dicts, lists and scalars; `from_json` builds the record again and raises
`ValueError` for a value of the wrong shape, so that a file written by somebody else is checked when
it is read. Unknown keys are ignored (a newer writer), missing ones take their default.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar

SCHEMA = 1

FRAMEWORKS = (
    "keras",
    "tensorflow",
    "pytorch",
    "sklearn",
    "xgboost",
    "lightgbm",
    "catboost",
    "jax",
    "statsmodels",
    "other",
    "none",
)
FAMILIES = (
    "cnn",
    "rnn",
    "transformer",
    "dense",
    "generative",
    "gnn",
    "linear",
    "tree",
    "svm",
    "neighbors",
    "cluster",
    "other",
    "none",
)

R = TypeVar("R", bound="Record")


class Record:
    """What all records share."""

    def to_json(self) -> dict[str, Any]:
        """This record as plain JSON values."""
        plain = asdict(self)  # type: ignore[call-overload]
        return typing.cast("dict[str, Any]", _plain(plain))

    def _repr_html_(self) -> str:
        """This record as a notebook shows it."""
        from mlops_lib.display.html import record_html

        return record_html(self)

    @classmethod
    def from_json(cls: type[R], value: Any) -> R:
        """The record that `value` describes.

        Raises:
            ValueError: a field is missing or has the wrong type.
        """
        if not isinstance(value, Mapping):
            raise ValueError(f"{cls.__name__}: expected an object, found {type(value).__name__}")
        hints = typing.get_type_hints(cls)
        given: dict[str, Any] = {}
        for one in fields(cls):  # type: ignore[arg-type]
            if one.name in value:
                given[one.name] = _read(
                    hints[one.name], value[one.name], f"{cls.__name__}.{one.name}"
                )
            elif one.default is MISSING and one.default_factory is MISSING:
                raise ValueError(f"{cls.__name__}: {one.name} is missing")
        return cls(**given)


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
    """One thing seen in the code, and what was concluded from it."""

    file: str
    line: int
    saw: str
    means: str


@dataclass(frozen=True, kw_only=True)
class Environment(Record):
    """What an entry needs to run. Equal environments share one image."""

    name: str
    """The catalog row: keras-cnn, keras, sklearn, boosting, pytorch, python …"""
    framework: str
    family: str
    python: str = "3.11"
    requirements: tuple[str, ...] = ()
    """Distributions with their constraints, as pip reads them: those of the catalog row first, then
    the project's.
    """
    system: tuple[str, ...] = ()
    """Debian packages."""
    owner: str = ""
    """Who alone has it, as `trust.cache_name` says: a virtual environment of a pull request, whose
    script can change it.
    """
    unlocked: bool = False
    """Whether the index lacks releases of the row's lock, so that the newest that fit are taken."""
    sdists: tuple[str, ...] = ()
    """Source distributions that are built for it, by their content: `name==version
    --hash=sha256:…`.
    """
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables the framework needs (`KERAS_BACKEND`, `TF_USE_LEGACY_KERAS` …)."""


@dataclass(frozen=True, kw_only=True)
class Step(Record):
    """A script of the project that its own files run: the entry, or one before or after it."""

    script: str
    """Relative to the project."""
    args: tuple[str, ...] = ()
    folder: str = ""
    """The folder in the project that it runs in."""
    said_by: str = ""
    """File and line."""


@dataclass(frozen=True, kw_only=True)
class Detection(Record):
    """What was concluded from the code, with its evidence."""

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
    """Those of `imports` that stand only in functions which nothing reached from the entry uses."""
    requirements: tuple[str, ...] = ()
    python: str = "3.11"
    args_needed: int = 0
    command: Step | None = None
    """How the project's own files run the entry; None if they do not say."""
    before: tuple[Step, ...] = ()
    """What they run before it, in order."""
    after: tuple[Step, ...] = ()
    """What they measure it with."""
    data_paths: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Image(Record):
    """An environment made concrete: a container image, or a virtual environment under the same
    digest.
    """

    schema: int = SCHEMA
    tag: str
    """`mlops/<row>:<digest>`; the digest covers everything that goes into the image."""
    environment: Environment
    dockerfile: str = ""
    base_image: str = "python:3.11-slim"
    built: bool = False
    notes: tuple[str, ...] = ()
    """How the environment differs from what the project declares, and why."""


@dataclass(frozen=True, kw_only=True)
class Mount(Record):
    """A folder or file of the host that a training may read."""

    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Limits(Record):
    """What a training may use; 0 means no limit."""

    memory_bytes: int = 0
    cpus: float = 0.0
    pids: int = 4096
    network: str = "bridge"
    gpus: bool = False
    """Whether it is given the GPUs."""


@dataclass(frozen=True, kw_only=True)
class RunSpec(Record):
    """What was asked: the contents of `spec.json`. Everything in `digest` decides what the run is."""

    schema: int = SCHEMA
    digest: str
    """sha256 over project, entry, arguments, image, data manifest and seed; never target, trials,
    minutes, search.
    """
    name: str
    """The project's name, which is the registered model's name too."""
    project: str
    entry: str
    args: tuple[str, ...] = ()
    folder: str = ""
    """The folder in the project that the entry runs in, "" for the project's own."""
    before: tuple[Step, ...] = ()
    """Scripts of the project that run before the entry, in the same container."""
    after: tuple[Step, ...] = ()
    """And after it."""
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
    """The setting; it tells the runner which model and which examples to keep."""
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
        """The runner's orders about what runs around the entry, and where; empty if nothing does."""
        found: dict[str, Any] = {"folder": self.folder} if self.folder else {}
        for name, steps in (("before", self.before), ("after", self.after)):
            if steps:
                found[name] = [
                    {"script": one.script, "args": list(one.args), "folder": one.folder}
                    for one in steps
                ]
        return found


FailureKind = Literal[
    "crash", "oom", "hang", "disk", "nan", "import", "bug", "network", "stopped", "engine", "stage"
]
"""`stage`: not the training, but the build server's stage that `Failure.where` names."""


@dataclass(frozen=True, kw_only=True)
class Failure(Record):
    """Why an attempt ended badly."""

    kind: FailureKind
    message: str
    where: str = ""
    log: str = ""
    """The end of the script's own output."""


@dataclass(frozen=True, kw_only=True)
class RunResult(Record):
    """How a run's training ended."""

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
    """What a model that looks at no input would reach on the same examples."""

    name: str
    """"majority class" or "mean"."""
    value: float


@dataclass(frozen=True, kw_only=True)
class Shown(Record):
    """Which clauses of the gate's law (docs/gate.md) are shown for the number in a verdict."""

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
        """Whether nothing is missing."""
        return self.measured_by_file and self.not_trained_on and self.not_selected_on


@dataclass(frozen=True, kw_only=True)
class Remeasured(Record):
    """What a process without the script found when it measured a saved model again."""

    state: Literal["measured", "needs code", "failed", "unkept", "missing", "not traced", "not run"]
    """measured; needs code: the file cannot be loaded without running code; failed: it cannot be
    loaded or measured; unkept: the examples could not be kept, with the reason; missing: the runner
    left none, and no reason; not traced: no model file stands behind the number; not run: the
    machinery failed.
    """
    note: str = ""
    value: float | None = None
    all: Mapping[str, float] = field(default_factory=dict)
    """All numbers of the same call."""
    examples: int | None = None
    model_digest: str = ""
    """sha256 of the file that was measured, "" if there is none."""
    where: str = ""
    """The engine: docker or process."""


@dataclass(frozen=True, kw_only=True)
class Comparison(Record):
    """The new model against the registered champion, on the same examples."""

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
    """One-sided: how likely a difference like this is if both are equally good."""
    test: str = ""
    """Which paired test gave it."""
    examples: int | None = None
    left_out: int = 0
    """Judged examples that the champion was trained on: neither model's number here is about them.
    """
    better: bool | None = None
    """Whether the new model is better beyond chance; None if the two could not be compared."""
    measured: str = ""
    """Who measured it, as in the verdict."""
    why: str = ""
    """Why there is no number or no test, "" if there is."""


@dataclass(frozen=True, kw_only=True)
class SeedValue(Record):
    """What one seed's training reached."""

    seed: int
    value: float
    run_dir: str


@dataclass(frozen=True, kw_only=True)
class Seeds(Record):
    """What several seeds reached on the judged examples; their mean is what the bar is about."""

    mean: float
    spread: float
    """The standard deviation between the seeds."""
    interval: tuple[float, float]
    """The 95 % interval of the mean."""
    registered: int
    """The seed whose file is registered: the run's own, whichever it is."""
    values: tuple[SeedValue, ...]

    @property
    def in_words(self) -> str:
        """Mean and spread: 0.92 ± 0.011 over 5 seeds."""
        return f"{self.mean:.4g} ± {self.spread:.2g} over {len(self.values)} seeds"


@dataclass(frozen=True, kw_only=True)
class Verdict(Record):
    """The gate's answer: the contents of `verdict.json`."""

    schema: int = SCHEMA
    verdict: Literal["accepted", "rejected", "undecided"]
    metric: str | None = None
    value: float | None = None
    interval: tuple[float, float] | None = None
    target: float
    mode: Literal["max", "min"] = "max"
    examples: int | None = None
    source: str = ""
    """Where the number came from: "keras.evaluate", "accuracy_score", "fit.validation", "printed",
    "file" …
    """
    measured_on: str = ""
    """What the examples are, in words: "validation data of fit 1", "what evaluate was given" …"""
    examples_digest: str | None = None
    """The name of the set of examples; `inside/judged.json` has theirs, one by one. None if they
    have none.
    """
    left_out: int = 0
    """Examples of that data that were not measured, because the search had selected on them."""
    recomputed: bool = False
    """Whether the reloaded artifact gave the number."""
    measured: str = ""
    """Who measured the saved model: "independently" (a second process without the script), "by the
    script's process".
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
    """How many models the gate had judged on these examples, this one included; the interval allows
    for them.
    """
    judged_pass: int = 1
    """Whose model is judged: 1 the script as written, else the pass of the search."""
    judged_fit: int | None = None
    seeds: Seeds | None = None
    """With several seeds: their mean decides; `value` stays the number of the file that is
    registered.
    """
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Trial(Record):
    """One candidate of the search."""

    number: int
    parent: int | None = None
    edits: tuple[str, ...] = ()
    """In words: "insert Conv2D(32) and MaxPooling2D after layer 2"."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    inherited: str = ""
    """"exact" (function-preserving), "approximate", "fresh" or "" for trial 0."""
    state: Literal["running", "finished", "stopped", "failed", "invalid"] = "finished"
    score: float | None = None
    """The search's metric on the selection examples; not what the gate judges on."""
    epochs: int = 0
    seconds: float = 0.0
    parameters: int | None = None
    curve: tuple[float, ...] = ()
    """The score after each epoch."""
    message: str = ""
    worker: str = ""
    """Which worker tried it; "" in a search that has only one."""


@dataclass(frozen=True, kw_only=True)
class SearchResult(Record):
    """What the search found: `inside/search/result.json`."""

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
    """How many examples the scores are measured on."""
    stopped: Literal[
        "bar", "trials", "minutes", "interrupted", "exhausted", "refused", "failed"
    ] = "trials"
    before: tuple[str, ...] = ()
    """The developer's architecture, one line a layer."""
    after: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be kept or tried, with the reason."""

    def plot(self) -> Any:
        """Every trial's score and curve, as a matplotlib Figure."""
        import mlops_lib

        return mlops_lib.plot(self)

    def frame(self) -> Any:
        """The trials as a pandas DataFrame."""
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
    """Who measured the number, as in the verdict."""
    champion: bool = False
    note: str = ""
    """Why it became the champion, or why it did not."""
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
    """What further seeds reached, if several were asked for."""
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
    """What people are told, before any channel's form."""

    schema: int = SCHEMA
    key: str
    """Names the occasion; the same key is never delivered twice to one channel."""
    level: Literal["good", "warning", "bad", "info"]
    title: str
    text: str = ""
    log: str = ""
    """The last lines of the script's own output, where they explain something."""
    facts: tuple[Fact, ...] = ()
    pictures: tuple[str, ...] = ()
    """Paths of PNG files."""
    attachments: tuple[str, ...] = ()
    """Paths of files that mail carries: the report."""
    links: tuple[Link, ...] = ()
    thread: str = ""
    """Names what several notifications are about, so that channels which can show them together."""
    progress: bool = False
    """A step of a run under way: only channels that show a run's steps together take it."""
    author: str = ""
    """The commit's author's mail address, for mail to those whom the operator allows."""


@dataclass(frozen=True, kw_only=True)
class PipelineResult(Record):
    """What `mlops run` answers: the contents of `result.json`."""

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
        """The learning curves, and after a search the winner's, as a matplotlib Figure."""
        import mlops_lib

        return mlops_lib.plot(self)
