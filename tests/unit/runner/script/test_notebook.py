"""`runner.script.notebook`: cells in order, their output in an executed copy."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import pytest

from mlops_lib.runner.script import notebook


def execute(path: Path, *cells: str) -> list[dict[str, Any]]:
    """Run the cells; returns those of the copy. Errors propagate after it is written."""
    content = {
        "cells": [{"cell_type": "code", "source": text, "outputs": []} for text in cells],
        "nbformat": 4,
    }
    book = notebook.Notebook(str(path), content, list(enumerate(cells)))

    def compile_(source: str, name: str, flags: int = 0) -> Any:
        return compile(source, name, "exec", flags)

    book.run({"__name__": "__main__"}, str(path), compile_)
    written: list[dict[str, Any]] = json.loads(path.read_text())["cells"]
    return written


def test_outputs_stand_in_their_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = execute(tmp_path / "a.ipynb", "x = 2\nprint('x', x)", "x + 1")
    assert first["outputs"] == [{"output_type": "stream", "name": "stdout", "text": "x 2\n"}]
    assert second["outputs"][0]["data"] == {"text/plain": "3"}
    assert (first["execution_count"], second["execution_count"]) == (1, 2)
    assert capsys.readouterr().out == "x 2\n3\n"


@pytest.mark.parametrize("cell", ["x = 3", "3;", "None", "y = 1; x = 2"])
def test_nothing_is_displayed_for(tmp_path: Path, cell: str) -> None:
    (written,) = execute(tmp_path / "a.ipynb", cell)
    assert written["outputs"] == []


def test_a_last_expression_behind_other_letters_is_displayed(tmp_path: Path) -> None:
    (written,) = execute(tmp_path / "a.ipynb", "größe = 'ä'; größe * 2")
    assert written["outputs"][0]["data"] == {"text/plain": "'ää'"}


def test_a_table_is_displayed_as_html(tmp_path: Path) -> None:
    text = "class T:\n    def _repr_html_(self):\n        return '<b>t</b>'\nT()\n"
    (written,) = execute(tmp_path / "a.ipynb", text)
    assert written["outputs"][0]["data"]["text/html"] == "<b>t</b>"


def test_an_error_ends_the_notebook_and_stands_in_the_copy(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    with pytest.raises(ZeroDivisionError) as caught:
        execute(path, "x = 1\ny = 2", "\nx / 0", "print('never')")
    # The line of the joined program: two lines of the first cell, one empty line.
    assert traceback.extract_tb(caught.value.__traceback__)[-1].lineno == 4
    cells = json.loads(path.read_text())["cells"]
    assert cells[1]["outputs"][0]["ename"] == "ZeroDivisionError"
    assert cells[2]["outputs"] == []


def test_a_cell_may_await(tmp_path: Path) -> None:
    (written,) = execute(tmp_path / "a.ipynb", "import asyncio\nawait asyncio.sleep(0, 'done')")
    assert written["outputs"][0]["data"] == {"text/plain": "'done'"}
