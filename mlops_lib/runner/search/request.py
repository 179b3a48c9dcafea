"""The request and the outcome of a search, for every framework."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Tuple

from mlops_lib.runner import protocol

try:
    from typing import Protocol
except ImportError:  # pragma: no cover - Python 3.7
    Protocol = object  # type: ignore[assignment]


class SearchJournal(Protocol):
    """The part of the runner's journal that a search writes to."""

    def write(self, event: str, **keys: Any) -> None:
        """Append one event."""

    def progress(self, phase: Optional[str] = None, **keys: Any) -> None:
        """Note a sign of life; the watchdog restarts a process that gives none."""


@dataclass(frozen=True)
class SearchRequest:
    """The `search` object of docs/run-directory.md, with its directory and its seed."""

    fit: int
    directory: str
    """`inside/search`; made if it is missing."""
    metric: str = "accuracy"
    mode: str = "max"
    target: float = 0.8
    trials: int = 12
    """The number of trials after trial 0."""
    minutes: float = 30.0
    """Training time over all trials and all attempts."""
    judged_digest: str = ""
    """Digest of the examples that the gate judged on; "" if it is not known."""
    judged_value: Optional[float] = None
    """The value that the gate measured for trial 0."""
    judged_hashes: FrozenSet[bytes] = frozenset()
    """Hashes of these examples one by one, if they were recorded; they reveal an overlap with the
    validation data.
    """
    seed: int = 1
    number_of_pass: int = 2
    workers: int = 1
    """The number of processes that run trials; from two on a chief dispatches to them
    (mlops_lib.runner.search.distributed.coordinator).
    """
    worker: str = ""
    """The name of this process among the workers; "" for the one that decides and continues the
    script.
    """
    remote: bool = False
    """True if the workers are on other machines. Their `directory` is then a copy that another
    program
    keeps in step: files appear a little later on either side.
    """
    chief_timeout_s: float = math.inf
    """Seconds of the chief's silence after which a worker ends: its search has disappeared."""
    token: str = ""
    """The secret by which the chief and its workers authenticate each other."""
    limits: Mapping[str, Any] = field(default_factory=dict)
    """The table `[search]` of the project's settings."""
    failed_with: str = ""
    """The error of the script with another architecture; only its training is searched from then
    on.
    """
    rejected: Tuple[float, ...] = ()
    """The scores here of earlier winners that the gate, on its own examples, has rejected."""

    follow: Tuple[Mapping[str, Any], ...] = ()
    """Records of the trials that led to another run's winner, to train again with this run's seed.
    """
    past: Tuple[Mapping[str, Any], ...] = ()
    """Similar searches of the same home, which decide about the order of the first trials
    (mlops_lib.runner.search.past_searches).
    """

    def result_head(self, selection: str) -> Dict[str, Any]:
        """Return what every result of this search begins with.

        Args:
            selection: the kind of its selection examples.
        """
        return {
            "schema": 1,
            "metric": self.metric,
            "mode": self.mode,
            "selection": selection,
            "fit": self.fit,
        }

    def refused(self, reason: str, layers: List[str]) -> Dict[str, Any]:
        """Return the result of a search that could not try anything.

        Args:
            reason: for the developer.
            layers: the architecture, one line a layer, which stays as it is.
        """
        return {
            **self.result_head("contaminated"),
            "trials": [],
            "winner": 0,
            "score": None,
            "stopped": "refused",
            "before": layers,
            "after": layers,
            "notes": [reason],
        }

    @classmethod
    def read(
        cls,
        settings: Mapping[str, Any],
        *,
        directory: str,
        seed: int,
        judged: FrozenSet[bytes] = frozenset(),
    ) -> SearchRequest:
        """Return the request in a `search` object.

        Missing keys take their defaults, unknown ones are ignored.

        Args:
            settings: the object.
            directory: the directory of the search's state.
            seed: the seed of all randomness.
            judged: the examples that the gate has judged on so far, as far as they are known one by
                one.

        Raises:
            ValueError: a key has the wrong type.
        """
        value = settings.get("judged_value")
        return cls(
            fit=int(settings.get("fit", 1)),
            directory=directory,
            metric=str(settings.get("metric", "accuracy")),
            mode=protocol.direction(
                str(settings.get("metric", "accuracy")), str(settings.get("mode") or "")
            ),
            target=float(settings.get("target", 0.8)),
            trials=int(settings.get("trials", 12)),
            minutes=float(settings.get("minutes", 30.0)),
            judged_digest=str(settings.get("judged_digest") or ""),
            judged_value=None if value is None else float(value),
            judged_hashes=judged,
            seed=seed,
            number_of_pass=int(settings.get("pass", 2)),
            workers=int(settings.get("workers", 1)),
            worker=str(settings.get("worker") or ""),
            remote=bool(settings.get("remote")),
            chief_timeout_s=float(settings.get("chief_timeout_s") or math.inf),
            token=str(settings.get("token") or ""),
            limits=dict(settings.get("limits") or {}),
            failed_with=str(settings.get("failed_with") or "") if settings.get("own_only") else "",
            rejected=tuple(float(score) for score in settings.get("rejected") or ()),
            follow=tuple(
                record for record in settings.get("follow") or () if isinstance(record, dict)
            ),
            past=tuple(search for search in settings.get("past") or () if isinstance(search, dict)),
        )

    @property
    def has_chief(self) -> bool:
        """Return whether several processes run trials."""
        return self.workers > 1 or self.remote or bool(self.worker)

    def better(self, score: Optional[float], other: Optional[float]) -> bool:
        """Return whether a score beats another one; a missing score beats nothing."""
        # NaN is unequal to itself.
        if score is None or score != score:
            return False
        if other is None or other != other:
            return True
        return protocol.is_better(score, other, self.mode)


