"""`runner.script.call_sites`: where in the project's code a call stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlops_lib.runner.script import call_sites


def run(path: Path, text: str, **names: Any) -> dict[str, Any]:
    """Run a file's text under its name, as the runner does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    exec(compile(text, str(path), "exec"), names)
    return names


def test_the_innermost_call_of_the_project_is_told(tmp_path: Path) -> None:
    def library() -> Any:  # a file outside of the project
        return call_sites.caller(str(tmp_path))

    text = "def build():\n    return library()\n\nsite = build()\n"
    site = run(tmp_path / "models" / "net.py", text, library=library)["site"]
    assert (site["file"], site["line"]) == ("models/net.py", 2)


def test_the_columns_enclose_the_call(tmp_path: Path) -> None:
    text = "a, site = 1, where(\n    3\n)\n"
    site = run(tmp_path / "train.py", text, where=lambda _: call_sites.caller(str(tmp_path)))[
        "site"
    ]
    assert (site["line"], site["column"], site["end_line"], site["end_column"]) == (1, 13, 3, 1)


def test_code_outside_of_the_project_has_no_place(tmp_path: Path) -> None:
    assert call_sites.caller(str(tmp_path)) is None
    installed = tmp_path / "venv" / "site-packages" / "lib.py"
    names = run(installed, "site = where()", where=lambda: call_sites.caller(str(tmp_path)))
    assert names["site"] is None


def test_a_layer_remembers_where_it_was_made(tmp_path: Path) -> None:
    class Layer:
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:  # as Keras' own
            return super().__new__(cls)

        def __init__(self, units: int) -> None:
            self.units = units

    call_sites.watch_layers(Layer, str(tmp_path))
    layer = run(tmp_path / "train.py", "\n\nlayer = Layer(3)\n", Layer=Layer)["layer"]
    site = call_sites.of(layer)
    assert site is not None
    assert (site["file"], site["line"], layer.units) == ("train.py", 3, 3)
    assert call_sites.of(object.__new__(type("Other", (), {}))) is None
