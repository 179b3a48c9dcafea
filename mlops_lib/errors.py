"""The errors a user can meet, and the exit code of each.

    MlopsError                     the problem, its place, and the remedy
    ├── UsageError            2    bad configuration or usage
    ├── DetectionError        3    no entry, several entries, a file that cannot be read as code
    │   └── RefusedFileError       a pushed file that is not read: a link out, a device, too large
    ├── ImageError            4    an environment that cannot be built
    ├── TrainingError         5    the script failed; the run is kept
    ├── EngineError           7    the container engine refused
    │   └── EngineLostError        it does not answer: it is not running, or was and may come back
    ├── SearchError           8    the search itself (not one of its trials) failed
    └── NotificationError     9    a message that could not be delivered

Exit codes 6 (rejected) and 10 (undecided) are answers, not errors, and 1 is an internal error.
"""

from __future__ import annotations

from mlops_lib.formatting import one_line, printable
from mlops_lib.runner import protocol


class MlopsError(Exception):
    """A problem that the user can understand and fix.

    Args:
        what: the problem, as one sentence without a trailing full stop.
        where: the file, line, setting or command it is about, or "" if there is no such place.
        remedy: the remedy, as one sentence.
    """

    exit_code = protocol.EXIT_BUG

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.answer: dict[str, str] = {}
        """The record that the verb produced in spite of the error."""
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        place = f"{one_line(self.where)}: " if self.where else ""
        remedy = f"\n  remedy: {printable(self.remedy)}" if self.remedy else ""
        return f"{place}{printable(self.what)}{remedy}"


class UsageError(MlopsError):
    """Bad configuration or usage."""

    exit_code = protocol.EXIT_USAGE


class DetectionError(MlopsError):
    """The project's code cannot be understood well enough to train it."""

    exit_code = protocol.EXIT_DETECTION


class RefusedFileError(DetectionError):
    """A file of the pushed project that the host does not read (mlops_lib.project.files).

    `reason` is one of `missing`, `outside`, `kind`, `large` and `unreadable`.
    """

    def __init__(self, what: str, *, reason: str, where: str = "", remedy: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.reason = reason


class ImageError(MlopsError):
    """The environment cannot be built. `log` holds the end of the build's output."""

    exit_code = protocol.EXIT_IMAGE

    def __init__(self, what: str, *, where: str = "", remedy: str = "", log: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.log = log


class TrainingError(MlopsError):
    """The script failed. `log` holds the end of its own output, its traceback included."""

    exit_code = protocol.EXIT_TRAINING

    def __init__(self, what: str, *, where: str = "", remedy: str = "", log: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.log = log


class EngineError(MlopsError):
    """The container engine does not answer, or refused the request."""

    exit_code = protocol.EXIT_ENGINE


class EngineLostError(EngineError):
    """The container engine does not answer.

    Its containers may still be running, and a later attempt may succeed.
    """


class SearchError(MlopsError):
    """The search itself failed; a failed trial is not an error but a record."""

    exit_code = protocol.EXIT_SEARCH


class NotificationError(MlopsError):
    """A message could not be delivered."""

    exit_code = protocol.EXIT_NOTIFICATION
