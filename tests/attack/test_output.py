"""A script that prints without end fills no disk, and its first and last words are kept."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mlops_lib import atomic, run_directory
from mlops_lib.engine import logs

pytestmark = pytest.mark.attack
MIB = 1 << 20


class Printing:
    """A container as the SDK shows it, whose output is given."""

    def __init__(self, label: dict[str, str], blocks: Iterable[bytes]) -> None:
        self.labels, self._blocks = label, blocks

    def logs(self, **_: Any) -> Iterable[bytes]:
        return iter(self._blocks)


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_output_without_end_keeps_its_ends(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"an earlier attempt\n")
    block = b"x" * (MIB - 1) + b"\n"
    blocks = [b"first words\n", *[block] * 160, b"last words\n"]
    label = logs.labels(str(path))
    for _ in range(2):  # a program that takes over writes the same again
        logs.copy(Printing(label, blocks), follow=True)
        assert allocated(path) < 90 * MIB
        with path.open("rb") as file:
            assert file.read(31) == b"an earlier attempt\nfirst words\n"
        assert run_directory.log_tail(tmp_path, start=19).endswith("last words\n")


def test_the_engine_keeps_a_bounded_log_of_its_own() -> None:
    from mlops_lib.engine.docker_cage import cage
    from mlops_lib.records import Limits

    config = cage(Limits())["log_config"]
    assert config.config["max-size"].endswith("m")
    assert int(config.config["max-file"]) <= 3


def test_a_process_that_prints_without_end_is_bounded_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(atomic.__file__).parents[1]))
    folder, log = tmp_path / "container", tmp_path / "log.txt"
    folder.mkdir()
    script = "import os, time\nfor _ in range(200): os.write(1, b'y' * (1 << 20))\nprint('done', flush=True)\ntime.sleep(60)"
    order = {
        "log": str(log),
        "command": [sys.executable, "-c", script],
        "variables": dict(os.environ),
    }
    atomic.write_json(folder / "container.json", order)
    subprocess.run(
        [sys.executable, "-S", "-m", "mlops_lib.engine.supervisor", str(folder)],
        check=True,
        cwd=folder,
    )
    deadline = time.monotonic() + 60
    # The command returns once the supervisor runs, which may be before the script was started.
    while not (folder / "child.json").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child = atomic.read_json(folder / "child.json")["pid"]
    try:
        while log.stat().st_size < 200 * MIB or allocated(log) > 90 * MIB:
            assert time.monotonic() < deadline, allocated(log)
            time.sleep(0.05)
        while not run_directory.log_tail(tmp_path).endswith("done\n"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(child, 9)
