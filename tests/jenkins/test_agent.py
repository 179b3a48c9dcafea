"""The agent's shell text provides the command in the right version, however many builds ask at
once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A checkout whose command only says which version it is; in a folder with a space in its name."""
    folder = tmp_path / "the package"
    (folder / "mlops_lib").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "mlops_lib" / "__init__.py").touch()
    write_version(folder, 1)
    return folder


def write_version(package: Path, number: int) -> None:
    (package / "mlops_lib" / "__main__.py").write_text(
        f"import sys\nprint({number}, *sys.argv[1:])\n"
    )


class Agent:
    """One agent, with its own home."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "agent's home"
        self.workspace = folder / "work space"
        self.workspace.mkdir()

    def start(
        self, package: str, reply: str = "reply", *, build: str = "", **variables: str
    ) -> subprocess.Popen[bytes]:
        folder = self.workspace / f"mlops-{build or reply}"
        folder.mkdir(exist_ok=True)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.workspace),
            "MLOPS_HOME": str(self.home),
            "MLOPS_VERB": "detect",
            "MLOPS_PARAMS": "{}",
            "MLOPS_REPLY": str(self.workspace / reply),
            "MLOPS_BUILD": str(folder),
            "MLOPS_PACKAGE": package,
            "MLOPS_AGENT_PYTHON": sys.executable,
            **{
                name: value
                for name, value in os.environ.items()
                if name.startswith(("PIP_", "SSL_"))
            },
            **variables,
        }
        return subprocess.Popen(["sh", "-xe", str(AGENT)], cwd=self.workspace, env=environ)

    def ask(self, package: str, *, build: str, **variables: str) -> str:
        assert self.start(package, build=build, **variables).wait(timeout=300) == 0
        return (self.workspace / "reply").read_text().strip()

    @property
    def environments(self) -> list[str]:
        return sorted(path.name for path in (self.home / "jenkins").iterdir())


def test_one_environment_for_builds_that_ask_at_once(tmp_path: Path, package: Path) -> None:
    agent = Agent(tmp_path)
    builds = [agent.start(str(package), f"reply{number}") for number in range(2)]
    assert [build.wait(timeout=500) for build in builds] == [0, 0]
    replies = {(agent.workspace / f"reply{number}").read_text() for number in range(2)}
    assert replies == {"1 detect --json\n"}
    assert len(agent.environments) == 1, agent.environments
    assert sorted(path.name for path in package.iterdir()) == [
        "mlops_lib",
        "pyproject.toml",
    ]  # nothing was built there


def test_a_changed_folder_is_another_version_but_not_within_a_build(
    tmp_path: Path, package: Path
) -> None:
    agent = Agent(tmp_path)
    assert agent.ask(str(package), build="1") == "1 detect --json"
    [name] = agent.environments
    write_version(package, 2)
    assert agent.ask(str(package), build="1") == "1 detect --json"
    assert agent.ask(str(package), build="2") == "2 detect --json"
    assert len(agent.environments) == 2
    package.rename(tmp_path / "another workspace")
    assert agent.ask(str(tmp_path / "another workspace"), build="3") == "2 detect --json"
    assert len(agent.environments) == 2, "the same content was installed again"
    package = tmp_path / "another workspace"
    # What a killed build left is no environment.
    (agent.home / "jenkins" / name).rename(agent.home / "jenkins" / f"{name}.partial.killed")
    assert agent.ask(str(package), build="1") == "2 detect --json"


def test_a_branch_that_moved_is_another_version(tmp_path: Path, package: Path) -> None:
    agent = Agent(tmp_path)
    repository = tmp_path / "repository"
    package.rename(repository)  # pip reads no spaces in an address

    def commit() -> None:
        git = [
            "git",
            "-C",
            str(repository),
            "-c",
            "user.name=Somebody",
            "-c",
            "user.email=somebody@example.com",
        ]
        for command in (
            ["init", "--quiet", "--initial-branch", "release/1"],
            ["add", "."],
            ["commit", "--quiet", "-m", "change"],
        ):
            subprocess.run([*git, *command], check=True, timeout=30)

    commit()
    assert agent.ask(f"git+file://{repository}@release/1", build="1") == "1 detect --json"
    write_version(repository, 2)
    commit()
    assert agent.ask(f"git+file://{repository}@release/1", build="2") == "2 detect --json"
    # Where nothing says what to install, the library's own repository is taken, by any address that
    # git knows.
    history = ["git", "-C", str(repository), "rev-list", "--max-parents=0", "HEAD"]
    first = subprocess.run(
        history, capture_output=True, text=True, check=True, timeout=30
    ).stdout.strip()
    origin = f"git+{repository}@{first}"
    assert agent.ask("", build="3", MLOPS_ORIGIN=origin, PATH="/usr/bin:/bin") == "1 detect --json"


def test_a_package_that_cannot_be_installed_leaves_nothing(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    assert agent.start(str(tmp_path / "no-such-package.whl")).wait(timeout=300) == 2
    assert agent.environments == []


def test_a_python_that_is_too_old_is_named(tmp_path: Path, package: Path) -> None:
    agent = Agent(tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python3").write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.6.8"\nexit 1\n'
    )
    (tools / "python3").chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-xe", str(AGENT)],
        cwd=agent.workspace,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={
            "PATH": str(tools),
            "HOME": str(agent.workspace),
            "MLOPS_PACKAGE": str(package),
            "MLOPS_BUILD": ".",
        },
    )
    assert done.returncode == 2
    assert "no Python of 3.10 or newer on this agent (found: Python 3.6.8)" in done.stderr


def test_what_an_agent_installs_from_a_checkout_is_all_that_the_package_is_built_from() -> None:
    """A build of the package fails without its catalog, which lies beside it (setup.py)."""
    [copied] = [
        line for line in AGENT.read_text().splitlines() if line.strip().startswith("for item in ")
    ]
    setup = (ROOT / "setup.py").read_text()
    assert '"containers"' in setup
    assert {"mlops_lib", "containers", "pyproject.toml", "setup.py"} <= set(copied.split())
