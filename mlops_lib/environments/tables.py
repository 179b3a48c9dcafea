"""Tables of requirements that no longer install, and their replacements."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mlops_lib import catalog
from mlops_lib.project import toml


@cache
def tables() -> Mapping[str, Any]:
    """Return the contents of containers/requirements.toml."""
    return read_toml(Path(catalog.FOLDER, "requirements.toml"))


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of this package."""
    return toml.parse(path.read_text(encoding="utf-8"))


@cache
def only_wheels(python: str = "3.11") -> tuple[str, ...]:
    """Return the distributions that are never built from source.

    They contain compiled code and have wheels, so that an installer that tries to build one has
    chosen a release that is too old.
    """
    facts = tables()
    return tuple(
        sorted(
            {*facts["wheels"].get(python, {}), *facts["compiled"]["also"]}
            - {*facts["compiled"]["never"]}
        )
    )
