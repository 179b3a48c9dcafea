"""Judged examples beside the training examples that they copy.

Pictures, rows and texts are claims of the runner.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_lib import atomic
from mlops_lib.reporting.misclassified import picture
from mlops_lib.reporting.untrusted_files import count, text
from mlops_lib.runner import protocol

SHOWN = 12
VALUES = 12
LIMIT = 2 * 1024 * 1024
"""Most bytes read of the file."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One example of a pair; only one of the three fields is set."""

    png: bytes = b""
    row: tuple[tuple[str, str], ...] = ()
    text: str = ""

    @property
    def address(self) -> str:
        """The picture as a `data:` address, for the single-file page."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A judged example and the training example that it copies."""

    kind: str
    judged_index: int
    trained_index: int
    judged: Side
    trained: Side | None
    """None if the runner did not keep it."""


def pairs(run_dir: Path) -> tuple[Pair, ...]:
    """Return the valid pairs of `inside/leaks.json`; empty if there is no valid file."""
    inside = run_dir / protocol.INSIDE
    try:
        claim = atomic.read_json(inside / protocol.LEAKS, inside=inside, limit=LIMIT)
    except (OSError, ValueError):
        return ()
    entries = claim.get("pairs") if isinstance(claim, dict) else None
    parsed = [_pair(pair) for pair in entries[:SHOWN]] if isinstance(entries, list) else []
    return tuple(pair for pair in parsed if pair is not None)


def _pair(claim: Any) -> Pair | None:
    if not isinstance(claim, dict):
        return None
    judged_side = _side(claim.get("judged_example"))
    if judged_side is None:
        return None
    return Pair(
        kind=text(claim.get("kind"), limit=40),
        judged_index=count(claim.get("judged")) or 0,
        trained_index=count(claim.get("trained")) or 0,
        judged=judged_side,
        trained=_side(claim.get("trained_example")),
    )


def _side(claim: Any) -> Side | None:
    if not isinstance(claim, dict):
        return None
    if isinstance(claim.get("text"), str):
        return Side(text=text(claim["text"], limit=200))
    row = claim.get("row")
    if isinstance(row, dict):
        cells = list(row.items())[:VALUES]
        return Side(
            row=tuple((text(name, limit=40), text(value, limit=40)) for name, value in cells)
        )
    png = picture(claim)
    return None if png is None else Side(png=png)
