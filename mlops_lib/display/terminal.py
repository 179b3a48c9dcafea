"""What a person sees while `mlops` works: on a terminal stages, progress bars and trials, elsewhere plain lines."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from mlops_lib.display.text import one_line, printable
from mlops_lib.runner import protocol

EPOCH_S = 10.0
"""A log gets one epoch in so long, and the last one in any case."""


class Plain:
    """One line an event; no colour codes, so that logs stay readable."""

    def __init__(self, stream: TextIO = sys.stderr, *, epoch_s: float = EPOCH_S) -> None:
        self._stream, self._epoch_s = stream, epoch_s
        self._shown = -math.inf
        """When the last epoch was shown."""
        self._held = ""
        """The newest epoch, if it was not shown."""

    def __call__(self, event: dict[str, Any]) -> None:
        """Show an event, if it is worth a line."""
        line = describe(event)
        if not line:
            return
        if event.get("event") == "epoch":
            now = time.monotonic()
            if now - self._shown < self._epoch_s:
                self._held = line
                return
            self._shown, self._held = now, ""
        self._write(line)

    def _write(self, line: str) -> None:
        lines = [self._held, line] if self._held else [line]
        self._held = ""
        self._stream.write("".join(f"{one}\n" for one in lines))
        self._stream.flush()

    def close(self) -> None:
        """Show the last epoch."""
        if self._held:
            line, self._held = self._held, ""
            self._write(line)


FITS, TRIALS, WIDTH = 4, 8, 24
"""Shown at once: fits, trials of the leaderboard, characters of a curve."""
BLOCKS = "▁▂▃▄▅▆▇█"


class Terminal:
    """At the bottom what is under way (fits with their curves, the best trials); everything else scrolls above it."""

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

        kind, fit = event.get("event"), event.get("fit")
        if kind == "progress":
            self._trying = (
                f"  trial {event.get('trial')}  {numbers(event.get('metrics'))}"
                if event.get("metrics")
                else self._trying
            )
            return
        if kind == "fit" and isinstance(fit, int) and isinstance(event.get("epochs"), int) and event["epochs"] > 1:
            self._fits.setdefault(fit, _FitShown(fit, event["epochs"]))
            return
        if kind == "epoch" and fit in self._fits:
            self._fits[fit].take(event)
            return
        if kind == "trial" and isinstance(event.get("trial"), dict):
            self._trials[int(event["trial"].get("number", 0))] = event["trial"]
            self._trying = ""
            return
        if kind in ("verdict", "improve"):
            self._is_lower_better = (event.get("verdict") or event).get("mode") == "min"
        if kind == "stage":
            self._settle()
        line = describe(event)
        if line:
            self._live.console.print(Text(line, style="bold" if kind in ("stage", "verdict") else ""))

    def _settle(self) -> None:
        """Leave what has ended where it stands, so that the next stage begins below it."""
        if self._fits or self._trials:
            self._live.console.print(self._rendered())
            self._fits, self._trials, self._trying = {}, {}, ""

    def _rendered(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        parts: list[Any] = [fit.row() for fit in list(self._fits.values())[-FITS:]]
        if self._trials:
            parts.append(leaderboard(list(self._trials.values()), is_lower_better=self._is_lower_better))
        if self._trying:
            parts.append(Text(self._trying, style="dim"))
        return Group(*parts)

    def close(self) -> None:
        """Leave everything as it stands."""
        self._live.stop()


class _FitShown:
    """A fit under way: a bar of its epochs, the curve of what it is judged by, the last numbers."""

    def __init__(self, number: int, epochs: int) -> None:
        self.number, self.epochs, self.done = number, epochs, 0
        self.metrics: dict[str, Any] = {}
        self.curve: list[float] = []
        self.name = ""

    def take(self, event: dict[str, Any]) -> None:
        self.done = int(event["epoch"]) + 1
        found = event.get("metrics")
        self.metrics = found if isinstance(found, dict) else {}
        if not self.name:
            names = [n for n, v in self.metrics.items() if isinstance(v, (int, float))]
            wanted = [n for n in names if "acc" in n] or [n for n in names if n.startswith("val_")] or names
            self.name = next((n for n in wanted if n.startswith("val_")), wanted[0] if wanted else "")
        value = self.metrics.get(self.name)
        if isinstance(value, (int, float)) and math.isfinite(value):
            self.curve.append(float(value))

    def row(self) -> Any:
        from rich.text import Text

        filled = round(20 * min(self.done, self.epochs) / self.epochs)
        return Text.assemble(
            f"  fit {self.number} ", ("━" * filled, "green"), ("━" * (20 - filled), "dim"),
            f" {self.done}/{self.epochs} ", (sparkline(self.curve), "cyan"), f" {numbers(self.metrics)}", no_wrap=True,
            overflow="ellipsis",
        )  # fmt: skip


def leaderboard(trials: list[dict[str, Any]], *, is_lower_better: bool = False) -> Any:
    """The best trials as a rich table, the best one marked; trials under way last."""
    from rich.table import Table

    scored = [t for t in trials if isinstance(t.get("score"), (int, float))]
    scored.sort(key=lambda t: t["score"], reverse=not is_lower_better)
    shown = scored[:TRIALS] + [t for t in trials if t.get("state") == "running"][-1:]
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("trial", "score", "curve", "changed"):
        table.add_column(name, no_wrap=name != "changed")
    for one in shown:
        score = (
            f"{one['score']:.4f}" if isinstance(one.get("score"), (int, float)) else printable(str(one.get("state")))
        )
        curve = sparkline([v for v in one.get("curve") or () if isinstance(v, (int, float)) and math.isfinite(v)])
        words = printable("; ".join(map(str, one.get("edits") or ["as written"])))[:200]
        table.add_row(str(one.get("number")), score, curve, words, style="bold" if one is scored[0] else "")
    return table


def sparkline(values: list[float]) -> str:
    """A curve as a few characters."""
    if len(values) < 2:
        return ""
    step = max(1, math.ceil(len(values) / WIDTH))
    kept = values[::-step][::-1]
    low, high = min(kept), max(kept)
    spread = (high - low) or 1.0
    return "".join(BLOCKS[min(len(BLOCKS) - 1, int((v - low) / spread * len(BLOCKS)))] for v in kept)


class Decisions:
    """What a watchdog sees decided, as lines that name the run; `stream_json` gets the lines themselves."""

    SHOWN = ("decision", "exit", "attempt", "warning")

    def __init__(self, *, stream: TextIO = sys.stderr, stream_json: TextIO | None = None) -> None:
        self._stream, self._stream_json = stream, stream_json

    def __call__(self, event: dict[str, Any]) -> None:
        """Show an event, if it is about a decision."""
        if event.get("event") not in self.SHOWN:
            return
        if self._stream_json is not None:
            self._stream_json.write(json.dumps({"schema": 1, **event}) + "\n")
            self._stream_json.flush()
        line = describe(event)
        if line:
            name = one_line(Path(str(event.get("run_dir", ""))).name)
            self._stream.write(f"{name}: {line.strip()}\n")
            self._stream.flush()

    def close(self) -> None:
        """Nothing to put away."""


class Board:
    """A live table of runs, and the decisions about them above it."""

    ROWS = 30

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._live.start()
        self._decisions = Decisions(stream=self)  # type: ignore[arg-type]
        self._settled: dict[str, tuple[float, Any]] = {}

    def write(self, text: str) -> int:
        """A line above the table."""
        from rich.text import Text

        if text.strip():
            self._console.print(Text(printable(text.rstrip("\n"))))
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def __call__(self, event: dict[str, Any]) -> None:
        """Show the runs as they stand, or a decision."""
        if event.get("event") == "look":
            self._live.update(self._table(event["run_dirs"]), refresh=True)
        else:
            self._decisions(event)

    def _table(self, run_dirs: list[str]) -> Any:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for heading in ("run", "state", "attempt", "epoch", "steps/s", "memory", "restarts", "last trouble"):
            table.add_column(heading, overflow="ellipsis", no_wrap=True)
        shown = sorted((self._standing(one) for one in run_dirs), key=lambda one: one.state in ("finished", "failed"))
        for one in shown[: self.ROWS]:
            for shown_one in (one, *(one.workers if one.state == "searching" else ())):
                table.add_row(*row(shown_one))
        return table

    def _standing(self, run_dir: str) -> Any:
        """How a run stands; of one that is at rest as it stood when its record was last changed."""
        from mlops_lib.monitoring import takeover

        try:
            changed = Path(run_dir, protocol.ATTEMPTS).stat().st_mtime
        except OSError:
            changed = 0.0
        before, found = self._settled.get(run_dir, (None, None))
        if before != changed or found is None or found.state not in ("finished", "failed"):
            found = takeover.standing(Path(run_dir))
            self._settled[run_dir] = (changed, found)
        return found

    def close(self) -> None:
        """Leave the table as it is."""
        self._live.stop()


def row(standing: Any) -> tuple[str, ...]:
    """A run's standing as the cells of the table."""
    what = f"fit {standing.fit}" if standing.trial is None else f"trial {standing.trial}"
    epoch = what if standing.epoch is None and standing.trial is not None else ""
    if standing.epoch is not None:
        epoch = f"{what}: {standing.epoch + 1}"
    if standing.step is not None and standing.steps:
        epoch += f", step {standing.step}/{standing.steps}"
    memory = "" if standing.memory_bytes is None else f"{standing.memory_bytes / (1 << 20):.0f} MiB"
    rate = "" if standing.steps_per_s is None else f"{standing.steps_per_s:.3g}"
    attempt = str(standing.attempt or "")
    name = standing.name if standing.name.startswith("worker ") else Path(standing.run_dir).name
    if standing.where:
        name += f" ({standing.where})"
    cells = (
        name, standing.state, attempt, epoch, rate, memory, str(standing.restarts), standing.trouble
    )  # fmt: skip
    return tuple(one_line(cell)[:60] for cell in cells)


