"""The outcome of improving a model, and its trials as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mlops_lib.errors import UsageError
from mlops_lib.records import SearchResult
from mlops_lib.reporting.figures import search_figure
from mlops_lib.runner import protocol

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, eq=False)
class Improvement:
    """The outcome of improving a model.

    It delegates everything that a model can do (`predict`, `evaluate`, `save` …) to `model`.
    """

    model: Any
    """The better model, or the caller's own architecture if no better one was found."""
    metric: str
    mode: Literal["max", "min"]
    value: float | None
    """Score on examples that neither trained nor selected it.

    None without such examples.
    """
    interval: tuple[float, float] | None
    """95 % interval of the score, if it is a proportion."""
    examples: int
    before: float | None
    """Score of the caller's model on the validation data."""
    gained: protocol.Gain | None
    """Difference between the two with its uncertainty; None if either is unknown."""
    target: float
    search: SearchResult | None
    """Result of the search; None if the model met the bar without one."""
    seconds: float
    folder: str
    """Folder of the search's state, from which the same call continues."""
    notes: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """Return whether the bar was met."""
        return self.value is not None and protocol.reaches(self.value, self.target, self.mode)

    @property
    def trials(self) -> pandas.DataFrame:
        """One row for each trial; trial 0 is the original model. Needs pandas."""
        return frame(self.search)

    def plot(self) -> Figure:
        """Plot all scores with the best so far, and the winner's curve beside trial 0's."""
        figure: Figure = search_figure(self.search, target=self.target)
        return figure

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.model, name)

    def _repr_html_(self) -> str:
        from mlops_lib.tuning.improvement_html import improvement_html

        return improvement_html(self)

    def __repr__(self) -> str:
        reached = "not measured" if self.value is None else f"{self.value:.4g}"
        trials = 0 if self.search is None else sum(trial.number > 0 for trial in self.search.trials)
        return (
            f"<{type(self.model).__name__}: {self.metric} {reached}, bar {self.target:g}, {trials}"
            " trials>"
        )


def frame(search: SearchResult | None) -> pandas.DataFrame:
    """Return the trials of a search as a table: one row each, in order.

    Args:
        search: the search; None for an empty table.

    Returns:
        A data frame whose index is the trial's number. `score` is on the selection examples,
        `seconds` the training time, `curve` the score after each epoch.

    Raises:
        UsageError: pandas is not installed.

    Example:
        >>> from mlops_lib.records import SearchResult, Trial
        >>> trials = (Trial(number=0, score=0.71), Trial(number=1, edits=("max_depth 8",), score=0.86))
        >>> search = SearchResult(
        ...     metric="accuracy", selection="split", fit=1, trials=trials, winner=1
        ... )
        >>> frame(search)[["changed", "score", "winner"]]
                   changed  score  winner
        trial
        0                    0.71   False
        1      max_depth 8   0.86    True
    """
    try:
        import pandas
    except ImportError:
        raise UsageError(
            "pandas is not installed", where="trials", remedy="pip install 'mlops_lib[notebook]'"
        ) from None
    if search is None:
        search = SearchResult(metric="", selection="disjoint", fit=1)
    rows = [
        {
            "changed": "; ".join(t.edits),
            "score": t.score,
            "epochs": t.epochs,
            "seconds": t.seconds,
            "parameters": t.parameters,
            "state": t.state,
            "parent": t.parent,
            "winner": t.number == search.winner,
            "message": t.message,
            "curve": list(t.curve),
        }
        for t in search.trials
    ]
    columns = (
        "changed",
        "score",
        "epochs",
        "seconds",
        "parameters",
        "state",
        "parent",
        "winner",
        "message",
        "curve",
    )
    index = pandas.Index([t.number for t in search.trials], name="trial")
    return pandas.DataFrame(rows, columns=list(columns), index=index)
