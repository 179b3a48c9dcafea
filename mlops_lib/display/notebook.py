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
from mlops_lib.runner import protocol

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
        self._asked: Mapping[str, Any] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        """Take in an event, and update the output."""
        kind = event.get("event")
        if kind == protocol.EVENT_PROGRESS:
            self._progress(event)
        elif kind == protocol.EVENT_IMPROVE:
            self._asked = event
            self._title = f"Improving {event['model']}"
        elif kind == protocol.EVENT_STAGE:
            self._title = str(event["stage"])
            self._now = ""
            self._bar = (0, 0)
        elif kind == protocol.EVENT_EPOCH:
            self._now = describe(event).strip()
            self._bar = (int(event.get("epoch") or 0) + 1, self._bar[1])
        elif kind == protocol.EVENT_FIT and isinstance(event.get("epochs"), int):
            self._bar = (0, event["epochs"])
        elif kind == protocol.EVENT_TRIAL and isinstance(event.get("trial"), dict):
            self._trials[int(event["trial"].get("number", 0))] = event["trial"]
            self._now = ""
        elif line := describe(event).strip():
            self._lines = [*self._lines, line][-LINES:]
        self._show(
            now=kind
            in (
                protocol.EVENT_STAGE,
                protocol.EVENT_IMPROVE,
                protocol.EVENT_TRIAL,
                protocol.EVENT_VERDICT,
            )
        )

    def _progress(self, event: Mapping[str, Any]) -> None:
        if event.get("epoch") is not None:
            self._now = (
                f"trial {event.get('trial')}, epoch {int(event['epoch']) + 1} "
                f" {numbers(event.get('metrics'))}"
            )

    def _show(self, *, now: bool) -> None:
        if not now and time.monotonic() - self._shown < REFRESH_S:
            return
        self._shown = time.monotonic()
        content = Fragment(self.html())
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
        done, total = self._bar
        if total > 1:
            parts.append(meter(done / total))
        elif self._asked and self._trials:
            parts.append(meter(max(self._trials) / max(1, int(self._asked["trials"]))))
        parts += [f"<p style='margin:0;opacity:.75'>{escaped(line)}</p>" for line in self._lines]
        if self._trials:
            parts.append(trials_table([self._trials[n] for n in sorted(self._trials)], self._asked))
        return "<div>" + "".join(parts) + "</div>"

    def close(self) -> None:
        """Show the last state."""
        self._now = ""
        if self._display is not None:
            self._show(now=True)
