"""`detection.mentions`: the scripts that a project's own files run."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_lib.detection import mentions

SCRIPTS = ["train.py", "pkg/learn.py", "pkg/__main__.py", "jobs/fit.py", "nb/fit.ipynb"]


def found(folder: Path, name: str, text: str) -> dict[str, tuple[int, int]]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return {
        script: (mention.line, mention.rank)
        for script, mention in mentions.find(str(folder), SCRIPTS).items()
    }


@pytest.mark.parametrize(
    ("name", "text", "script"),
    [
        ("Dockerfile", 'FROM x\nCMD ["python", "-u", "jobs/fit.py", "--fast"]\n', "jobs/fit.py"),
        ("Makefile", "all:\n\tpython3.11 ./train.py\n", "train.py"),
        (".github/workflows/ci.yml", "jobs:\n  - run: uv run jobs/fit.py\n", "jobs/fit.py"),
        ("run.sh", "set -e\ntorchrun --nproc=1 jobs/fit.py\n", "jobs/fit.py"),
        ("README.md", "# X\n`jupyter nbconvert --execute nb/fit.ipynb`\n", "nb/fit.ipynb"),
        ("Procfile", "x: y\nworker: python -m pkg.learn\n", "pkg/learn.py"),
        ("Justfile", "go:\n    accelerate launch -m pkg\n", "pkg/__main__.py"),
        ("pyproject.toml", '[project.scripts]\nfit = "jobs.fit:main"\n', "jobs/fit.py"),
    ],
)
def test_a_line_that_runs_a_script(tmp_path: Path, name: str, text: str, script: str) -> None:
    assert {key: line for key, (line, _) in found(tmp_path, name, text).items()} == {script: 2}


@pytest.mark.parametrize(
    "text",
    ["see train.py for more\n", "cp train.py /x\n", "pytest -m pkg\n", "python setup.py x\n"],
)
def test_a_line_that_only_names_one(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, "README.md", text) == {}


def test_what_says_more_about_a_script_counts(tmp_path: Path) -> None:
    found(tmp_path, "README.md", "\n\npython train.py\n")
    assert found(tmp_path, "Dockerfile", "RUN python train.py\n") == {"train.py": (1, 0)}


def test_a_path_may_begin_above_or_below_the_project(tmp_path: Path) -> None:
    assert set(found(tmp_path, "README.md", "python services/churn/jobs/fit.py\n")) == {
        "jobs/fit.py"
    }
    assert set(found(tmp_path, "README.md", "cd jobs && python fit.py\n")) == {"jobs/fit.py"}
