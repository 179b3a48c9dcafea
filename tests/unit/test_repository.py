"""A repository read without git answers what git answers."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_lib.project import fingerprint, git_history, repository

Git = Callable[..., str]
YEAR_AGO = str(int(time.time()) - 365 * 86400)


def git_in(place: Path) -> Git:
    """Return a function that runs git in a folder, by the developer's own hand."""

    def git(*words: str) -> str:
        identity = [
            "-c",
            "user.name=Ann Example",
            "-c",
            "user.email=ann@example.com",
            "-c",
            "init.defaultBranch=main",
        ]
        allowed = ["-c", "protocol.file.allow=always"]
        command = ["git", "-C", str(place), *identity, *allowed, *words]
        return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout.decode()

    return git


@pytest.fixture
def work(tmp_path: Path) -> tuple[Path, Git]:
    """A repository with a project in a subfolder, and one beside it."""
    top = tmp_path / "work"
    top.mkdir()
    git = git_in(top)
    git("init", "--quiet")
    for number in range(6):
        for name in ("digits/train.py", "wine/train.py"):
            if number % 2 == 0 or name.startswith("digits"):
                (top / name).parent.mkdir(exist_ok=True)
                (top / name).write_text(f"# {number} of {name}\n" + "print(1)\n" * 200)
        (top / "digits" / f"table-{number}.csv").write_text("a,b\n" * (number + 3))
        (top / "digits" / "run.sh").write_text("python train.py\n")
        (top / "digits" / "run.sh").chmod(0o755)
        if number == 0:
            (top / "digits" / "main.py").symlink_to("train.py")
            (top / "digits" / "größe ☃.csv").write_text("1\n")
        git("add", "--all")
        git("commit", "--quiet", "-m", f"Change {number}\n\nWhy.")
    return top, git


