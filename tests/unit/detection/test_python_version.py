"""`detection.python_version`: which Python a project's declarations leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_lib.detection.python_version import KNOWN, Wish, allowed, choose, written_down

ALL = set(KNOWN)


@pytest.mark.parametrize(
    ("specifier", "minors"),
    [
        (">=3.10", set(range(10, 15))),
        (">3.10", set(range(11, 15))),
        (">3.10.2", set(range(10, 15))),
        ("<3.11", {8, 9, 10}),
        ("<3.11.5", {8, 9, 10, 11}),
        ("<3.11.0", {8, 9, 10}),
        ("==3.9.*", {9}),
        ("3.12", {12}),
        ("^3.11", {11, 12, 13, 14}),
        ("!=3.11.2", ALL),
        ("!=3.11.*", ALL - {11}),
        (">=2.7", ALL),
        ("<3", set()),
        ("2.7", set()),
        (">=3.8,<3.10 || 3.13", {8, 9, 13}),
        ("nonsense", ALL),
    ],
)
def test_a_specifier_allows(specifier: str, minors: set[int]) -> None:
    assert allowed(specifier) == minors


@pytest.mark.parametrize(
    ("texts", "version"),
    [
        ([], "3.11"),
        ([">=3.8"], "3.11"),
        ([">=3.12"], "3.12"),
        (["<3.11"], "3.10"),
        ([">=3.9,<3.10"], "3.9"),
        ([">=3.8", "3.12.4"], "3.12"),
    ],
)
def test_the_usual_python_is_taken_if_it_may_be_else_the_nearest(
    texts: list[str], version: str
) -> None:
    chosen, decided, warnings = choose([Wish("pyproject.toml", text) for text in texts])
    assert (chosen, warnings) == (version, [])
    assert (decided is None) == (version == "3.11")


def test_what_contradicts_a_declaration_that_binds_more_is_told() -> None:
    wishes = [
        Wish("pyproject.toml", ">=3.12", 4),
        Wish(".python-version", "3.10"),
        Wish("x", "2.7"),
    ]
    chosen, decided, warnings = choose(wishes)
    assert (chosen, decided) == ("3.12", wishes[0])
    assert warnings == [
        ".python-version:1: Python 3.10 cannot be had; pyproject.toml asks for >=3.12: Python 3.12 is used",
        "x:1: Python 2.7 cannot be had; pyproject.toml asks for >=3.12: Python 3.12 is used",
    ]


def test_files_for_a_version_alone_are_read_nearest_first(tmp_path: Path) -> None:
    inner = tmp_path / "services" / "churn"
    inner.mkdir(parents=True)
    (tmp_path / ".python-version").write_text("# pyenv\n3.12.1\n")
    (inner / "runtime.txt").write_text("python-3.10.13\n")
    (tmp_path / ".tool-versions").write_text("nodejs 20.1\npython 3.9\n")
    found = written_down(str(inner), str(tmp_path))
    assert [(wish.source, wish.text, wish.line) for wish in found] == [
        ("services/churn/runtime.txt", "3.10.13", 1),
        (".python-version", "3.12.1", 2),
        (".tool-versions", "3.9", 2),
    ]


@pytest.mark.parametrize("text", ["3.12-dev\n", "pypy3.10\n", "system\n", "miniconda3-4.7\n"])
def test_another_interpreter_is_no_wish(tmp_path: Path, text: str) -> None:
    (tmp_path / ".python-version").write_text(text)
    assert written_down(str(tmp_path), str(tmp_path)) == []
