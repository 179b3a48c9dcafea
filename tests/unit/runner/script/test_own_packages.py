"""`runner.script.own_packages`: a repository's own packages come before installed ones."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from mlops_lib.runner.script import own_packages


def repository(folder: Path, *, build: str = "setup.py", package: str = "src/mynet") -> Path:
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text("WHERE = 'repository'\n")
    (folder / build).write_text("[project]\nname = 'x'\n")
    return folder


@pytest.mark.parametrize("build", ["setup.py", "setup.cfg", "pyproject.toml"])
@pytest.mark.parametrize(("package", "folder"), [("src/mynet", "src"), ("mynet", "")])
def test_packages_of_a_repository_that_builds_one_are_found(
    tmp_path: Path, build: str, package: str, folder: str
) -> None:
    found = own_packages.find(str(repository(tmp_path, build=build, package=package)))
    assert {name: Path(where) for name, where in found.items()} == {"mynet": tmp_path / folder}


def test_settings_of_tools_build_nothing(tmp_path: Path) -> None:
    repository(tmp_path, build="pyproject.toml")
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\nline-length = 100\n")
    assert own_packages.find(str(tmp_path)) == {}
    (tmp_path / "pyproject.toml").unlink()
    assert own_packages.find(str(tmp_path)) == {}


def test_a_folder_of_a_standard_module_replaces_nothing(tmp_path: Path) -> None:
    assert own_packages.find(str(repository(tmp_path, package="code"))) == {}


def test_the_repositorys_package_is_imported_from_a_script_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    own_packages.install(str(tmp_path), "tasks/train.py")
    assert importlib.import_module("mynet").WHERE == "repository"
    monkeypatch.delitem(sys.modules, "mynet")


def test_a_module_beside_the_script_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository(tmp_path)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "mynet.py").touch()
    finders = list(sys.meta_path)
    monkeypatch.setattr(sys, "meta_path", list(finders))
    own_packages.install(str(tmp_path), "tasks/train.py")
    assert sys.meta_path == finders