def compare(folder: Path, git: Git) -> None:
    """Hold our answers against those of git in the same folder."""
    checkout = repository.find(folder)
    assert checkout is not None
    assert checkout.head == git("rev-parse", "HEAD").strip()
    assert checkout.author == git("log", "-1", "--format=%an <%ae>").strip()
    listed = git("ls-files", "-s", "-z", "--", ".").split("\0")[:-1]
    staged = {
        line.partition("\t")[2]: line.split()[1] for line in listed if not line.startswith("160000")
    }
    dirty = set(git("diff-files", "--name-only", "-z", "--relative").split("\0"))
    assert checkout.unchanged(folder) == {
        path: blob for path, blob in staged.items() if path not in dirty
    }
    assert checkout.tracked(folder) == {line.partition("\t")[2] for line in listed}
    # `git log` would order commits of one second by what it met first.
    every = git("log", "--reverse", "--format=%H").split()
    for before in dict.fromkeys((every[0], every[len(every) // 2], every[-1])):
        ours = checkout.commits_since(before, folder, limit=50)
        theirs = git(
            "log", "--abbrev=10", "--format=%h %an: %s", f"{before}..HEAD", "--", "."
        ).splitlines()
        assert sorted(ours) == sorted(theirs)


def test_loose_and_packed_objects(work: tuple[Path, Git]) -> None:
    top, git = work
    compare(top, git)
    compare(top / "digits", git_in(top / "digits"))
    git("gc", "--quiet", "--aggressive")
    assert not list((top / ".git/objects").glob("[0-9a-f][0-9a-f]/*"))
    compare(top, git)
    compare(top / "wine", git_in(top / "wine"))


def test_a_branch_a_merge_and_a_detached_head(work: tuple[Path, Git]) -> None:
    top, git = work
    git("checkout", "--quiet", "-b", "side", "HEAD~3")
    (top / "wine" / "new.py").write_text("print(2)\n")
    git("add", "--all")
    git("commit", "--quiet", "-m", "Beside")
    git("checkout", "--quiet", "main")
    git("merge", "--quiet", "--no-ff", "-m", "Merge", "side")
    compare(top, git)
    compare(top / "wine", git_in(top / "wine"))
    compare(top / "digits", git_in(top / "digits"))
    git("checkout", "--quiet", "--detach", "HEAD~1")
    compare(top, git)


def test_what_was_changed_since(work: tuple[Path, Git]) -> None:
    top, git = work
    old = (int(YEAR_AGO), int(YEAR_AGO))
    for path in (top / "digits").iterdir():
        os.utime(path, old, follow_symlinks=False)
    git("update-index", "--refresh")
    compare(top, git)
    (top / "digits" / "train.py").write_text("changed")
    (top / "digits" / "table-1.csv").unlink()
    (top / "digits" / "run.sh").chmod(0o644)
    (top / "digits" / "main.py").unlink()
    (top / "digits" / "main.py").write_text("a file now")
    (top / "digits" / "untracked.csv").write_text("1")
    compare(top, git)


def test_a_change_in_the_same_moment_is_seen(work: tuple[Path, Git]) -> None:
    top, git = work
    table = top / "wine" / "table.csv"
    for attempt in range(30):
        table.write_text(f"{attempt:03}")
        git("add", "--all")
        table.write_text(f"{attempt:03}"[::-1])  # the same size, perhaps the same time as the index
        compare(top / "wine", git_in(top / "wine"))


def test_a_shallow_clone_as_build_servers_make(work: tuple[Path, Git], tmp_path: Path) -> None:
    top, _ = work
    place = tmp_path / "workspace"
    git_in(tmp_path)("clone", "--quiet", "--depth", "3", top.as_uri(), str(place))
    compare(place, git_in(place))
    assert git_history.repository_name(place) == "work"
    assert git_history.repository_name(place / "digits") is None
    assert fingerprint.manifest(place / "digits") == fingerprint.manifest(top / "digits")


def test_an_index_of_version_4(work: tuple[Path, Git]) -> None:
    top, git = work
    git("update-index", "--index-version", "4")
    compare(top, git)


def test_a_repository_named_by_sha256(tmp_path: Path) -> None:
    git = git_in(tmp_path)
    git("init", "--quiet", "--object-format=sha256")
    (tmp_path / "train.py").write_text("print(1)\n")
    (tmp_path / "data.csv").write_text("1\n")
    git("add", "--all")
    git("commit", "--quiet", "-m", "One")
    compare(tmp_path, git)


def test_a_worktree_and_a_submodule(work: tuple[Path, Git], tmp_path: Path) -> None:
    top, git = work
    tree = tmp_path / "tree"
    git("worktree", "add", "--quiet", "-b", "other", str(tree))
    compare(tree / "digits", git_in(tree / "digits"))
    outer = tmp_path / "outer"
    outer.mkdir()
    git_in(outer)("init", "--quiet")
    git_in(outer)("submodule", "--quiet", "add", str(top), "models")
    git_in(outer)("commit", "--quiet", "-m", "Add the models")
    compare(outer / "models" / "digits", git_in(outer / "models" / "digits"))
    compare(outer, git_in(outer))


def test_no_commit_yet_and_no_repository(tmp_path: Path) -> None:
    place = tmp_path / "new"
    place.mkdir()
    assert (
        git_history.commit(place),
        git_history.author(place),
        git_history.repository_name(place),
    ) == (None, "", None)
    git_in(place)("init", "--quiet")
    (place / "train.py").write_text("print(1)\n")
    before = fingerprint.manifest(place)
    git_in(place)("add", "--all")
    assert (
        git_history.commit(place),
        git_history.author(place),
        git_history.repository_name(place),
    ) == (None, "", None)
    assert git_history.commits_since(place, "0" * 40) == []
    assert fingerprint.manifest(place) == before, (
        "a script is the same project, under version control or not"
    )


def test_a_commit_is_taken_out_as_it_was(work: tuple[Path, Git], tmp_path: Path) -> None:
    top, git = work
    content = "a,b\n" * 50
    oid = (
        subprocess.run(["sha256sum"], input=content.encode(), capture_output=True, check=True)
        .stdout[:64]
        .decode()
    )
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
    (top / "digits" / "large.csv").write_text(pointer)
    git("add", "--all")
    git("commit", "--quiet", "-m", "Large")
    named, wanted = git("rev-parse", "HEAD").strip(), fingerprint.manifest(top / "digits")
    (top / "digits" / "train.py").write_text("changed since")
    (top / "digits" / "large.csv").write_text(content)  # as `git lfs pull` leaves it
    checkout = repository.find(top)
    assert checkout is not None
    assert checkout.export(named, tmp_path / "then")
    then = tmp_path / "then" / "digits"
    assert (git_history.commit(then), fingerprint.manifest(then)) == (named, wanted)
    assert (then / "large.csv").read_text() == content
    assert (then / "main.py").readlink() == Path("train.py")
    assert os.access(then / "run.sh", os.X_OK)
    assert not checkout.export("0" * 40, tmp_path / "never")
