"""The catalog's rows."""

from __future__ import annotations

from mlops_lib.catalog import CATALOG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def rows() -> tuple[dict[str, Any], ...]:
    """Return the rows of containers/catalog.toml."""
    from mlops_lib.project import toml

    with open(CATALOG, encoding="utf-8") as stream:
        return tuple(toml.parse(stream.read())["environment"])
