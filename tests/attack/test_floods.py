"""What a container writes without end is read in bounded time and memory, and what matters of it is
kept.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlops_lib import atomic, event_log, run_directory
from mlops_lib.reporting.untrusted_files import Reader
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log, event_follower
from mlops_lib.tuning import second_pass

pytestmark = pytest.mark.attack

FLOOD_BYTES = 48 << 20
END = b'{"event":"end","exit_code":0,"pass":1}\n'
START = b'{"event":"start","entry":"train.py","pass":1}\n'
FLOODS = {
    "notes": b'{"event":"note"}\n',
    "epochs": b'{"event":"epoch","fit":1,"epoch":1,"metrics":{"a":1}}\n',
    "trials": b'{"event":"trial","trial":{"number":1,"state":"finished"}}\n',
    "lists": b'{"event":"note","a":[' + b"[]," * 300_000 + b"[]]}\n",
    "empty lines": b"\n",
    "nulls": b"\0" * 1000 + b"\n",
    "a line longer than any": b"x" * (1 << 20) + b"y\n",
}


def flooded(run_dir: Path, line: bytes) -> Path:
    """A run directory whose journal is full of one line."""
    (run_dir / "inside").mkdir(parents=True)
    block = line * max(1, (1 << 20) // len(line))
    with (run_dir / "inside" / "events.jsonl").open("wb") as file:
        file.write(START)
        for _ in range(FLOOD_BYTES // len(block)):
            file.write(block)
        file.write(END)
    return run_dir


READ = """
import json, resource, sys, time
from pathlib import Path
from mlops_lib import event_log, reporting
from mlops_lib.monitoring import status
from mlops_lib.run_directory import RunDirectory
from mlops_lib.training import attempt_log
from mlops_lib.tuning import second_pass
for place in sys.argv[1:]:
    run_dir, before = Path(place), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    events = event_log.events(run_dir)
    assert attempt_log.finished(RunDirectory(run_dir), 1) is not None
    status.standing(run_dir)
    second_pass._has_workers(run_dir, 1)
    page = reporting.report(run_dir)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps([events[0], events[1]["event"], events[-1]["event"], time.process_time() - began, grown]))
"""


def test_a_flood_of_events_costs_every_reader_little(tmp_path: Path) -> None:
    run_dirs = [flooded(tmp_path / kind, line) for kind, line in FLOODS.items()]
    done = subprocess.run(
        [sys.executable, "-c", READ, *run_dirs], capture_output=True, check=True, timeout=240
    )
    for kind, line in zip(FLOODS, done.stdout.splitlines(), strict=True):
        warning, first, last, seconds, grown = json.loads(line)
        assert (first, last) == ("start", "end"), f"{kind}: the beginning and the end were not kept"
        assert "too long" in warning["message"]
        assert seconds < 10, kind
        assert grown < 300, f"{kind}: {grown:.0f} MiB"


def test_what_a_live_reader_sees_of_a_flood_is_bounded_and_goes_on(tmp_path: Path) -> None:
    run_dir = flooded(tmp_path / "run", FLOODS["notes"])
    reader = event_log.Events(run_dir)
    assert len(reader.new()) <= 2 * atomic.END_LINES + 1
    assert reader.new() == []
    with (run_dir / "inside" / "events.jsonl").open("ab") as file:
        file.write(b'{"event":"epoch","fit":1,"epoch":7}\n{"event":"ep')
    assert [one["epoch"] for one in reader.new()] == [7]
    with (run_dir / "inside" / "events.jsonl").open("ab") as file:
        file.write(b'och","fit":1,"epoch":8}\n')
    assert [one["epoch"] for one in reader.new()] == [8], "a torn line is lost"


def test_an_ordinary_journal_is_read_whole_however_it_comes(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    (run_dir / "inside").mkdir(parents=True)
    line = '{"event": "epoch", "fit": 1, "epoch": %d, "metrics": {"loss": 0.5, "accuracy": 0.9}}\n'
    content = "".join(line % number for number in range(20_000)).encode()
    path, reader, seen = run_dir / "inside" / "events.jsonl", event_log.Events(run_dir), []
    with path.open("ab", buffering=0) as file:
        for start in range(0, len(content), 100_003):
            file.write(content[start : start + 100_003])
            seen += [one["epoch"] for one in reader.new()]
    assert seen == list(range(20_000)) == [one["epoch"] for one in event_log.events(run_dir)]
    assert len(list(Reader(run_dir).lines("inside/events.jsonl"))) == 20_000


def test_long_lines_between_short_ones_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"a\n" + b"x" * (3 << 20) + b"\nb\n" + b"y" * (1 << 20) + b"\nc\n")
    lines = atomic.Lines()
    with path.open("rb") as file:
        assert lines.new(file) == [b"a\n", b"b\n", b"c\n"]
        assert lines.new(file) == []


@pytest.mark.parametrize(
    "content", [b"[" + b"[]," * 4_000_000 + b"[]]", b"[" * 200_000, b'{"a":' * 100_000]
)
def test_a_small_file_of_many_values_is_not_built(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"values|nested|larger|JSON|Expecting"):
        atomic.read_json(path)
    assert time.monotonic() - began < 5


def test_a_search_that_claims_very_many_trials_is_read_in_part(tmp_path: Path) -> None:
    place = tmp_path / "inside" / "search" / "result.json"
    place.parent.mkdir(parents=True)
    claim = {
        "schema": 1,
        "metric": "accuracy",
        "mode": "max",
        "selection": "disjoint",
        "fit": 1,
        "winner": 0,
        "score": 0.5,
        "stopped": "trials",
        "trials": [{"number": number, "curve": [0.5]} for number in range(40_000)],
    }
    place.write_text(json.dumps(claim))
    began = time.process_time()
    found = second_pass.read(tmp_path)
    assert time.process_time() - began < 10
    assert found is not None
    assert [one.number for one in found.trials] == list(range(run_directory.CLAIMED_ITEMS))
    place.write_text(json.dumps({**claim, "trials": [{"number": 1, "curve": [0.5] * 500_000}]}))
    assert second_pass.read(tmp_path) is None


def test_a_folder_of_very_many_trials_is_looked_at_in_part(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "inside" / "search" / "trials"
    folder.mkdir(parents=True)
    for number in range(30_000):
        os.close(os.open(folder / f"{number}.json", os.O_CREAT | os.O_WRONLY))
    assert len(Reader(tmp_path / "run").numbers_in("inside/search/trials", limit=500)) == 500


def test_a_loss_that_comes_and_goes_fills_no_record_of_the_hosts(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    (run_dir / "inside").mkdir(parents=True)
    with (run_dir / "inside" / "events.jsonl").open("w") as file:
        for number in range(3000):
            metrics = {"loss": "nan" if number % 2 else 1.0}
            file.write(
                json.dumps({"event": "epoch", "fit": 1, "epoch": number, "metrics": metrics}) + "\n"
            )
    seen: list[dict[str, object]] = []
    journal = attempt_log.AttemptJournal(run_dir, seen.append)
    event_follower.EventFollower(run_dir, journal=journal, observer=seen.append).read()
    written = event_log.read_lines(run_dir / protocol.ATTEMPTS)
    assert 0 < len(written) <= event_follower.MOST_FITS
    assert sum(one["event"] == "epoch" for one in seen) == 3000
