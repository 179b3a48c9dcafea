"""What virtual environments have in common is stored once, and each stays its own."""

from __future__ import annotations

from pathlib import Path

from mlops_lib.engine import shared_files

LARGE = b"x" * shared_files.LEAST_BYTES


def environment(folder: Path, **files: bytes) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_equal_files_are_one_file_until_one_is_replaced(tmp_path: Path) -> None:
    store = tmp_path / shared_files.STORE
    first = environment(tmp_path / "first", same=LARGE, small=b"small", own=LARGE + b"1")
    second = environment(tmp_path / "second", same=LARGE, small=b"small", own=LARGE + b"2")
    (second / "program").write_bytes(LARGE)
    (second / "program").chmod(0o755)
    assert shared_files.share(first, store) == 0
    assert shared_files.share(second, store) == len(LARGE)
    assert (first / "same").samefile(second / "same")
    assert not (first / "small").samefile(second / "small")
    assert not (first / "same").samefile(second / "program"), "another mode is another file"
    assert [shared_files.own_bytes(second / name) for name in ("same", "own")] == [
        0,
        len(LARGE) + 1,
    ]
    fresh = second / "fresh"
    fresh.write_bytes(b"an upgrade")
    fresh.replace(second / "same")
    assert (first / "same").read_bytes() == LARGE
    assert shared_files.share(second, store) == 0, "what is shared already is left alone"


def test_what_no_environment_has_leaves_the_store(tmp_path: Path) -> None:
    store = tmp_path / shared_files.STORE
    first = environment(tmp_path / "first", same=LARGE, own=LARGE + b"1")
    second = environment(tmp_path / "second", same=LARGE)
    shared_files.share(first, store)
    shared_files.share(second, store)
    (first / "own").unlink()
    (first / "same").unlink()
    assert shared_files.tidy(store) == len(LARGE) + 1
    assert (second / "same").read_bytes() == LARGE
    assert shared_files.tidy(store) == 0
