"""Nothing is written or removed through what a push has put there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_lib.ci import artifacts
from mlops_lib.errors import UsageError
from mlops_lib.pipeline.job import prepare
from mlops_lib.project import places

pytestmark = pytest.mark.attack

Plant = Callable[[Path, Path], None]
RESULTS = Path(".mlops") / "results"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder of the host with files that somebody needs."""
    place = tmp_path / "foreign"
    for name in ("results/needed.txt", "needed.txt", "results/junit.xml"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("needed")
    return place


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "workspace"
    place.mkdir()
    (place / "train.py").write_text("from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n")
    monkeypatch.chdir(place)
    return place


def contents(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def mlops(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-m", "mlops_lib", *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def linked_parent(project: Path, foreign: Path) -> None:
    (project / ".mlops").symlink_to(foreign)


def relative_link(project: Path, foreign: Path) -> None:
    (project / ".mlops").symlink_to(os.path.relpath(foreign, project))


def linked_folder(project: Path, foreign: Path) -> None:
    (project / ".mlops").mkdir()
    (project / RESULTS).symlink_to(foreign)


def marked_through_a_link(project: Path, foreign: Path) -> None:
    """The foreign folder carries a mark, of mlops itself or brought by chance."""
    (foreign / "results" / places.MARK).touch()
    linked_parent(project, foreign)


def linked_mark(project: Path, foreign: Path) -> None:
    (project / RESULTS).mkdir(parents=True)
    (project / RESULTS / "kept.txt").write_text("needed")
    (project / RESULTS / places.MARK).symlink_to(foreign / "needed.txt")


def no_mark(project: Path, foreign: Path) -> None:
    (project / RESULTS).mkdir(parents=True)
    (project / RESULTS / "kept.txt").write_text("needed")


def a_file(project: Path, foreign: Path) -> None:
    (project / ".mlops").write_text("needed")


def a_pipe(project: Path, foreign: Path) -> None:
    (project / ".mlops").mkdir()
    os.mkfifo(project / RESULTS)


PLANTS = [
    linked_parent,
    relative_link,
    linked_folder,
    marked_through_a_link,
    linked_mark,
    no_mark,
    a_file,
    a_pipe,
]


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("place", [RESULTS, Path("sub/../.mlops/results")], ids=["plain", "dotted"])
def test_artifacts_replace_nothing_foreign(
    place: Path, plant: Plant, project: Path, foreign: Path
) -> None:
    plant(project, foreign)
    before = contents(foreign), contents(project)
    for folder in (place, project / place):
        with pytest.raises(UsageError):
            artifacts.gather(None, folder, project=project)
    assert (contents(foreign), contents(project)) == before


def test_a_checkout_counts_from_its_top(
    project: Path, foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = project / "model"
    model.mkdir()
    subprocess.run(["git", "init", "--quiet"], check=True, timeout=30)
    (project / ".mlops").symlink_to(foreign)
    monkeypatch.chdir("/")
    before = contents(foreign)
    with pytest.raises(UsageError, match="link"):
        artifacts.gather(None, project / RESULTS, project=model)
    assert contents(foreign) == before


def test_its_own_folder_is_filled_again(project: Path, foreign: Path, tmp_path: Path) -> None:
    artifacts.gather(None, RESULTS, project=project)
    (project / RESULTS / "old.txt").write_text("of the build before")
    (project / RESULTS / "link").symlink_to(foreign)
    before = contents(foreign)
    artifacts.gather(None, RESULTS, project=project)
    assert not (project / RESULTS / "old.txt").exists()
    assert contents(foreign) == before
    # What the operator links outside of the project is the operator's own.
    (tmp_path / "server").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "server")
    artifacts.gather(None, tmp_path / "link" / "results", project=project)
    assert (tmp_path / "server" / "results" / "junit.xml").is_file()


def test_the_command_removes_nothing(project: Path, foreign: Path, tmp_path: Path) -> None:
    linked_parent(project, foreign)
    before = contents(foreign)
    done = mlops("report", ".", "--artifacts", str(RESULTS), "--home", str(tmp_path / "home"))
    assert done.returncode == 2, done.stderr
    assert "artifacts" not in json.loads(done.stdout.splitlines()[-1]), (
        "a build server publishes what this names only"
    )
    assert contents(foreign) == before
    (project / ".mlops").unlink()
    done = mlops(
        "report",
        ".",
        "--entry",
        "none.py",
        "--artifacts",
        str(RESULTS),
        "--home",
        str(tmp_path / "home"),
    )
    assert (done.returncode, json.loads(done.stdout.splitlines()[-1])["artifacts"]) == (
        3,
        str(RESULTS),
    ), done.stderr


@pytest.mark.parametrize("name", ["mlops.toml", "Jenkinsfile"])
@pytest.mark.parametrize("target", ["planted.txt", "needed.txt", "results", "missing/folder"])
def test_init_writes_through_no_link(name: str, target: str, project: Path, foreign: Path) -> None:
    (project / name).symlink_to(foreign / target)
    before = contents(foreign)
    done = mlops("init", ".")
    assert done.returncode == 2, done.stderr
    assert contents(foreign) == before
    assert {path.name for path in project.iterdir()} == {"train.py", name}, (
        "all or nothing is written"
    )


def test_init_goes_into_no_other_folder(project: Path, foreign: Path) -> None:
    (project / ".git").mkdir()
    (project / "model").symlink_to(foreign)
    before = contents(foreign)
    assert mlops("init", "model").returncode == 3
    assert contents(foreign) == before


def test_a_home_or_run_in_the_project_is_not_pushed(
    project: Path, foreign: Path, tmp_path: Path
) -> None:
    (project / "link").symlink_to(foreign)
    before = contents(foreign)
    for given in (
        {"home": "link"},
        {"home": "link/deeper"},
        {"home": str(tmp_path / "home"), "run_dir": "link/run"},
    ):
        with pytest.raises(UsageError, match="link"):
            prepare(project, backend="process", **given)
    assert contents(foreign) == before
    (project / "home").mkdir()
    (project / "home" / ".mlops-home").touch()
    git = ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.com"]
    for words in (["init", "--quiet"], ["add", "home"], ["commit", "--quiet", "-m", "1"]):
        subprocess.run([*git, *words], check=True, timeout=30)
    with pytest.raises(UsageError, match="pushed"):
        prepare(project, backend="process", home="home")


def test_new_files_go_where_they_are_named(project: Path, foreign: Path) -> None:
    (project / "link").symlink_to(foreign)
    (project / "dangling").symlink_to(foreign / "new.txt")
    for path in ("link/new.txt", "dangling", "../new.txt", str(foreign / "new.txt"), "train.py"):
        with pytest.raises(UsageError):
            places.create(path, b"content", root=project)
    places.create("a/b/new.txt", b"content", root=project)
    assert (project / "a/b/new.txt").read_bytes() == b"content"
    assert not (foreign / "new.txt").exists()
    assert not (project.parent / "new.txt").exists()
