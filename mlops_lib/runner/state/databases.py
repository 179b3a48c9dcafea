"""SQLite databases, copied and put back by SQLite itself.

A tracker's database (MLflow, Optuna, Aim) is open in this process, often in a thread of its own. A
plain copy could hold half a transaction, and writing over the file under an open connection shows
it an empty database for a moment. SQLite's backup does both under the database's own locks
(https://www.sqlite.org/backup.html).
"""

import contextlib
import os
from typing import Any, Iterator

MAGIC = b"SQLite format 3\x00"
COMPANIONS = ("-journal", "-wal", "-shm")
"""Files beside a database that say what is under way in it; a copy made by SQLite needs none of
them.
"""
BUSY_S = 5.0


def is_database(path: str) -> bool:
    """Return whether the file is a SQLite database."""
    try:
        with open(path, "rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def is_companion(path: str) -> bool:
    """Return whether the file belongs to a SQLite database beside it."""
    ending = next((one for one in COMPANIONS if path.endswith(one)), "")
    return bool(ending) and is_database(path[: -len(ending)])


def copy(source: str, target: str) -> bool:
    """Copy one database over another, which may be in use.

    Args:
        source: a SQLite database.
        target: made if it does not exist.

    Returns:
        whether SQLite did it; if not, `target` is as it was.
    """
    try:
        import sqlite3
    except ImportError:  # a Python without it
        return False
    try:
        with _opened(sqlite3, source) as read, _opened(sqlite3, target) as written:
            read.backup(written)
    except sqlite3.Error:
        return False
    return True


@contextlib.contextmanager
def _opened(sqlite3: Any, path: str) -> Iterator[Any]:
    connection = sqlite3.connect(os.path.abspath(path), timeout=BUSY_S)
    try:
        yield connection
    finally:
        connection.close()