@dataclass
class FitCall:
    """The judged fit: its arguments and its results."""

    arguments: Dict[str, Any]
    """The bound arguments of `fit` by parameter name; never mutated."""
    compiled: Dict[str, Any]
    """The bound arguments of `compile`: the optimizer as given, the loss and metric objects
    themselves.
    """
    history: Any
    """The History of trial 0."""
    initial: Optional[List[Any]] = None
    """The values of `model.variables` (metrics left out) before the fit; None if the model was not
    built.
    """
    seen: FrozenSet[bytes] = frozenset()
    """Hashes of the examples that earlier fits trained this model, or layers of it, on."""
    sites: Dict[str, Any] = field(default_factory=dict)
    """The places of `fit` and `compile` in the script (mlops_lib.runner.script.call_sites)."""
    train: Optional[Callable[..., Any]] = None
    """The framework's own `fit(model, **arguments)`, unhooked; None calls the model's method."""


@dataclass
class Outcome:
    """The result of a search and the state of the script's model."""

    result: Dict[str, Any]
    """A SearchResult record."""
    history: Any = None
    """The return value of the script's `fit`: the caller's own History object."""
    changed: bool = False
    """True if the model is not trial 0 any more."""
    selected_on: FrozenSet[bytes] = frozenset()
    """Hashes of the selection examples; the gate leaves them out of its evaluation."""
    notes: List[str] = field(default_factory=list)
    """Warnings for the developer."""
    steps: List[str] = field(default_factory=list)
    """The steps to the winner, and their scores."""
    measured: Any = None
    """The model's Reading (mlops_lib.runner.keras.examples) of the validation data, or None."""


def trial_record(number: int, **keys: Any) -> Dict[str, Any]:
    """Return a Trial record (mlops_lib.records.Trial) with its defaults."""
    record: Dict[str, Any] = {
        "number": number,
        "parent": None,
        "edits": [],
        "kinds": [],
        "hyperparameters": {},
        "inherited": "",
        "state": "running",
        "score": None,
        "epochs": 0,
        "seconds": 0.0,
        "parameters": None,
        "curve": [],
        "message": "",
        "worker": "",
    }
    record.update(keys)
    return record


class Clock:
    """Count the seconds of training that a search has used, over all attempts."""

    def __init__(self, used_s: float, minutes: float) -> None:
        self.limit_s = minutes * 60.0
        self._used = used_s
        self._began: Optional[float] = None

    def count(self, seconds: float) -> None:
        """Add the seconds of an earlier attempt."""
        self._used += seconds

    def start(self) -> None:
        """Begin to count."""
        self._began = time.monotonic()

    def stop(self) -> float:
        """Stop counting; return the seconds since `start`."""
        spent = self.running_s
        self._used += spent
        self._began = None
        return spent

    @property
    def running_s(self) -> float:
        """Seconds since `start`, 0 if nothing trains."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    @property
    def left_s(self) -> float:
        """Seconds that may still be used."""
        return self.limit_s - self._used - self.running_s


Curves = Mapping[str, List[float]]
Shape = Tuple[Optional[int], ...]
