"""Progress on a terminal (stages, bars, trials) or in a log (plain lines)."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from mlops_lib.events import (
    BuildOutput,
    Decision,
    Epoch,
    Event,
    FitStarted,
    HookError,
    ImproveStarted,
    Note,
    RunWarning,
    Stage,
    TrialEvent,
    TrialProgress,
    VerdictGiven,
    from_json,
)
from mlops_lib.formatting import one_line, printable, sparkline
from mlops_lib.runner import protocol

EPOCH_S = 10.0
"""Seconds between two epochs in a log; the last one is always written."""


MESSAGE_LENGTH = 500
"""Characters of a line that holds a message."""
LINE_LENGTH = 300
"""Characters of a line of a build's output, or about trial 0."""


class View(Protocol):
    """An observer that shows events to a person until it is closed."""

    def __call__(self, event: dict[str, Any]) -> None:
        """Show an event."""

    def close(self) -> None:
        """Leave the last state on display; may be called twice."""


class Plain:
    """Writes one line for each event, without colour codes."""

    def __init__(self, stream: TextIO = sys.stderr, *, epoch_s: float = EPOCH_S) -> None:
        self._stream = stream
        self._epoch_s = epoch_s
        self._shown = -math.inf
        """Time at which the last epoch was written."""
        self._held = ""
        """Line of the newest epoch, if it was not written."""

    def __call__(self, event: dict[str, Any]) -> None:
        """Write an event's line, if it has one."""
        line = describe(event)
        if not line:
            return
        if isinstance(from_json(event), Epoch):
            now = time.monotonic()
            # A training of thousands of short epochs must not fill a build's log.
            if now - self._shown < self._epoch_s:
                self._held = line
                return
            self._shown = now
            self._held = ""
        self._write(line)

    def _write(self, line: str) -> None:
        lines = [self._held, line] if self._held else [line]
        self._held = ""
        self._stream.write("".join(f"{text}\n" for text in lines))
        self._stream.flush()

    def close(self) -> None:
        """Write the last epoch."""
        if self._held:
            line, self._held = self._held, ""
            self._write(line)


FITS = 4
TRIALS = 8
"""The most fits and trials that are shown at once."""


