"""The host opens a pushed file in one module only, and starts no git."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.attack

PACKAGE = Path(__file__).parents[2] / "mlops_lib"
OPENING = {
    "open",
    "read_text",
    "read_bytes",
    "rglob",
    "glob",
    "walk",
    "scandir",
    "listdir",
    "iterdir",
    "copyfile",
    "copy2",
    "copytree",
    "fdopen",
    "run_path",
    "getline",
    "getlines",
    "memmap",
    "mmap",
}
"""Calls that open or list files, by their last name."""
READERS = {
    "files.read_text",
    "pushed.read_text",
    "ast.walk",
    "webbrowser.open",
    "archive.open",
    "mmap.mmap",
    "tarfile.open",
}
"""Calls of such a name that do not: those of mlops_lib.project.files, on trees, on what is open already."""
OWN_FILES = {
    "artifacts._copy": "the folder it fills",
    "certificates.of": "the run directory",
    "config._read_toml": "the operator's file",
    "crew.token": "the run directory",
    "detection.rows.rows": "the catalog",
    "durable": "files of ours, no links followed",
    "environments._tables": "the catalog",
    "images": "this package",
    "inspection.runs": "the home",
    "inventory._runs": "the home",
    "joining._name": "the home",
    "notification.ledger.Ledger.waiting": "the home",
    "registry": "the registry",
    "reporting.page.stylesheet": "this package",
    "reporting.reading.Reader.numbers_in": "the run directory",
    "requirements.read_toml": "the catalog",
    "rundir": "the run directory",
    "sharing.Mirror.once": "shared files",
    "supervise": "/proc and its own folder",
    "checks._patch": "the run directory",
    "engine": "this package, the home, and what it fetched",
    "__main__": "/dev/null",
    "remeasuring": "the run directory, no links followed",
    "cli.answers.closed_output": "/dev/null",
    "detection.command.quickly": "/dev/null",
    "detection.files.Files._scan": "names only, no links followed",
    "project": "the one place",
}
"""Functions, or whole modules, that open files which no push brings, and what those are."""

READS_PROJECT = ("engine.baking.",)
"""Modules among those that read the project too."""


def calls() -> Iterator[tuple[str, str]]:
    """Every call in the host's modules: the function it stands in, and its text."""
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        if module.split(".")[0] != "runner":
            yield from _calls(ast.parse(path.read_text(encoding="utf-8")), module)


def _calls(node: ast.AST, where: str) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        inner = f"{where}.{child.name}" if isinstance(child, (ast.FunctionDef, ast.ClassDef)) else where
        if isinstance(child, ast.Call):
            yield where, ast.unparse(child.func)
        yield from _calls(child, inner)


def test_a_pushed_file_is_opened_in_one_module() -> None:
    elsewhere = {
        (where, call)
        for where, call in calls()
        if call.rpartition(".")[2] in OPENING
        and call not in READERS
        and (where.startswith(READS_PROJECT) or not any(f"{where}.".startswith(f"{own}.") for own in OWN_FILES))
    }
    assert elsewhere == set(), "open it with mlops_lib.project.files, or say whose file it is"


def test_git_is_not_started() -> None:
    named = [
        path
        for path in PACKAGE.rglob("*.py")
        if "subprocess" in (text := path.read_text(encoding="utf-8")) and ('"git"' in text or "'git'" in text)
    ]
    assert [path.name for path in named if path.parent.name != "detection"] == []
