"""What lies in a checkout has no say in how an agent provides the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.attack

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "resources" / "mlops" / "agent.sh"
PYPROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
[project]
name = "mlops_lib"
version = "1"
[tool.setuptools]
packages = ["mlops_lib"]
"""
SHADOWED = (
    "hashlib",
    "pathlib",
    "os",
    "venv",
    "pip",
    "logging",
    "subprocess",
    "shutil",
    "ensurepip",
    "mlops_lib",
    "json",
)
"""Modules that an interpreter would take from its current folder."""


def package(place: Path, line: str) -> Path:
    (place / "mlops_lib").mkdir(parents=True)
    (place / "pyproject.toml").write_text(PYPROJECT)
    (place / "mlops_lib" / "__init__.py").touch()
    (place / "mlops_lib" / "__main__.py").write_text(line)
    return place


def planted(place: Path, canary: Path) -> None:
    """A checkout full of modules, settings and a bare repository that each leave a mark if they are
    obeyed.
    """
    line = f"open({str(canary)!r}, 'a').write(__name__)\n"
    place.mkdir()
    for name in SHADOWED[:-2]:
        (place / f"{name}.py").write_text(line)
    package(place / "mlops_lib", line)
    (place / "mlops_lib" / "__init__.py").write_text(line)
    (place / "mlops_lib" / "setup.py").write_text(line)
    for name in ("objects/x", "refs/x"):
        (place / name).mkdir(parents=True)
    (place / "HEAD").write_text("ref: refs/heads/main\n")
    (place / "config").write_text(
        f"[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n\tfsmonitor = touch {canary}\n"
        f"[alias]\n\tls-remote = !touch {canary}\n[credential]\n\thelper = !touch {canary}\n"
        f'[url "ext::touch {canary}"]\n\tinsteadOf = file://\n[protocol]\n\tallow = always\n'
    )


def asked(checkout: Path, place: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    build = place / "tmp" / "mlops-1"
    build.mkdir(parents=True)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(place / "tmp"),
        "MLOPS_HOME": str(place / "home"),
        "MLOPS_VERB": "detect",
        "MLOPS_PARAMS": "{}",
        "MLOPS_REPLY": str(place / "reply"),
        "MLOPS_BUILD": str(build),
        "MLOPS_AGENT_PYTHON": sys.executable,
        **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))},
        **variables,
    }
    return subprocess.run(
        ["sh", "-e", str(AGENT)],
        cwd=checkout,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_an_agent_takes_nothing_from_the_checkout(tmp_path: Path) -> None:
    checkout, canary = tmp_path / "checkout", tmp_path / "ran"
    planted(checkout, canary)
    ours = package(tmp_path / "ours", "print('ours')\n")
    git = ["git", "-C", str(ours), "-c", "user.name=Ann", "-c", "user.email=ann@example.com"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "1"]):
        subprocess.run([*git, *words], check=True, timeout=30)
    done = asked(checkout, tmp_path, MLOPS_PACKAGE=f"git+file://{ours}")
    assert (done.returncode, (tmp_path / "reply").read_text()) == (0, "ours\n"), done.stderr
    assert not canary.exists()


def test_a_folder_named_like_the_package_is_not_it(tmp_path: Path) -> None:
    checkout, canary = tmp_path / "checkout", tmp_path / "ran"
    planted(checkout, canary)
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    done = asked(checkout, tmp_path, MLOPS_PACKAGE="mlops_lib", **offline)
    assert done.returncode == 2, done.stderr
    assert not canary.exists()


def test_an_agent_without_a_home_gets_none_in_the_checkout(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "mlops-home").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mlops").write_text('#!/bin/sh\nprintf "%s" "$HOME"\n')
    (tmp_path / "bin" / "mlops").chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    asked(checkout, tmp_path, HOME="/nowhere", PATH=path)
    assert (tmp_path / "reply").read_text() == f"{tmp_path}/tmp/mlops-home"


def test_the_command_as_a_module_takes_nothing_from_the_folder(tmp_path: Path) -> None:
    canary = tmp_path / "ran"
    (tmp_path / "train.py").write_text("print(1)\n")
    for name in (
        "dulwich",
        "rich",
        "docker",
        "requests",
        "jinja2",
        "tomllib",
        "difflib",
        "subprocess",
    ):
        (tmp_path / f"{name}.py").write_text(f"open({str(canary)!r}, 'a').write(__name__)\n")
    for words in (["detect", "."], ["config", "."], ["runs"], ["show", "."], ["doctor"]):
        subprocess.run(
            [
                sys.executable,
                "-m",
                "mlops_lib",
                *words,
                *(["--home", "home"] if words[0] == "runs" else []),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=False,
            timeout=120,
        )
    assert not canary.exists()
