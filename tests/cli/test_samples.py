"""The sample projects, as somebody who pushed them would see them: none of them knows of us, and
each ends accepted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mlops_lib.detection import detect

ROOT = Path(__file__).resolve().parents[2]


class Sample(NamedTuple):
    entry: str
    framework: str
    family: str
    misses: bool
    """Whether the script as it is written stays below 80 %."""
    leaves: str
    """A file that the script writes into its working directory."""
    args: str = ""
    is_searched: bool = True
    """Whether a search can lift it above 80 %. PyTorch's are trained by test_pytorch_judged.py, without their image of 5 GB."""


SAMPLES = {
    "cancer_pytorch": Sample("train.py", "pytorch", "dense", True, "cancer.pth", is_searched=False),
    "digits_lightning": Sample("train.py", "pytorch", "dense", False, "", is_searched=False),
    "digits_pytorch": Sample("main.py", "pytorch", "cnn", False, "mnist_cnn.pt", is_searched=False),
    "reviews_transformer": Sample(
        "train.py", "pytorch", "transformer", False, "reviews", is_searched=False
    ),
    "cancer_pipeline": Sample("train.py", "sklearn", "linear", False, "artifacts/roc.png"),
    "digits_cnn": Sample("train.py", "keras", "cnn", True, "curves.png"),
    "digits_layers": Sample("mlcode.py", "keras", "dense", True, "accuracy.txt", args="0"),
    "digits_lstm": Sample("digits_lstm.py", "keras", "rnn", False, "checkpoints/best.keras"),
    "digits_tree": Sample("tree.py", "sklearn", "tree", True, "tree.joblib"),
    "moons_notebook": Sample("Two Moons.ipynb", "keras", "dense", False, "boundary.png"),
    "wine_dense": Sample("wine.py", "keras", "dense", False, "predictions.csv"),
}


def test_every_sample_is_listed() -> None:
    assert {path.name for path in (ROOT / "model_repo").iterdir() if path.is_dir()} == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_understood(name: str) -> None:
    found = detect(ROOT / "model_repo" / name)
    expected = SAMPLES[name]
    assert (found.entry, found.framework, found.family) == (
        expected.entry,
        expected.framework,
        expected.family,
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_does_not_know_us(name: str) -> None:
    files = [
        path
        for path in (ROOT / "model_repo" / name).rglob("*")
        if path.suffix in (".py", ".ipynb", ".md", ".txt")
    ]
    assert len(files) >= 2, "its code and its README"
    assert not [path for path in files if "mlops" in path.read_text()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.parametrize("name", [name for name, sample in SAMPLES.items() if sample.is_searched])
def test_a_sample_ends_accepted_in_its_container(name: str, home: Path) -> None:
    sample = SAMPLES[name]
    project = ROOT / "model_repo" / name
    before = sorted(path for path in project.rglob("*") if "__pycache__" not in path.parts)
    record = run(project, home, sample.args)
    assert (record["verdict"], record["metric"], record["target"]) == ("accepted", "accuracy", 0.8)
    assert (record["trials"] > 0) == sample.misses
    low, high = record["interval"]
    assert low < record["value"] < high
    assert Path(record["model"]).is_file()
    assert Path(record["report"]).is_file()
    assert (Path(record["run_dir"]) / "inside" / "outputs" / sample.leaves).is_file()
    assert sorted(path for path in project.rglob("*") if "__pycache__" not in path.parts) == before


def run(project: Path, home: Path, args: str) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "mlops_lib",
        "run",
        str(project),
        "--backend",
        "docker",
        "--json",
    ]
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("MLOPS_", "BUILD_"))
    }
    done = subprocess.run(
        command + (["--args", args] if args else []),
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
        env={**kept, "MLOPS_HOME": str(home), "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record
