"""Checkpoints on disk: two generations, checked; files kept by content; the pace."""

from __future__ import annotations

import errno
import functools
import io
import os
import resource
import signal
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops_lib.runner.journal import Journal
from mlops_lib.runner.keras import fit_state
from mlops_lib.runner.script import workdir
from mlops_lib.runner.state import atomic, checkpoint, objects, retention


def state(number: int, copies: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "number": number,
        "weights": np.arange(1000, dtype="float32") + number,
        "files": copies or {"kept": {}, "gone": [], "folders": []},
    }


@pytest.fixture
def store(tmp_path: Path) -> checkpoint.Store:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "given.txt").write_text("given")
    return checkpoint.Store(str(tmp_path / "fits" / "1"), str(tmp_path / "work"))


@pytest.fixture
def small_files() -> Iterator[int]:
    """Limit the size of files, which simulates a full disk."""
    most = 20_000
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    yield most
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def newest(store: checkpoint.Store) -> Path:
    return max(Path(store.folder).glob("state.*"), key=lambda path: path.stat().st_mtime_ns)


def test_the_newest_generation_is_read(store: checkpoint.Store) -> None:
    for number in (1, 2, 3):
        store.write(state(number))
    generations = store.load()
    assert generations is not None
    assert generations["number"] == 3
    np.testing.assert_array_equal(generations["weights"], np.arange(1000, dtype="float32") + 3)


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "remove"])
def test_damaged_generation_falls_back_to_the_previous_one(
    store: checkpoint.Store, damage: str
) -> None:
    for number in (1, 2):
        store.write(state(number))
    path = newest(store)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"truncate": content[: len(content) // 2], "flip": content, "empty": b""}
    path.write_bytes(damaged[damage]) if damage in damaged else path.unlink()
    generations = store.load()
    assert generations is not None
    assert generations["number"] == 1


def test_killed_write_leaves_no_temporary_files(store: checkpoint.Store) -> None:
    store.write(state(1))
    litter = Path(store.folder) / f"{atomic.TEMPORARY}abc"
    litter.write_bytes(b"half")
    store.write(state(2))
    assert not litter.exists()


def test_write_error_keeps_the_generations(store: checkpoint.Store, small_files: int) -> None:
    store.write(state(1))
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        store.write({**state(2), "weights": np.zeros(small_files, dtype="float32")})
    generations = store.load()
    assert generations is not None
    assert generations["number"] == 1
    assert not list(Path(store.folder).glob(f"{atomic.TEMPORARY}*"))


def test_writer_reports_a_write_error_once(
    store: checkpoint.Store, small_files: int, tmp_path: Path
) -> None:
    journal = Journal(str(tmp_path / "inside"), number_of_pass=1, attempt=1, strict=True)
    writer = checkpoint.Writer(journal)
    sizes: list[int] = []
    for number in (1, 2):
        large = {**state(number), "weights": np.zeros(small_files, dtype="float32")}
        writer.submit(store, large, lambda size, seconds: sizes.append(size))
    writer.wait()
    assert sizes == [0, 0]
    assert [event["event"] for event in journal.events()] == ["warning"]


def test_files_are_restored_unchanged(store: checkpoint.Store) -> None:
    work = Path(store.work)
    (work / "log.txt").write_text("one\n")
    (work / "empty").mkdir()
    (work / "given.txt").unlink()
    store.write(state(1, store.snapshot_files()))
    (work / "log.txt").write_text("one\ntwo\n")
    store.write(state(2, store.snapshot_files()))

    workdir.discard(str(work))
    work.mkdir()
    (work / "given.txt").write_text("given")
    again = checkpoint.Store(store.folder, store.work)
    loaded = again.load()
    assert loaded is not None
    again.restore_files(loaded["files"])
    assert (work / "log.txt").read_text() == "one\ntwo\n"
    assert (work / "empty").is_dir()
    assert not (work / "given.txt").exists()


def test_missing_file_copy_falls_back_to_the_previous_generation(store: checkpoint.Store) -> None:
    work = Path(store.work)
    for number in (1, 2):
        (work / "log.txt").write_text(f"{number}\n")
        store.write(state(number, store.snapshot_files()))
    files = store.load()
    assert files is not None
    (Path(store.folder) / "files" / files["files"]["kept"]["log.txt"]).write_text("spoiled")
    loaded = store.load()
    assert loaded is not None
    assert loaded["number"] == 1


def finished(tmp_path: Path, number: int) -> checkpoint.Store:
    """A fit of two generations, each with a file of its own."""
    store = checkpoint.Store(str(tmp_path / "fits" / str(number)), str(tmp_path / "work"))
    for generation in (1, 2):
        (tmp_path / "work" / "written.bin").write_bytes(bytes([number, generation]) * 5000)
        store.write(state(generation, store.snapshot_files()))
    return store


def test_finished_fits_keep_the_state_for_their_restoration(
    store: checkpoint.Store, tmp_path: Path
) -> None:
    journal = Journal(str(tmp_path / "inside"), number_of_pass=1, attempt=1)
    fits = retention.FinishedFits(journal, 1 << 30)
    first, second = finished(tmp_path, 1), finished(tmp_path, 2)
    both = first.bytes()
    fits.add(first, 10.0)
    assert first.bytes() == both, "the newest keeps the generation before"
    fits.add(second, 10.0)
    assert first.bytes() < 0.6 * both
    loaded = checkpoint.Store(first.folder, first.work).load()
    assert loaded is not None
    assert loaded["number"] == 2
    assert not list(journal.events())


def test_finished_fits_are_dropped_by_training_time_per_byte(
    store: checkpoint.Store, tmp_path: Path
) -> None:
    journal = Journal(str(tmp_path / "inside"), number_of_pass=1, attempt=1)
    stores = [finished(tmp_path, number) for number in (1, 2, 3)]
    fits = retention.FinishedFits(journal, stores[0].bytes() * 3 // 2 + 100)
    for one, seconds in zip(stores, (30.0, 1.0, 0.1), strict=True):
        fits.add(one, seconds)
    assert [checkpoint.Store(one.folder, one.work).load() is not None for one in stores] == [
        True,
        False,
        True,
    ]
    assert [event["event"] for event in journal.events()] == ["warning"]


def test_open_files_are_flushed_however_they_were_opened(tmp_path: Path) -> None:
    undo = workdir.install_copy_on_write(str(tmp_path / "project"))
    try:
        with (tmp_path / "text.log").open("w") as text, (tmp_path / "bytes").open("wb") as binary:
            text.write("said")
            assert text in fit_state.flush_handles(str(tmp_path))
            assert (tmp_path / "text.log").read_text() == "said"
            around = io.TextIOWrapper(binary, write_through=False)
            around.write("packed")
            fit_state.flush_handles(str(tmp_path))
            assert (tmp_path / "bytes").read_text() == "packed"
    finally:
        undo()


def test_checkpoints_stay_within_their_time_budget() -> None:
    pace = checkpoint.Pace(0.02, 30.0)
    assert pace.is_due()
    assert not pace.is_due(within_epoch=True)
    pace.record_write(1.0)
    assert not pace.is_due()
    pace.record_write(0.0)
    pace.add_background(100.0)
    assert not pace.is_due()


class Callback:
    """A callback with state in an attribute, a shared list, a closure and a global."""

    def __init__(self, shared: list[int]) -> None:
        self.shared = shared
        self.count = 0
        self.act = _counting(self)
        self.later = functools.partial(self.act, 1)


def _counting(owner: Callback) -> Any:
    total, recent = 0, deque([0], maxlen=3)

    def act(step: int) -> tuple[int, list[int]]:
        nonlocal total
        total += step
        recent.append(total)
        owner.count += 1
        owner.shared.append(total)
        return total, list(recent)

    act.__module__ = "__main__"
    return act


def test_attributes_and_closures_are_restored_in_place() -> None:
    first, second = Callback([]), Callback([])
    first.act(2)
    first.act(3)
    values, failed = objects.capture(objects.find_places([("one", first)]), {})
    assert failed == []
    shared = second.shared
    assert objects.restore(objects.find_places([("one", second)]), values) == []
    assert second.shared is shared
    assert shared == [2, 5]
    assert second.later() == first.later()
    assert second.count == 3


def test_large_arrays_are_stored_only_if_changed() -> None:
    callback = Callback([])
    callback.table = np.zeros(objects.LARGE_BYTES)  # type: ignore[attr-defined]
    places = objects.find_places([("one", callback)])
    marks = objects.checksums(places)
    assert "one.table" not in objects.capture(places, marks)[0]
    callback.table[3] = 1  # type: ignore[attr-defined]
    assert "one.table" in objects.capture(places, marks)[0]


def test_values_that_cannot_be_stored_are_reported() -> None:
    callback = Callback([])
    callback.generator = (i for i in range(3))  # type: ignore[attr-defined]
    assert objects.capture(objects.find_places([("one", callback)]), {})[1] == ["one.generator"]
