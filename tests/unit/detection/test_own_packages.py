"""`detection.own_packages`: the package that a repository develops."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_lib.detection import own_packages


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", '[build-system]\n[project]\nname = "my_net"\n'),
        ("pyproject.toml", '[tool.poetry]\nname = "My.Net"\n'),
        ("setup.cfg", "[metadata]\nname = my-net\n"),
        ("setup.py", "from setuptools import setup\nNAME = 'my-net'\nsetup(name=NAME)\n"),
        ("setup.py", "import setuptools\nsetuptools.setup(name='my_net', version='1')\n"),
    ],
)
def test_its_name_is_read_as_the_index_writes_it(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert own_packages.distribution(str(tmp_path)) == "my-net"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", '[tool.setuptools.packages.find]\nwhere = ["lib"]\n'),
        ("pyproject.toml", '[tool.maturin]\npython-source = "lib"\n'),
        ("pyproject.toml", '[tool.poetry]\npackages = [{ include = "net", from = "lib" }]\n'),
        ("pyproject.toml", '[tool.hatch.build.targets.wheel]\npackages = ["lib/net"]\n'),
        ("setup.py", "setup(packages=find_packages('lib'))\n"),
        ("setup.py", "setup(package_dir={'': 'lib'})\n"),
        ("setup.cfg", "[options]\npackage_dir =\n    =lib\n"),
    ],
)
def test_the_folders_of_its_packages_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert own_packages.source_folders(str(tmp_path)) == ["lib"]


def test_a_folder_elsewhere_on_the_machine_is_none(tmp_path: Path) -> None:
    (tmp_path / "setup.py").write_text("setup(package_dir={'': '/etc'})\n")
    assert own_packages.source_folders(str(tmp_path)) == []
