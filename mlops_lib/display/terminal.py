"""Progress on a terminal (stages, bars, trials) or in a log (plain lines)."""

from __future__ import annotations

import math
import sys
import time
from typing import Any, Protocol, TextIO

from mlops_lib.formatting import one_line, printable, sparkline
from mlops_lib.runner import protocol

EPOCH_S = 10.0
"""Seconds between two epochs in a log; the last one is always written."""


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
        if event.get("event") == protocol.EVENT_EPOCH:
            now = time.monotonic()
            if now - self._shown < self._epoch_s:
                self._held = line
                return
            self._shown = now
            self._held = ""
        self._write(line)

    def _write(self, line: str) -> None:
        lines = [self._held, line] if self._held else [line]
        self._held = ""
        self._stream.write("".join(f"{one}\n" for one in lines))
        self._stream.flush()

    def close(self) -> None:
        """Write the last epoch."""
        if self._held:
            line, self._held = self._held, ""
            self._write(line)


FITS = 4
TRIALS = 8
"""Limits of what is shown at once: fits and trials."""


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

        kind = event.get("event")
        fit = event.get("fit")
        if kind == protocol.EVENT_PROGRESS:
            self._trying = (
                f"  trial {event.get('trial')}  {numbers(event.get('metrics'))}"
                if event.get("metrics")
                else self._trying
            )
            return
        if kind == protocol.EVENT_FIT and isinstance(fit, int) and _is_of_several_epochs(event):
            self._fits.setdefault(fit, _FitShown(fit, event.get("epochs")))
            return
        if kind == protocol.EVENT_EPOCH and fit in self._fits:
            self._fits[fit].take(event)
            return
        if kind == protocol.EVENT_TRIAL and isinstance(event.get("trial"), dict):
            self._trials[int(event["trial"].get("number", 0))] = event["trial"]
            self._trying = ""
            return
        if kind in (protocol.EVENT_VERDICT, protocol.EVENT_IMPROVE):
            self._is_lower_better = (event.get("verdict") or event).get("mode") == "min"
        if kind == protocol.EVENT_STAGE:
            self._settle()
        line = describe(event)
        if line:
            self._live.console.print(
                Text(
                    line,
                    style="bold" if kind in (protocol.EVENT_STAGE, protocol.EVENT_VERDICT) else "",
                )
            )

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


def _is_of_several_epochs(event: dict[str, Any]) -> bool:
    """Return whether a fit has several epochs; a loop of the script's own does not say how many."""
    epochs = event.get("epochs")
    return epochs > 1 if isinstance(epochs, int) else event.get("framework") == "pytorch"


class _FitShown:
    """The row of a fit: a bar of its epochs, its curve and its last numbers."""

    def __init__(self, number: int, epochs: int | None) -> None:
        self.number = number
        self.epochs = epochs
        self.done = 0
        self.metrics: dict[str, Any] = {}
        self.curve: list[float] = []
        self.name = ""

    def take(self, event: dict[str, Any]) -> None:
        self.done = int(event["epoch"]) + 1
        found = event.get("metrics")
        self.metrics = found if isinstance(found, dict) else {}
        if not self.name:
            names = [n for n, v in self.metrics.items() if isinstance(v, (int, float))]
            wanted = (
                [n for n in names if "acc" in n]
                or [n for n in names if n.startswith("val_")]
                or names
            )
            self.name = next(
                (n for n in wanted if n.startswith("val_")), wanted[0] if wanted else ""
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

    scored = [t for t in trials if isinstance(t.get("score"), (int, float))]
    scored.sort(key=lambda t: t["score"], reverse=not is_lower_better)
    shown = scored[:TRIALS] + [t for t in trials if t.get("state") == "running"][-1:]
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("trial", "score", "curve", "changed"):
        table.add_column(name, no_wrap=name != "changed")
    for one in shown:
        score = (
            f"{one['score']:.4f}"
            if isinstance(one.get("score"), (int, float))
            else printable(str(one.get("state")))
        )
        curve = sparkline(
            [v for v in one.get("curve") or () if isinstance(v, (int, float)) and math.isfinite(v)]
        )
        words = printable("; ".join(map(str, one.get("edits") or ["as written"])))[:200]
        table.add_row(
            str(one.get("number")), score, curve, words, style="bold" if one is scored[0] else ""
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


def numbers(metrics: Any) -> str:
    """Return metrics as `loss 0.123  accuracy 0.95`."""
    if not isinstance(metrics, dict):
        return ""
    shown = [
        f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
        for k, v in metrics.items()
        if k != "learning_rate"
    ]
    return printable("  ".join(shown))[:200]


def describe(event: dict[str, Any]) -> str:
    """Return an event as one line; "" for an event that is not shown."""
    return one_line(_described(event))


def _described(event: dict[str, Any]) -> str:
    kind = event.get("event")
    if event.get("past"):
        return ""
    if kind == protocol.EVENT_STAGE:
        return f"== {event['stage']}"
    if kind == protocol.EVENT_EPOCH:
        return (
            f"   fit {event.get('fit')} epoch {int(event.get('epoch', 0)) + 1} "
            f" {numbers(event.get('metrics'))}"
        )
    if kind == protocol.EVENT_FIT:
        return printable(f"   fit {event.get('fit')}: {event.get('model')}, {event.get('state')}")
    if kind == protocol.EVENT_TRIAL:
        trial = event.get("trial")
        if not isinstance(trial, dict) or trial.get("state") == "running":
            return ""
        score = trial.get("score")
        words = "; ".join(map(str, trial.get("edits") or ["as written"]))
        shown = f"{score:.4f}" if isinstance(score, float) else str(trial.get("state"))
        if shown == "finished":  # trial 0, which has seen what the others are scored on
            return printable(f"   trial {trial.get('number')}: {trial.get('message') or words}")[
                :300
            ]
        why = (
            f": {trial['message']}"
            if trial.get("state") in ("failed", "invalid") and trial.get("message")
            else ""
        )
        return printable(f"   trial {trial.get('number')}: {shown}  {words}{why}")[:500]
    if kind == protocol.EVENT_DECISION and event.get("do") not in (protocol.DO_FINISH, None):
        whose = f"worker {event['worker']}: " if "worker" in event else ""
        return printable(f"   watchdog: {whose}{event.get('do')} ({event.get('why')})")
    if kind == protocol.EVENT_NOTE:
        return printable(f"   {event.get('message')}")[:500]
    if kind == protocol.EVENT_WARNING:
        return printable(f"   warning: {event.get('message')}")[:500]
    if kind == protocol.EVENT_HOOK_ERROR:
        return printable(f"   injected code failed in {event.get('hook')}: {event.get('message')}")[
            :500
        ]
    if kind == protocol.EVENT_BUILD:
        return printable(f"   {event.get('line')}")[:300]
    if kind == protocol.EVENT_IMPROVE:
        return printable(f"== improve {event['model']}: {event['metric']} {event['target']:g}")
    if kind == protocol.EVENT_VERDICT:
        verdict = event["verdict"]
        return printable(f"== verdict: {verdict['verdict']}. {'; '.join(verdict['reasons'])}")
    return ""
