"""The example notebooks, and a project run from a notebook, in a real kernel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))

# The kernel's own sockets and loop.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MLOPS_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }.items():
        monkeypatch.setenv(name, value)


def executed(notebook: Any, folder: Path) -> list[list[Any]]:
    """The outputs of the code cells."""
    NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return [cell["outputs"] for cell in notebook.cells if cell["cell_type"] == "code"]


def html(outputs: list[Any]) -> str:
    return "".join(str(one.get("data", {}).get("text/html", "")) for one in outputs)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_is_kept_with_its_outputs(path: Path, tmp_path: Path) -> None:
    kept = nbformat.read(path, as_version=4)
    assert any(cell.get("outputs") for cell in kept.cells), "it is committed with its outputs"
    outputs = executed(nbformat.read(path, as_version=4), tmp_path)
    shown = "".join(map(html, outputs))
    assert ">met</strong>" in shown
    assert "<polyline" in shown or "improve-an-estimator" in path.name
    assert any("image/png" in one.get("data", {}) for cell in outputs for one in cell)


def cells(*sources: str) -> Any:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


def test_a_magic_that_is_wrong_says_so_and_a_failing_cell_is_shown(tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError, match="'--goal' is not understood"):
        executed(cells("%load_ext mlops_lib", "%%mlops --goal 3\n1"), tmp_path)
    with pytest.raises(CellExecutionError, match="fits no model"):
        executed(cells("%load_ext mlops_lib", "%%mlops\n1"), tmp_path)


def test_records_show_themselves(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n"
    )
    ((shown,),) = executed(cells("import mlops_lib as mlops\nmlops.detect('.')"), tmp_path)
    assert "sklearn" in shown["data"]["text/html"]
    assert "train.py" in shown["data"]["text/html"]
    assert os.environ["MLOPS_HOME"]
