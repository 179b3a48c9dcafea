"""The examples in docstrings run: those of the public functions on a sample, all others as they are."""

from __future__ import annotations

import ast
import doctest
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mlops_lib

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
PUBLIC = [name for name in mlops_lib.__all__ if name != "__version__"]
IN_ORDER = ("detect", "build", "train", "judge", "search", "run", "register")
"""Each of these continues the run of the one before."""


def modules_with_examples() -> list[str]:
    """Modules with an example that no public function has."""
    names = []
    for path in sorted((ROOT / "mlops_lib").rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        kinds = (ast.FunctionDef, ast.ClassDef, ast.Module)
        if any(
            ">>> " in (ast.get_docstring(node) or "")
            for node in nodes
            if isinstance(node, kinds) and getattr(node, "name", "") not in PUBLIC
        ):
            names.append(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return [name.removesuffix(".__init__") for name in names]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_of_a_module(name: str) -> None:
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        if test.name.rpartition(".")[2] not in PUBLIC:
            runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it makes an environment, and a busy machine is many times slower
def test_examples_of_the_public_functions(tmp_path: Path) -> None:
    """All in one program, as a reader would type them one after another."""
    shutil.copytree(ROOT / "model_repo" / "digits_tree", tmp_path / "model_repo" / "digits_tree")
    order = [*IN_ORDER, *(name for name in PUBLIC if name not in IN_ORDER)]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "BUILD_"))}
    done = subprocess.run(
        [sys.executable, __file__, *order],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={
            **kept,
            "PYTHONPATH": str(ROOT),
            # Its own: other tests of this sample expect no earlier run and no version of it.
            "MLOPS_HOME": str(tmp_path / "home"),
            "MLOPS_BACKEND": "process",
        },
        timeout=1700,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    assert done.stdout.split() == order


def _run_examples(names: list[str]) -> int:
    """Run the examples of public functions; write the names of those that have some that succeed."""
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    for name in names:
        before = runner.tries
        for test in doctest.DocTestFinder(exclude_empty=True).find(getattr(mlops_lib, name), name):
            if runner.run(test, out=sys.stderr.write).failed:
                return 1
        if runner.tries > before:
            sys.stdout.write(f"{name}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(_run_examples(sys.argv[1:]))
