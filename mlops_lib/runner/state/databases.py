"""SQLite databases, copied and restored by SQLite itself.

A tracker's database (MLflow, Optuna, Aim) is open in this process, often in another thread. A plain
copy could contain half a transaction, and writing over the file shows an open connection an empty
database for a moment. SQLite's backup does both under the database's own locks
(https://www.sqlite.org/backup.html).
"""

import contextlib
import os
from typing import Any, Iterator

MAGIC = b"SQLite format 3\x00"
COMPANIONS = ("-journal", "-wal", "-shm")
"""Suffixes of the files with a database's running transactions; SQLite's own copy needs none of
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
    ending = next((suffix for suffix in COMPANIONS if path.endswith(suffix)), "")
    return bool(ending) and is_database(path[: -len(ending)])


def copy(source: str, target: str) -> bool:
    """Copy one database over another, which may be in use.

    Args:
        source: a SQLite database.
        target: created if it does not exist.

    Returns:
        whether SQLite succeeded; if not, `target` is unchanged.
    """
    try:
        import sqlite3
    except ImportError:  # a Python without it
        return False
    try:
        with _connection(sqlite3, source) as source_database, _connection(
            sqlite3, target
        ) as target_database:
            source_database.backup(target_database)
    except sqlite3.Error:
        return False
    return True


@contextlib.contextmanager
def _connection(sqlite3: Any, path: str) -> Iterator[Any]:
    connection = sqlite3.connect(os.path.abspath(path), timeout=BUSY_S)
    try:
        yield connection
    finally:
        connection.close()
