"""What a person sees while `mlops` works: on a terminal stages, progress bars and trials, elsewhere plain lines."""

from __future__ import annotations

import sys
from typing import Any, TextIO


class Plain:
    """One line an event; no colour codes, so that logs stay readable."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream

    def __call__(self, event: dict[str, Any]) -> None:
        """Show an event, if it is worth a line."""
        line = describe(event)
        if line:
            self._stream.write(line + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Nothing to put away."""


class Terminal:
    """Progress bars for the fit under way; everything else scrolls above them."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(), console=Console(stderr=True), transient=False,
        )  # fmt: skip
        self._progress.start()
        self._fits: dict[int, Any] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        """Show an event."""
        from rich.text import Text

        kind, fit = event.get("event"), event.get("fit")
        if kind == "fit" and isinstance(fit, int) and isinstance(event.get("epochs"), int) and event["epochs"] > 1:
            if fit not in self._fits:
                self._fits[fit] = self._progress.add_task(f"fit {fit}", total=event["epochs"], numbers="")
            return
        if kind == "epoch" and fit in self._fits:
            self._progress.update(
                self._fits[fit], completed=int(event["epoch"]) + 1, numbers=numbers(event.get("metrics"))
            )
            return
        line = describe(event)
        if line:
            self._progress.console.print(Text(line, style="bold" if kind in ("stage", "verdict") else ""))

    def close(self) -> None:
        """Leave the bars as they are."""
        self._progress.stop()


def observer(*, quiet: bool = False) -> Any:
    """The view that suits stderr."""
    if quiet:
        return Plain(_Nowhere())  # type: ignore[arg-type]
    return Terminal() if sys.stderr.isatty() else Plain()


class _Nowhere:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def numbers(metrics: Any) -> str:
    """Metrics as `loss 0.123  accuracy 0.95`."""
    if not isinstance(metrics, dict):
        return ""
    shown = [f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in metrics.items() if k != "learning_rate"]
    return printable("  ".join(shown))[:200]


def printable(text: str) -> str:
    """Text from a script without control characters, which could rewrite a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " if c.isspace() else "�" for c in text)


def describe(event: dict[str, Any]) -> str:
    """An event in one line, "" if it is not worth one."""
    kind = event.get("event")
    if event.get("past"):
        return ""
    if kind == "stage":
        return f"== {event['stage']}"
    if kind == "epoch":
        return f"   fit {event.get('fit')} epoch {int(event.get('epoch', 0)) + 1}  {numbers(event.get('metrics'))}"
    if kind == "fit":
        return printable(f"   fit {event.get('fit')}: {event.get('model')}, {event.get('state')}")
    if kind == "trial":
        trial = event.get("trial")
        if not isinstance(trial, dict) or trial.get("state") == "running":
            return ""
        score = trial.get("score")
        words = "; ".join(map(str, trial.get("edits") or ["as written"]))
        shown = f"{score:.4f}" if isinstance(score, float) else str(trial.get("state"))
        return printable(f"   trial {trial.get('number')}: {shown}  {words}")[:300]
    if kind == "decision" and event.get("do") in ("restart", "kill", "give up", "adopt", "wait", "take over"):
        return printable(f"   watchdog: {event.get('do')} ({event.get('why')})")
    if kind == "warning":
        return printable(f"   warning: {event.get('message')}")[:500]
    if kind == "hook_error":
        return printable(f"   injected code failed in {event.get('hook')}: {event.get('message')}")[:500]
    if kind == "build":
        return printable(f"   {event.get('line')}")[:300]
    if kind == "verdict":
        verdict = event["verdict"]
        return printable(f"== verdict: {verdict['verdict']}. {'; '.join(verdict['reasons'])}")
    return ""
