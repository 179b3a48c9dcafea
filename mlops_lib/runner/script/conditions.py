"""What a script runs under, lent again to whatever measures its model after its last line.

A script reads `/data/test`, which the runner redirects to the pushed files; it changes the working
directory, sets environment variables, filters warnings and draws random numbers. A model that is
evaluated again once the script is over has to find all of that as the script's own call found it:
one context manager, `Conditions.again`, gives it back.
"""

import contextlib
import os
import warnings
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from mlops_lib.runner.state import rng

Install = Callable[[], Callable[[], None]]
"""Puts something in force; returns the way back."""


class Surroundings(NamedTuple):
    """Where a call of the script was made."""

    folder: str
    variables: Dict[str, str]
    filters: List[Any]


def surroundings() -> Surroundings:
    """Return the working directory, the environment variables and the warning filters as they are
    now.
    """
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # the script removed the folder that it is in
        folder = ""
    return Surroundings(folder, dict(os.environ), list(warnings.filters))


class Conditions:
    """The conditions of one script."""

    def __init__(self) -> None:
        self._installs: List[Install] = []
        self._undo: List[Callable[[], None]] = []
        self._last: Optional[Surroundings] = None
        self._random: Optional[Dict[str, Any]] = None

    def lend(self, install: Install) -> None:
        """Put something in force until the script ends, and whenever its conditions are asked for
        again.
        """
        self._installs.append(install)
        self._undo.append(install())

    def end(self) -> None:
        """Note how the script leaves the process, and take back what was lent to it."""
        try:
            self._last = surroundings()
            self._random = rng.capture()
        finally:
            self._take_back()

    def _take_back(self) -> None:
        while self._undo:
            self._undo.pop()()

    @contextlib.contextmanager
    def again(self, at: Optional[Surroundings] = None) -> Iterator[None]:
        """Give back the script's conditions; does nothing while they are in force, except for the
        surroundings.

        Args:
            at: the surroundings of the call that is repeated; as the script left them if not given.
        """
        before = surroundings()
        is_over = not self._undo
        random = self._random if is_over else rng.capture()
        if is_over:
            self._undo += [install() for install in self._installs]
        try:
            with warnings.catch_warnings():
                _enter(at or self._last or before)
                if random is not None:
                    rng.restore(random)
                yield
        finally:
            _enter(before)
            if random is not None:
                rng.restore(random)
            if is_over:
                self._take_back()


def _enter(wanted: Surroundings) -> None:
    for name in os.environ.keys() - wanted.variables.keys():
        del os.environ[name]
    for name, value in wanted.variables.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    warnings.resetwarnings()
    warnings.filters.extend(wanted.filters)  # type: ignore[attr-defined]
    with contextlib.suppress(OSError):
        os.chdir(wanted.folder)
