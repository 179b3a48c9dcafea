"""TOML that a stranger wrote, parsed in bounded time."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DOTS_LIMIT = 200
"""Dots in a line, outside of texts. A key of 60,000 parts takes `tomllib` minutes."""


def parse(text: str) -> dict[str, Any]:
    """Return the table.

    Raises:
        ValueError: it is not TOML, or nested too deeply.
    """
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib  # type: ignore[no-redef, unused-ignore]
    for number, line in enumerate(text.splitlines(), 1):
        if (
            line.count(".") > DOTS_LIMIT
            and re.sub(r"\"[^\"]*\"|'[^']*'", "", line).count(".") > DOTS_LIMIT
        ):
            raise ValueError(f"it is nested too deeply (at line {number})")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
