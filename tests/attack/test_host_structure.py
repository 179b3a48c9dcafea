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
    "isolated.open",
}
"""Calls of such a name that do not: those of mlops_lib.project.files, on trees, on what is open
already.
"""
PROJECT_MODULES = (
    "detection",
    "patching",
    "project",
    "cli.detect",
    "tuning.argument_sweep",
    "tuning.ray_workers",
    "ci.sarif",
    "pipeline.job",
    "pipeline.origin",
    "pipeline.replay",
    "config",
    "registry",
    "engine.project_image",
    "provisioning.resolution",
    "environments.requirement",
    "environments.mend",
    "environments.loosen",
    "environments.tables",
)
"""Modules that deal with pushed projects; in others it is the functions that name one."""
OWN_FILES = {
    "config._read_toml": "the operator's file",
    "cli.detect.quickly": "/dev/null",
    "detection.files.Files._scan": "names only, no links followed",
    "detection.import_map": "the table of distributions",
    "detection.result_cache._places": "names only, no links followed",
    "detection.result_cache.remember": "the user's own cache",
    "detection.rows.rows": "the catalog",
    "detection.symbols": "the table of library names",
    "environments.tables.read_toml": "the catalog",
    "project.export": "the one place",
    "project.files": "the one place",
    "project.fingerprint._files": "names only, no links followed",
    "project.places": "the one place",
    "project.repository": "the one place",
    "provisioning.resolution._tables": "the catalog",
    "registry": "the registry, and what atomic.open_regular opened",
    "tuning.ray_workers._with_catalog": "this package and its catalog",
    "testing.FakeEngine": "the log of a run, in its own directory",
}
"""Functions, or whole modules, of those that open files which no push brings, and what those are.
"""


def suspects() -> Iterator[tuple[str, str]]:
    """Every call in a function that deals with a pushed project: where it stands, and its text."""
    for path in PACKAGE.rglob("*.py"):
        module = (
            path.relative_to(PACKAGE)
            .with_suffix("")
            .as_posix()
            .replace("/", ".")
            .removesuffix(".__init__")
        )
        if module.split(".")[0] != "runner":
            named = any(f"{module}.".startswith(f"{one}.") for one in PROJECT_MODULES)
            yield from _calls(ast.parse(path.read_text(encoding="utf-8")), module, named)


def _calls(node: ast.AST, where: str, named: bool) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        inner, deals = where, named
        if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            inner = f"{where}.{child.name}"
            deals = named or (
                isinstance(child, ast.FunctionDef) and "project" in _identifiers(child)
            )
        if isinstance(child, ast.Call) and named:
            yield where, ast.unparse(child.func)
        yield from _calls(child, inner, deals)


def _identifiers(function: ast.FunctionDef) -> set[str]:
    found = {one.id for one in ast.walk(function) if isinstance(one, ast.Name)}
    found |= {one.attr for one in ast.walk(function) if isinstance(one, ast.Attribute)}
    return found | {one.arg for one in ast.walk(function) if isinstance(one, ast.arg)}


def test_a_pushed_file_is_opened_in_one_module() -> None:
    elsewhere = {
        (where, call)
        for where, call in suspects()
        if call.rpartition(".")[2] in OPENING
        and call not in READERS
        and not any(f"{where}.".startswith(f"{own}.") for own in OWN_FILES)
    }
    assert elsewhere == set(), "open it with mlops_lib.project.files, or say whose file it is"


def test_git_is_not_started() -> None:
    named = [
        path
        for path in PACKAGE.rglob("*.py")
        if "subprocess" in (text := path.read_text(encoding="utf-8"))
        and ('"git"' in text or "'git'" in text)
    ]
    assert [path.name for path in named if path.parent.name != "detection"] == []
