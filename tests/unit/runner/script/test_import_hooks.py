"""`runner.script.import_hooks`: a function is called once a module has been imported."""

from __future__ import annotations

import importlib
import importlib.resources
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mlops_lib.runner.script import import_hooks


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package with data, on the path while the test runs."""
    name = "hooked_package"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("VALUE = 1\nfrom . import part\n")
    (folder / "part.py").write_text("VALUE = 2\n")
    (folder / "data.txt").write_text("data")
    monkeypatch.syspath_prepend(str(tmp_path))
    finders = list(sys.meta_path)
    yield name
    sys.meta_path[:] = finders
    for module in [key for key in sys.modules if key.split(".")[0] == name]:
        del sys.modules[module]


def test_a_hook_sees_the_module_after_its_code_ran(package: str) -> None:
    seen: list[tuple[str, int]] = []

    def hook(module: ModuleType) -> None:
        seen.append((module.__name__, module.VALUE))

    import_hooks.after_import({package: hook, f"{package}.part": hook})
    importlib.import_module(package)
    importlib.import_module(package)
    assert seen == [(f"{package}.part", 2), (package, 1)]


def test_a_module_that_is_loaded_is_hooked_at_once(package: str) -> None:
    importlib.import_module(package)
    seen: list[str] = []
    import_hooks.after_import({package: lambda module: seen.append(module.__name__)})
    assert seen == [package]


def test_a_hooked_package_still_reads_its_data_and_sources(package: str) -> None:
    import_hooks.after_import({package: lambda module: None})
    module = importlib.import_module(package)
    assert (importlib.resources.files(package) / "data.txt").read_text() == "data"
    assert module.__spec__ is not None
    assert module.__spec__.loader is module.__loader__
    assert "VALUE = 1" in (module.__loader__.get_source(package) or "")  # type: ignore[union-attr]


def test_a_module_that_does_not_exist_stays_missing(package: str) -> None:
    import_hooks.after_import({f"{package}.none": lambda module: None})
    with pytest.raises(ModuleNotFoundError, match=f"No module named '{package}.none'"):
        importlib.import_module(f"{package}.none")


def test_an_error_of_the_module_itself_passes(package: str, tmp_path: Path) -> None:
    (tmp_path / package / "broken.py").write_text("raise OSError('no library')\n")
    import_hooks.after_import({f"{package}.broken": lambda module: None})
    with pytest.raises(OSError, match="no library"):
        importlib.import_module(f"{package}.broken")