def watcher(*, as_json: bool) -> Any:
    """The view of a watchdog that suits stderr; with `as_json` its decisions go to stdout, one a line."""
    if as_json:
        return Decisions(stream_json=sys.stdout)
    return Board() if sys.stderr.isatty() else Decisions()


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


def describe(event: dict[str, Any]) -> str:
    """An event in one line, "" if it is not worth one."""
    return one_line(_described(event))


def _described(event: dict[str, Any]) -> str:
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
        if shown == "finished":  # trial 0, which has seen what the others are scored on
            return printable(f"   trial {trial.get('number')}: {trial.get('message') or words}")[:300]
        why = f": {trial['message']}" if trial.get("state") in ("failed", "invalid") and trial.get("message") else ""
        return printable(f"   trial {trial.get('number')}: {shown}  {words}{why}")[:500]
    if kind == "decision" and event.get("do") not in ("finish", None):
        whose = f"worker {event['worker']}: " if "worker" in event else ""
        return printable(f"   watchdog: {whose}{event.get('do')} ({event.get('why')})")
    if kind == "note":
        return printable(f"   {event.get('message')}")[:500]
    if kind == "warning":
        return printable(f"   warning: {event.get('message')}")[:500]
    if kind == "hook_error":
        return printable(f"   injected code failed in {event.get('hook')}: {event.get('message')}")[:500]
    if kind == "build":
        return printable(f"   {event.get('line')}")[:300]
    if kind == "improve":
        return printable(f"== improve {event['model']}: {event['metric']} {event['target']:g}")
    if kind == "verdict":
        verdict = event["verdict"]
        return printable(f"== verdict: {verdict['verdict']}. {'; '.join(verdict['reasons'])}")
    return ""
