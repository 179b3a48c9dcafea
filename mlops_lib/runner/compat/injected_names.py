"""Names that translated sources import: Python 2's built-ins and its division."""

from typing import Any

from mlops_lib.runner.compat import source


def __getattr__(name: str) -> Any:
    if name in source.LENT:
        return source.LENT[name]
    raise AttributeError(name)
