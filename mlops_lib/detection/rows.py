"""The catalog's rows, without what only building needs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def rows() -> tuple[dict[str, Any], ...]:
    """The rows of containers/catalog.toml."""
    from mlops_lib.images import catalog

    return catalog()
