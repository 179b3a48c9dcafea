"""The documentation is true: its Python runs, its commands parse, its tutorial ends as it says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from mlops_lib.cli import grammar, verbs

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """Code on a page."""

    language: str
    title: str
    code: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in FENCE.findall(page.read_text())]


def commands(page: Path) -> list[list[str]]:
    """The words of every `mlops` command in the page's shell blocks."""
    lines = [
        line for block in blocks(page) if block.language == "sh" for line in block.code.splitlines()
    ]
    inner = [re.sub(r"^source <\((.*)\)$", r"\1", line) for line in lines]
    return [shlex.split(line, comments=True)[1:] for line in inner if line.startswith("mlops ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_parses(page: Path) -> None:
    for words in commands(page):
        kept = words[: words.index(">")] if ">" in words else words
        assert grammar.parse(kept)["verb"] in verbs.VERBS


def test_the_pages_name_every_verb() -> None:
    listed = (ROOT / "docs" / "cli.md").read_text()
    assert [verb for verb in verbs.VERBS if f"| `{verb}`" not in listed] == []


def environment(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "BUILD_"))}
    return {
        **kept,
        "MLOPS_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "BROWSER": "true",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if any(b.language == "python" and not b.title for b in blocks(p))],
    ids=lambda page: page.name,
)
def test_python_on_a_page_runs(page: Path, tmp_path: Path) -> None:
    """All blocks of a page are one program, run beside the samples."""
    if "mlops.run(" in page.read_text():
        shutil.copytree(ROOT / "model_repo", tmp_path / "model_repo")
    code = "\n".join(
        block.code for block in blocks(page) if block.language == "python" and not block.title
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment(tmp_path / "home"),
        timeout=550,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.docker
def test_the_tutorial_ends_as_it_says(tmp_path: Path) -> None:
    page = ROOT / "docs" / "tutorial.md"
    said = []
    for block in blocks(page):
        if block.title:
            (tmp_path / block.title).parent.mkdir(exist_ok=True)
            (tmp_path / block.title).write_text(block.code)
        for line in block.code.splitlines() if block.language == "sh" else ():
            done = subprocess.run(
                [sys.executable, "-m", "mlops_lib", *shlex.split(line)[1:]],
                capture_output=True,
                text=True,
                check=False,
                cwd=tmp_path,
                env=environment(tmp_path / "home"),
                timeout=550,
            )
            assert done.returncode == 0, (line, done.stderr[-3000:])
            said.append(done.stdout)
    assert said[1].startswith("accepted: accuracy 0.9")
    assert "identical; accuracy 0.9" in said[-1]
