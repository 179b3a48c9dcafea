"""The table of `mlops watch`: one line for each run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TextIO

from mlops_lib.display.terminal import View, describe
from mlops_lib.formatting import one_line, printable
from mlops_lib.runner import protocol


class Decisions:
    """What a watchdog sees decided, as lines that name the run; `stream_json` gets the lines
    themselves.
    """

    SHOWN = (*protocol.HOST_EVENTS, protocol.EVENT_WARNING)

    def __init__(self, *, stream: TextIO = sys.stderr, stream_json: TextIO | None = None) -> None:
        self._stream = stream
        self._stream_json = stream_json

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
        if event.get("event") == protocol.EVENT_LOOK:
            self._live.update(self._table(event["run_dirs"]), refresh=True)
        else:
            self._decisions(event)

    def _table(self, run_dirs: list[str]) -> Any:
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
        shown = sorted(
            (self._standing(one) for one in run_dirs),
            key=lambda one: one.state in ("finished", "failed"),
        )
        for one in shown[: self.ROWS]:
            for shown_one in (one, *(one.workers if one.state == "searching" else ())):
                table.add_row(*row(shown_one))
        return table

    def _standing(self, run_dir: str) -> Any:
        """How a run stands; of one that is at rest as it stood when its record was last changed."""
        from mlops_lib.monitoring import status

        try:
            changed = Path(run_dir, protocol.ATTEMPTS).stat().st_mtime
        except OSError:
            changed = 0.0
        before, found = self._settled.get(run_dir, (None, None))
        if before != changed or found is None or found.state not in ("finished", "failed"):
            found = status.standing(Path(run_dir))
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
    """The view of a watchdog that suits stderr; with `as_json` its decisions go to stdout, one a
    line.
    """
    if as_json:
        return Decisions(stream_json=sys.stdout)
    return Board() if sys.stderr.isatty() else Decisions()
