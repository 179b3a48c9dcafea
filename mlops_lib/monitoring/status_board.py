"""The table of `mlops watch`: one line for each run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from mlops_lib.display.terminal import View, describe
from mlops_lib.events import HOST_EVENTS, Look, RunWarning, from_json
from mlops_lib.formatting import one_line, printable, size
from mlops_lib.monitoring import status
from mlops_lib.runner import protocol


class Decisions:
    """Prints a watchdog's decisions, one a line with the run's name.

    Args:
        stream: gets them in words.
        stream_json: gets them as JSON.
    """

    SHOWN = (*HOST_EVENTS, RunWarning)

    def __init__(self, *, stream: TextIO = sys.stderr, stream_json: TextIO | None = None) -> None:
        self._stream = stream
        self._stream_json = stream_json

    def __call__(self, event: dict[str, Any]) -> None:
        """Print an event if it is the host's or a warning."""
        if not isinstance(from_json(event), self.SHOWN):
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
        """Do nothing; there is nothing to close."""


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
        self._cache: dict[str, tuple[float, Any]] = {}

    def write(self, text: str) -> int:
        """Print a line above the table."""
        from rich.text import Text

        if text.strip():
            self._console.print(Text(printable(text.rstrip("\n"))))
        return len(text)

    def flush(self) -> None:
        """Do nothing; nothing is buffered."""

    def __call__(self, event: dict[str, Any]) -> None:
        """Update the table at a look; print a decision above it."""
        typed = from_json(event)
        if isinstance(typed, Look):
            self._live.update(self._table(typed.run_dirs), refresh=True)
        else:
            self._decisions(event)

    def _table(self, run_dirs: Sequence[str]) -> Any:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for heading in (
            "run",
            "state",
            "attempt",
            "epoch",
            "steps/s",
            "memory",
            "restarts",
            "last trouble",
        ):
            table.add_column(heading, overflow="ellipsis", no_wrap=True)
        # Runs under way come first: the table may be too short for all.
        runs = sorted(
            (self._standing(run_dir) for run_dir in run_dirs),
            key=lambda run: run.state in ("finished", "failed"),
        )
        for run in runs[: self.ROWS]:
            workers = run.workers if run.state == "searching" else ()
            for standing in (run, *workers):
                table.add_row(*row(standing))
        return table

    def _standing(self, run_dir: str) -> Any:
        """Return a run's state, from the cache if it has ended and has not changed."""
        try:
            changed = Path(run_dir, protocol.ATTEMPTS).stat().st_mtime
        except OSError:
            changed = 0.0
        changed_before: float | None
        standing: Any
        changed_before, standing = self._cache.get(run_dir, (None, None))
        is_current = standing is not None and changed_before == changed
        if not is_current or standing.state not in ("finished", "failed"):
            standing = status.standing(Path(run_dir))
            self._cache[run_dir] = (changed, standing)
        return standing

    def close(self) -> None:
        """Stop updating; the table stays on the screen."""
        self._live.stop()


def row(standing: Any) -> tuple[str, ...]:
    """Return a run's state as the cells of the table."""
    what = f"fit {standing.fit}" if standing.trial is None else f"trial {standing.trial}"
    epoch = what if standing.epoch is None and standing.trial is not None else ""
    if standing.epoch is not None:
        epoch = f"{what}: {standing.epoch + 1}"
    if standing.step is not None and standing.steps:
        epoch += f", step {standing.step}/{standing.steps}"
    memory = "" if standing.memory_bytes is None else size(standing.memory_bytes)
    rate = "" if standing.steps_per_s is None else f"{standing.steps_per_s:.3g}"
    attempt = str(standing.attempt or "")
    name = standing.name if standing.name.startswith("worker ") else Path(standing.run_dir).name
    if standing.where:
        name += f" ({standing.where})"
    cells = (
        name,
        standing.state,
        attempt,
        epoch,
        rate,
        memory,
        str(standing.restarts),
        standing.trouble,
    )
    return tuple(one_line(cell)[:60] for cell in cells)


def watcher(*, as_json: bool) -> View:
    """Return the view of a watchdog that suits stderr.

    With `as_json` its decisions go to stdout, one a line.
    """
    if as_json:
        return Decisions(stream_json=sys.stdout)
    return Board() if sys.stderr.isatty() else Decisions()
