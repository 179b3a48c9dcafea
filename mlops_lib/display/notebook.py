"""Live progress in a notebook's cell.

Progress is one HTML fragment that is replaced by means of `IPython.display`: no widgets, no
scripts, and the last state stays in the saved notebook. All text that comes from a script is
escaped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from mlops_lib.display.html import LINES, Fragment, escaped, meter, trials_table
from mlops_lib.display.terminal import Plain, Terminal, View, describe, numbers
from mlops_lib.events import (
    Epoch,
    FitStarted,
    ImproveStarted,
    Stage,
    TrialEvent,
    TrialProgress,
    VerdictGiven,
    from_json,
)

REFRESH_S = 0.3
"""Shortest time in seconds between two updates of a cell's output."""


def is_running() -> bool:
    """Return whether this process is a notebook's kernel."""
    shell = _shell()
    return shell is not None and hasattr(shell, "kernel")


def _shell() -> Any:
    # Only what is loaded already is asked: a program without IPython does not load it.
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


def view() -> View:
    """Return a view for the cell or the terminal; without either, a silent one."""
    if is_running():
        return Page()
    return Terminal() if sys.stderr.isatty() else Plain(_Nowhere())  # type: ignore[arg-type]


class _Nowhere:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


class Page:
    """Progress in a cell's output: the stage, the current fit and the trials so far."""

    def __init__(self) -> None:
        self._display: Any = None
        self._shown = 0.0
        self._title = ""
        self._now = ""
        self._bar: tuple[int, int] = (0, 0)
        self._lines: list[str] = []
        self._trials: dict[int, Mapping[str, Any]] = {}
        self._request: Mapping[str, Any] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        """Take in an event, and update the output."""
        typed = from_json(event)
        match typed:
            case TrialProgress():
                self._progress(typed)
            case ImproveStarted():
                self._request = event
                self._title = f"Improving {typed.model}"
            case Stage():
                self._title = typed.stage
                self._now = ""
                self._bar = (0, 0)
            case Epoch():
                self._now = describe(event).strip()
                self._bar = ((typed.epoch or 0) + 1, self._bar[1])
            case FitStarted(epochs=int(epochs)):
                self._bar = (0, epochs)
            case TrialEvent() if typed.trial:
                self._trials[int(typed.trial.get("number", 0))] = typed.trial
                self._now = ""
            case _:
                line = describe(event).strip()
                self._lines = [*self._lines, line][-LINES:] if line else self._lines
        is_important = isinstance(typed, (Stage, ImproveStarted, TrialEvent, VerdictGiven))
        self._show(now=is_important)

    def _progress(self, event: TrialProgress) -> None:
        if event.epoch is not None:
            self._now = f"trial {event.trial}, epoch {event.epoch + 1}  {numbers(event.metrics)}"

    def _show(self, *, now: bool) -> None:
        if not now and time.monotonic() - self._shown < REFRESH_S:
            return
        self._shown = time.monotonic()
        content = Fragment(self.html())
        # A display id lets later calls replace the fragment instead of adding one.
        if self._display is None:
            from IPython.display import display

            self._display = display(content, display_id=True)
        else:
            self._display.update(content)

    def html(self) -> str:
        """Return the present state as HTML."""
        parts = [
            f"<p style='margin:0 0 4px'><strong>{escaped(self._title)}</strong>"
            f" {escaped(self._now)}</p>"
        ]
        count, total = self._bar
        if total > 1:
            parts.append(meter(count / total))
        elif self._request and self._trials:
            parts.append(meter(max(self._trials) / max(1, int(self._request["trials"]))))
        parts += [f"<p style='margin:0;opacity:.75'>{escaped(line)}</p>" for line in self._lines]
        if self._trials:
            parts.append(
                trials_table([self._trials[n] for n in sorted(self._trials)], self._request)
            )
        return "<div>" + "".join(parts) + "</div>"

    def close(self) -> None:
        """Show the last state."""
        self._now = ""
        if self._display is not None:
            self._show(now=True)
