"""Names and messages from a push move no cursor, begin no line and break no file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mlops_lib import run_directory
from mlops_lib.ci import artifacts, builds
from mlops_lib.display import terminal
from mlops_lib.errors import UsageError
from mlops_lib.formatting import one_line, printable
from mlops_lib.records import Environment, Image, RunSpec, Verdict

pytestmark = [pytest.mark.attack, pytest.mark.timeout(120)]

HOSTILE = "a\x1b]0;title\x07\x1b[2J\x9b31m\u202egro.\u2066\x00\r\nmlops: accepted\x7f\u200f\ufffe"
NAME = HOSTILE.replace("\x00", "").replace("/", "")
"""As a file may be named."""


def is_clean(text: str, *, lines: int | None = None) -> bool:
    shown = text.splitlines()
    return all(one.isprintable() for one in shown) and (lines is None or len(shown) == lines)


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-m", "mlops_lib", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(cwd), "COLUMNS": "500"},
        timeout=60,
    )


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A project whose folder, script, data and requirements have such names."""
    project = tmp_path / NAME
    project.mkdir()
    reads = f"import pandas\npandas.read_csv({HOSTILE!r})\n"
    (project / f"{NAME}.py").write_text(
        "from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n" + reads
    )
    (project / "requirements.txt").write_text(f"numpy\n{HOSTILE}\n-r {HOSTILE}\n")
    return project


def test_names_reach_the_terminal_as_they_look(hostile: Path, tmp_path: Path) -> None:
    for words in (
        ["detect", str(hostile)],
        ["detect", str(hostile), "--entry", HOSTILE.replace("\x00", "")],
        ["config", str(hostile)],
        ["detect", str(hostile / "missing")],
        ["report", str(hostile), "--artifacts", str(hostile / "r" / NAME)],
    ):
        done = command(*words, cwd=tmp_path)
        assert "Traceback" not in done.stderr
        assert is_clean(done.stdout), done.stdout
        assert is_clean(done.stderr), done.stderr
        assert "\nmlops: accepted" not in done.stdout + done.stderr
    (hostile / "mlops.toml").write_text(f"[{json.dumps(HOSTILE)}]\n")
    done = command("config", str(hostile), cwd=tmp_path)
    assert done.returncode == 2
    assert is_clean(done.stderr)


def test_an_error_and_an_event_are_clean() -> None:
    error = UsageError(HOSTILE, where=HOSTILE, remedy=HOSTILE)
    assert is_clean(str(error))
    assert "\nmlops" not in str(UsageError("x", where=HOSTILE))
    events = [
        {"event": "warning", "message": HOSTILE},
        {"event": "decision", "do": HOSTILE, "why": HOSTILE},
        {"event": "fit", "fit": HOSTILE, "model": HOSTILE, "state": HOSTILE},
        {"event": "epoch", "fit": 1, "epoch": 1, "metrics": {HOSTILE: 1.0}},
        {"event": "stage", "stage": HOSTILE},
        {"event": "trial", "trial": {"number": 1, "state": HOSTILE, "edits": [HOSTILE]}},
        {"event": "hook_error", "hook": HOSTILE, "message": HOSTILE},
        {"event": "line", "line": HOSTILE},
    ]
    for event in events:
        assert is_clean(terminal.describe(event), lines=1 if terminal.describe(event) else 0), event
    assert (one_line("a\nb"), printable("a\nb"), printable("plain ü ☃")) == (
        "a b",
        "a\nb",
        "plain ü ☃",
    )


def test_a_test_report_is_well_formed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir, build = tmp_path / "run", tmp_path / "build"
    build.mkdir()
    monkeypatch.setenv("MLOPS_BUILD", str(build))
    builds.record_stage("detect", exit_code=3, seconds=0.1, what=HOSTILE)
    image = Image(tag="x", environment=Environment(name="x", framework="sklearn", family="linear"))
    spec = RunSpec(
        digest="d" * 64,
        name=HOSTILE,
        project=HOSTILE,
        entry=HOSTILE,
        backend="process",
        image=image,
    )
    run_directory.write_spec(run_dir, spec)
    verdict = Verdict(verdict="rejected", metric=HOSTILE, value=0.5, target=0.8, reasons=(HOSTILE,))
    (run_dir / "verdict.json").write_text(json.dumps(verdict.to_json()))
    path = artifacts.write_junit(run_dir, tmp_path / "junit.xml")
    suite = ElementTree.parse(path).getroot()
    assert is_clean(str(suite.get("name")), lines=1)
    for case in suite:
        assert is_clean(str(case.get("name")) + str(case.get("classname")), lines=1)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "words", ["detect . --json", "config", "runs --json", "nonsense", "detect missing"]
)
def test_closed_streams_are_no_fault(closed: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n"
    )
    line = f"{sys.executable} -I -m mlops_lib {words}"
    environ = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    expected = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=environ, capture_output=True, check=False
    ).returncode
    done = subprocess.run(
        ["sh", "-c", f"{line} {closed}"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        check=False,
    )
    assert done.returncode == expected
    assert list(tmp_path.glob("mlops-bug-*")) == []


def test_a_reader_that_leaves_is_no_fault(tmp_path: Path) -> None:
    line = f"{sys.executable} -I -m mlops_lib config --json | true; {sys.executable} -I -m mlops_lib config | head -1"
    environ = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert "bug" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert list(tmp_path.glob("mlops-bug-*")) == []


def test_an_answer_of_many_lines_keeps_them(hostile: Path, tmp_path: Path) -> None:
    (hostile / "requirements.txt").unlink()
    done = command(
        "build",
        str(hostile),
        "--print",
        "--backend",
        "process",
        "--home",
        str(tmp_path / "home"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 10
    assert is_clean(done.stdout)
