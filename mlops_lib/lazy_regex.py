"""Regular expressions that are compiled when they are first used.

A module-level `re.compile` costs every command that imports the module: the expressions of detection
took 18 of the 47 ms of a short `mlops detect`, most of them for formats that the project at hand does
not have.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, AnyStr

_METHODS = ("match", "fullmatch", "search", "finditer", "findall", "sub", "subn", "split")


class _LazyPattern:
    """A stand-in for a compiled expression, which compiles it at the first method that is called."""

    def __init__(self, source: str | bytes, flags: int) -> None:
        self._source = source
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copying and pickling probe for these: they need no pattern
            raise AttributeError(name)
        pattern = re.compile(self._source, self._flags)
        # From now on the methods are the instance's own: as fast as those of the pattern itself.
        self.__dict__.update({method: getattr(pattern, method) for method in _METHODS})
        return getattr(pattern, name)


def lazy_regex(source: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return an expression with the methods of `re.Pattern`, compiled at their first use.

    A wrong expression is noticed then too, so every one needs a test that uses it.

    Example:
        >>> number = lazy_regex(r"[0-9]+")
        >>> number.sub("n", "3 of 10")
        'n of n'
    """
    return _LazyPattern(source, flags)  # type: ignore[return-value]
