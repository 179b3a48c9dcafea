"""`runner.script.ipython_syntax`: cells of notebooks as Python, line by line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mlops_lib.runner.script import ipython_syntax


def run(cell: str) -> dict[str, Any]:
    """Run a cell as a notebook's; returns its names."""
    names: dict[str, Any] = {}
    shell = ipython_syntax.Shell(names, compile)
    names[ipython_syntax.NAME] = lambda: shell
    exec(compile(ipython_syntax.as_python(cell), "<cell>", "exec"), names)
    return names


@pytest.mark.parametrize("cell", ["x = 5 % 3\n", "await f()\n", "s = '''\n!ls\n%time\n'''\n", ""])
def test_python_stays_as_it_is(cell: str) -> None:
    assert ipython_syntax.as_python(cell) == cell


@pytest.mark.parametrize(
    "cell",
    [
        "!ls\nx = 1\n!echo a \\\n  b\ny = 2",
        "%matplotlib inline\nx = 1",
        "%%time\nx = 1\ny = 2",
        "%%bash\necho a\necho b",
        "%%html\n<b>\n</b>",
        "for i in range(2):\n    !echo $i\nx = 1",
    ],
)
def test_line_numbers_stay(cell: str) -> None:
    translated = ipython_syntax.as_python(cell)
    compile(translated, "<cell>", "exec")
    assert len(translated.splitlines()) <= len(cell.splitlines())
    for number, line in enumerate(cell.splitlines()):
        if line in ("x = 1", "y = 2"):
            assert translated.splitlines()[number] == line


def test_timed_code_runs_once() -> None:
    names = run("n = 0\n%timeit -n 100 n += 1\n%time n += 10")
    assert names["n"] == 11


def test_output_of_a_command_is_assigned() -> None:
    names = run("name = 'world'\nlines = !echo hello {name} && echo $name")
    assert list(names["lines"]) == ["hello world", "world"]


def test_installations_are_left_out(tmp_path: Path) -> None:
    names = run("!pip install something-that-nobody-published\nx = 1")
    assert names["x"] == 1
    assert "pip" not in ipython_syntax.as_python("!pip install a").partition("#")[0]


def test_a_cell_is_written_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("%%writefile part.py\nVALUE = 1\n")
    run("%%writefile -a part.py\nOTHER = 2\n")
    assert (tmp_path / "part.py").read_text() == "VALUE = 1\nOTHER = 2\n"
    assert run("%run part.py")["OTHER"] == 2


def test_a_variable_of_the_environment_and_the_folder_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CELL", "")
    (tmp_path / "data").mkdir()
    run("%env CELL=a b\n%cd data")
    assert os.environ["CELL"] == "a b"
    assert Path.cwd() == tmp_path / "data"


def test_a_captured_cell_prints_into_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("%%capture out\nprint('inside')\n")
    assert "inside" in str(names["out"])
    assert "inside" not in capsys.readouterr().out
