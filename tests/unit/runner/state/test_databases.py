"""`runner.state.databases`: SQLite databases are copied by SQLite itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from mlops_lib.runner.state import databases


def make(path: Path, *values: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("create table if not exists t (n integer)")
    connection.executemany("insert into t values (?)", [(value,) for value in values])
    connection.commit()
    return connection


def values(path: Path) -> list[int]:
    connection = sqlite3.connect(path)
    try:
        return [row[0] for row in connection.execute("select n from t order by n")]
    finally:
        connection.close()


def test_databases_and_their_companions_are_known_by_content(tmp_path: Path) -> None:
    make(tmp_path / "mlflow.db", 1).close()
    (tmp_path / "mlflow.db-wal").touch()
    (tmp_path / "notes.db").write_text("no database")
    (tmp_path / "notes.db-wal").touch()
    assert databases.is_database(str(tmp_path / "mlflow.db"))
    assert databases.is_companion(str(tmp_path / "mlflow.db-wal"))
    assert not databases.is_database(str(tmp_path / "notes.db"))
    assert not databases.is_companion(str(tmp_path / "notes.db-wal"))
    assert not databases.is_companion(str(tmp_path / "mlflow.db"))
    assert not databases.is_database(str(tmp_path / "missing.db"))


def test_a_copy_has_what_was_committed_and_no_half_transaction(tmp_path: Path) -> None:
    writer = make(tmp_path / "a.db", 1, 2)
    writer.execute("insert into t values (3)")  # not committed
    assert databases.copy(str(tmp_path / "a.db"), str(tmp_path / "b.db"))
    assert values(tmp_path / "b.db") == [1, 2]
    writer.close()


def test_an_open_connection_sees_the_restored_rows(tmp_path: Path) -> None:
    make(tmp_path / "kept.db", 1).close()
    user = make(tmp_path / "used.db", 1, 2, 3)
    assert databases.copy(str(tmp_path / "kept.db"), str(tmp_path / "used.db"))
    assert user.execute("select n from t").fetchall() == [(1,)]
    user.close()


def test_what_is_no_database_leaves_the_target_alone(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_bytes(databases.MAGIC + b"broken" * 100)
    make(tmp_path / "good.db", 7).close()
    assert not databases.copy(str(tmp_path / "bad.db"), str(tmp_path / "good.db"))
    assert values(tmp_path / "good.db") == [7]