class Terminal:
    """Shows current fits and best trials at the bottom; all other events scroll above."""

    def __init__(self, console: Any = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._fits: dict[int, _FitShown] = {}
        self._trials: dict[int, dict[str, Any]] = {}
        self._trying = ""
        self._is_lower_better = False
        self._live = Live(
            console=console or Console(stderr=True),
            get_renderable=self._rendered,
            refresh_per_second=4,
            transient=False,
        )
        self._live.start()

    def __call__(self, event: dict[str, Any]) -> None:
        """Show an event."""
        from rich.text import Text

        typed = from_json(event)
        if self._updates_rows(typed):
            return
        if isinstance(typed, VerdictGiven):
            self._is_lower_better = typed.verdict.get("mode") == "min"
        elif isinstance(typed, ImproveStarted):
            self._is_lower_better = typed.mode == "min"
        elif isinstance(typed, Stage):
            self._settle()
        line = describe(event)
        if line:
            is_heading = isinstance(typed, (Stage, VerdictGiven))
            self._live.console.print(Text(line, style="bold" if is_heading else ""))

    def _updates_rows(self, event: Event) -> bool:
        """Update the rows at the bottom; return whether an event only changes them."""
        match event:
            case TrialProgress():
                if event.metrics:
                    self._trying = f"  trial {event.trial}  {numbers(event.metrics)}"
            case FitStarted(fit=int(fit)) if _is_of_several_epochs(event):
                self._fits.setdefault(fit, _FitShown(fit, event.epochs))
            case Epoch(fit=int(fit)) if fit in self._fits:
                self._fits[fit].take(event)
            case TrialEvent() if event.trial:
                self._trials[int(event.trial.get("number", 0))] = dict(event.trial)
                self._trying = ""
            case _:
                return False
        return True

    def _settle(self) -> None:
        """Print the finished fits and trials, so that the next stage begins below them."""
        if self._fits or self._trials:
            self._live.console.print(self._rendered())
            self._fits = {}
            self._trials = {}
            self._trying = ""

    def _rendered(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        parts: list[Any] = [fit.row() for fit in list(self._fits.values())[-FITS:]]
        if self._trials:
            parts.append(
                leaderboard(list(self._trials.values()), is_lower_better=self._is_lower_better)
            )
        if self._trying:
            parts.append(Text(self._trying, style="dim"))
        return Group(*parts)

    def close(self) -> None:
        """Stop the updates, and leave the last state on the terminal."""
        self._live.stop()


def _is_of_several_epochs(event: FitStarted) -> bool:
    """Return whether a fit has several epochs; of a script's own loop that is unknown."""
    return event.framework == "pytorch" if event.epochs is None else event.epochs > 1


class _FitShown:
    """The row of a fit: a bar of its epochs, its curve and its last numbers."""

    def __init__(self, number: int, epochs: int | None) -> None:
        self.number = number
        self.epochs = epochs
        self.done = 0
        self.metrics: Mapping[str, Any] = {}
        self.curve: list[float] = []
        self.name = ""

    def take(self, event: Epoch) -> None:
        self.done = (event.epoch or 0) + 1
        self.metrics = event.metrics
        if not self.name:
            names = [n for n, v in self.metrics.items() if isinstance(v, (int, float))]
            metric = (
                [n for n in names if "acc" in n]
                or [n for n in names if n.startswith("val_")]
                or names
            )
            self.name = next(
                (n for n in metric if n.startswith("val_")), metric[0] if metric else ""
            )
        value = self.metrics.get(self.name)
        if isinstance(value, (int, float)) and math.isfinite(value):
            self.curve.append(float(value))

    def row(self) -> Any:
        from rich.text import Text

        filled = round(20 * min(self.done, self.epochs) / self.epochs) if self.epochs else 0
        return Text.assemble(
            f"  fit {self.number} ",
            ("━" * filled, "green"),
            ("━" * (20 - filled), "dim"),
            f" {self.done}/{self.epochs or '?'} ",
            (sparkline(self.curve), "cyan"),
            f" {numbers(self.metrics)}",
            no_wrap=True,
            overflow="ellipsis",
        )


def leaderboard(trials: list[dict[str, Any]], *, is_lower_better: bool = False) -> Any:
    """Return the best trials as a rich table, the best one marked.

    Running trials come last.
    """
    from rich.table import Table

    # Trials that failed or still run have no score.
    scored = [t for t in trials if isinstance(t.get("score"), (int, float))]
    scored.sort(key=lambda t: t["score"], reverse=not is_lower_better)
    listed_trials = scored[:TRIALS] + [t for t in trials if t.get("state") == "running"][-1:]
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("trial", "score", "curve", "changed"):
        table.add_column(name, no_wrap=name != "changed")
    for trial in listed_trials:
        score = (
            f"{trial['score']:.4f}"
            if isinstance(trial.get("score"), (int, float))
            else printable(str(trial.get("state")))
        )
        curve = sparkline(
            [
                v
                for v in trial.get("curve") or ()
                if isinstance(v, (int, float)) and math.isfinite(v)
            ]
        )
        # Edits hold names from the script: control characters could rewrite the terminal.
        words = printable("; ".join(map(str, trial.get("edits") or ["as written"])))[:200]
        table.add_row(
            str(trial.get("number")),
            score,
            curve,
            words,
            style="bold" if trial is scored[0] else "",
        )
    return table


def observer(*, quiet: bool = False) -> View:
    """Return the view for stderr: live on a terminal, lines in a log, none if `quiet`."""
    if quiet:
        return Plain(_Nowhere())  # type: ignore[arg-type]
    return Terminal() if sys.stderr.isatty() else Plain()


class _Nowhere:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def numbers(metrics: Mapping[str, Any]) -> str:
    """Return metrics as `loss 0.123  accuracy 0.95`."""
    parts = [
        f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
        for k, v in metrics.items()
        if k != "learning_rate"
    ]
    return printable("  ".join(parts))[:200]


def describe(event: Mapping[str, Any]) -> str:
    """Return an event as one line; "" for an event that is not shown."""
    typed = from_json(event)
    # Events from before this program followed the run are its history, no progress.
    return "" if typed.past else one_line(printable(_described(typed)))


def _described(event: Event) -> str:
    match event:
        case Stage():
            return f"== {event.stage}"
        case Epoch():
            numbers_now = numbers(event.metrics)
            return f"   fit {event.fit} epoch {(event.epoch or 0) + 1}  {numbers_now}"
        case FitStarted():
            return f"   fit {event.fit}: {', '.join(filter(None, (event.model, event.state)))}"
        case TrialEvent():
            return _trial_described(event.trial)
        case Decision(do=do) if do not in (protocol.DO_FINISH, ""):
            worker = event.fields.get("worker")
            whose = "" if worker is None else f"worker {worker}: "
            return f"   watchdog: {whose}{do} ({event.why})"
        case Note():
            return f"   {event.message}"[:MESSAGE_LENGTH]
        case RunWarning():
            return f"   warning: {event.message}"[:MESSAGE_LENGTH]
        case HookError():
            return f"   injected code failed in {event.hook}: {event.message}"[:MESSAGE_LENGTH]
        case BuildOutput():
            return f"   {event.line}"[:LINE_LENGTH]
        case ImproveStarted():
            return f"== improve {event.model}: {event.metric} {event.target or 0.0:g}"
        case VerdictGiven():
            reasons = "; ".join(event.verdict["reasons"])
            return f"== verdict: {event.verdict['verdict']}. {reasons}"
        case _:
            return ""


def _trial_described(trial: Mapping[str, Any]) -> str:
    """Return the outcome of a candidate; "" while it is running."""
    state = trial.get("state")
    if not trial or state == "running":
        return ""
    score = trial.get("score")
    words = "; ".join(map(str, trial.get("edits") or ["as written"]))
    message = trial.get("message")
    score_text = f"{score:.4f}" if isinstance(score, float) else str(state)
    if score_text == "finished":  # trial 0, which has seen what the others are scored on
        return f"   trial {trial.get('number')}: {message or words}"[:LINE_LENGTH]
    why = f": {message}" if state in ("failed", "invalid") and message else ""
    return f"   trial {trial.get('number')}: {score_text}  {words}{why}"[:MESSAGE_LENGTH]
