"""The conditions under which a script runs, restored for later measurements.

A script reads `/data/test`, which the runner redirects to the pushed files; it changes the working
directory, sets environment variables, filters warnings and draws random numbers. A model that is
evaluated again after the script has ended needs the conditions of the script's own call. One
context manager, `Conditions.restored`, provides them.
"""

import contextlib
import os
import warnings
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from mlops_lib.runner.state import rng

Install = Callable[[], Callable[[], None]]
"""Activate something; return the function that undoes it."""


class Surroundings(NamedTuple):
    """Working directory, environment and warning filters of a call."""

    folder: str
    variables: Dict[str, str]
    filters: List[Any]


def surroundings() -> Surroundings:
    """Return the present working directory, environment and warning filters."""
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # the script removed the folder that it is in
        folder = ""
    return Surroundings(folder, dict(os.environ), list(warnings.filters))


class Conditions:
    """The conditions of one script."""

    def __init__(self) -> None:
        self._installs: List[Install] = []
        self._undo_steps: List[Callable[[], None]] = []
        self._last: Optional[Surroundings] = None
        self._random: Optional[Dict[str, Any]] = None

    def activate(self, install: Install) -> None:
        """Activate something until the script ends, and again in `restored`."""
        self._installs.append(install)
        self._undo_steps.append(install())

    def end(self) -> None:
        """Record the conditions at the script's end, and undo their activation."""
        try:
            self._last = surroundings()
            self._random = rng.capture()
        finally:
            self._undo_all()

    def _undo_all(self) -> None:
        while self._undo_steps:
            self._undo_steps.pop()()

    @contextlib.contextmanager
    def restored(self, at: Optional[Surroundings] = None) -> Iterator[None]:
        """Restore the script's conditions within the context.

        While the script runs, its conditions are active already; only the surroundings change then.

        Args:
            at: the surroundings of the call to repeat; by default those at the script's end.
        """
        before = surroundings()
        is_over = not self._undo_steps
        # The measurement must not advance the script's generators: the state is restored after it.
        random = self._random if is_over else rng.capture()
        if is_over:
            self._undo_steps += [install() for install in self._installs]
        try:
            with warnings.catch_warnings():
                _apply(at or self._last or before)
                if random is not None:
                    rng.restore(random)
                yield
        finally:
            _apply(before)
            if random is not None:
                rng.restore(random)
            if is_over:
                self._undo_all()


def _apply(target: Surroundings) -> None:
    for name in os.environ.keys() - target.variables.keys():
        del os.environ[name]
    for name, value in target.variables.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    warnings.resetwarnings()
    warnings.filters.extend(target.filters)  # type: ignore[attr-defined]
    # The folder may have been removed since.
    with contextlib.suppress(OSError):
        os.chdir(target.folder)
