"""An installer that is started in a hostile project takes nothing from it: no setting, no module,
no program.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from servers.packages import PackageIndex

from mlops_lib.cli import doctor_checks
from mlops_lib.engine import buildkit, programs, venv
from mlops_lib.records import Environment

pytestmark = pytest.mark.attack


@pytest.fixture
def hostile(tmp_path: Path, package_index: PackageIndex, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder is a project that names its own index, and has modules and programs by the
    usual names.
    """
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    package_index.add("acme_tool")
    monkeypatch.setenv("PIP_INDEX_URL", package_index.url())
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    theirs = PackageIndex()
    theirs.add("acme_tool", "99.0")
    links = tmp_path / "project" / "links"
    links.mkdir(parents=True)
    theirs.close()
    for name, content in theirs.wheels.items():
        (links / name).write_bytes(content)
    project = tmp_path / "project"
    (project / "uv.toml").write_text(f'find-links = ["{links}"]\n')
    (project / "pyproject.toml").write_text(
        f'[tool.uv]\nfind-links = ["{links}"]\nno-index = true\n'
    )
    for name in ("pip.conf", ".pip.conf", "setup.cfg"):
        (project / name).write_text(
            f"[global]\nfind-links = {links}\n[install]\nfind-links = {links}\n"
        )
    (project / ".env").write_text(f"UV_FIND_LINKS={links}\n")
    (project / ".python-version").write_text("2.7\n")
    for name in (
        "pip",
        "venv",
        "ensurepip",
        "logging",
        "typing",
        "runpy",
        "json",
        "sitecustomize",
        "usercustomize",
    ):
        (project / f"{name}.py").write_text(
            f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n"
        )
    for name in ("docker", "uv", "python3.9", "nvidia-smi", "git"):
        (project / name).write_text(f"#!/bin/sh\necho {name} >>{tmp_path / 'ran'}\n")
        (project / name).chmod(0o755)
    monkeypatch.chdir(project)
    monkeypatch.setenv("PYTHONPATH", "")
    return project


def installed(home: Path) -> str:
    environment = Environment(
        name="python", framework="none", family="none", requirements=("acme_tool",)
    )
    folder = venv.place(home, environment)
    venv.build(folder, environment, on_line=lambda line: None)
    assert venv.missing(folder, environment, ["acme_tool"]) == []
    return next(folder.rglob("acme_tool.py")).read_text()


@pytest.mark.parametrize("uv", [False, True], ids=["pip", "uv"])
def test_an_installer_takes_nothing_from_the_project(
    uv: bool, hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    folders = [folder for folder in os.get_exec_path() if not (Path(folder) / "uv").exists()]
    if uv:
        if own is None:
            pytest.skip("no uv here")
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "uv").symlink_to(own)
        folders.insert(0, str(tmp_path / "bin"))
    # Empty and relative entries mean the current folder, and come first.
    monkeypatch.setenv("PATH", os.pathsep.join(["", ".", *folders]))
    assert installed(tmp_path / "home") == "version = '1.0'\n"
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()


def test_no_program_of_the_project_is_found(
    hostile: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join(["", ".", "bin/../.", *os.get_exec_path()]))
    found = {programs.find(name) for name in ("docker", "uv", "python3.9", "nvidia-smi")} - {None}
    assert not any(str(hostile) in str(Path(str(path)).resolve()) for path in found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        doctor_checks._index()
    if programs.find("docker"):
        assert Path(buildkit.client_program()).is_absolute()
    assert not (tmp_path / "ran").exists()
