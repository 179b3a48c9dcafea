"""A pushed repository runs nothing on the host, and is read no further than its own folder."""

from __future__ import annotations

import os
import stat
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_lib.project import fingerprint, git_history, repository

pytestmark = pytest.mark.attack

Plant = Callable[[Path, str], None]


def git(place: Path, *words: str) -> str:
    identity = ["-c", "user.name=Mallory", "-c", "user.email=mallory@example.com"]
    done = subprocess.run(
        ["git", "-C", str(place), *identity, *words], capture_output=True, check=False, timeout=60
    )
    return done.stdout.decode()


def repository_in(place: Path, secret: str = "print(1)") -> Path:
    """A repository with one script and two commits."""
    place.mkdir(parents=True)
    git(place, "init", "--quiet", "--initial-branch=main")
    for number in range(2):
        (place / "train.py").write_text(f"{secret}  # {number}\n")
        git(place, "add", "--all")
        author = (
            "Mallory <mallory@example.com>"
            if secret == "print(1)"
            else f"{secret} <victim@example.com>"
        )
        git(place, "commit", "--quiet", "-m", f"{secret} {number}", "--author", author)
    return place


def configured(text: str) -> Plant:
    def plant(place: Path, program: str) -> None:
        with (place / ".git" / "config").open("a") as stream:
            stream.write(text.replace("PROGRAM", program))

    return plant


def included(place: Path, program: str) -> None:
    (place / "more.cfg").write_text(f"[core]\n\tfsmonitor = {program}\n")
    configured("[include]\n\tpath = ../more.cfg\n")(place, program)


def filtered(place: Path, program: str) -> None:
    (place / ".gitattributes").write_text("*.py filter=evil diff=evil\n")
    configured(
        '[filter "evil"]\n\tclean = PROGRAM\n\tsmudge = PROGRAM\n[diff "evil"]\n\ttextconv = PROGRAM\n'
    )(place, program)
    os.utime(place / "train.py", (1, 1))


def hooked(place: Path, program: str) -> None:
    (place / ".git" / "hooks").mkdir(exist_ok=True)
    for name in (
        "post-index-change",
        "fsmonitor-watchman",
        "post-checkout",
        "reference-transaction",
    ):
        (place / ".git" / "hooks" / name).write_text(f"#!/bin/sh\n{program}\n")
        (place / ".git" / "hooks" / name).chmod(0o755)


def bare_inside(place: Path, program: str) -> None:
    """The files of a bare repository committed in a subfolder, which git takes for the repository
    there.
    """
    inside = place / "model"
    for name in ("objects/x", "refs/x"):
        (inside / name).mkdir(parents=True)
        (inside / name / ".k").write_text("")
    (inside / "HEAD").write_text("ref: refs/heads/main\n")
    (inside / "config").write_text(
        f"[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n\tfsmonitor = {program}\n"
    )
    (inside / "train.py").write_text("print(1)\n")


PLANTS = {
    "fsmonitor": configured("[core]\n\tfsmonitor = PROGRAM\n"),
    "pager and editor": configured(
        "[core]\n\tpager = PROGRAM\n\teditor = PROGRAM\n\tsshCommand = PROGRAM\n"
    ),
    "signature": configured("[log]\n\tshowSignature = true\n[gpg]\n\tprogram = PROGRAM\n"),
    "hooks path": configured("[core]\n\thooksPath = .\n\tuntrackedCache = true\n"),
    "alias": configured(
        "[alias]\n\tls-files = !PROGRAM\n\tlog = !PROGRAM\n\trev-parse = !PROGRAM\n"
    ),
    "partial clone": configured(
        '[extensions]\n\tpartialClone = origin\n[remote "origin"]\n\turl = ext::PROGRAM\n\tpromisor = true\n'
    ),
    "include": included,
    "filter and textconv": filtered,
    "hooks": hooked,
    "bare repository inside": bare_inside,
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_nothing_that_a_repository_names_is_run(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = repository_in(tmp_path / "project")
    canary = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho run >> {canary}\ncat\n")
    program.chmod(0o755)
    plant(place, str(program))
    # Whatever starts a program of the name git is caught too, whether or not git would obey.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to(program)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for folder in (place, place / "model"):
        if folder.is_dir():
            fingerprint.manifest(folder)
            assert git_history.commit(folder)
            assert git_history.author(folder) == "Mallory <mallory@example.com>"
            git_history.repository_name(folder)
            git_history.commits_since(folder, git_history.commit(folder))
            checkout = repository.find(folder)
            assert checkout is not None
            assert checkout.export(checkout.head or "", tmp_path / f"then-{folder.name}")
    assert not canary.exists()


def test_the_trap_is_one(tmp_path: Path) -> None:
    """Git itself runs what is planted, or the test above would show nothing."""
    place = repository_in(tmp_path / "project")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho run >> {tmp_path / 'ran'}\n")
    program.chmod(0o755)
    PLANTS["fsmonitor"](place, str(program))
    git(place, "diff-files", "--name-only")
    assert (tmp_path / "ran").exists()


SECRET = "another repository"


def elsewhere_file(place: Path, other: Path) -> None:
    (place / ".git").write_text(f"gitdir: {other / '.git'}\n")


def elsewhere_link(place: Path, other: Path) -> None:
    (place / ".git").symlink_to(other / ".git")


def _gitdir(place: Path) -> Path:
    repository_in(place / "new")
    (place / "new" / ".git").rename(place / ".git")
    return place / ".git"


def linked_parts(place: Path, other: Path) -> None:
    own = _gitdir(place)
    for name in ("refs", "objects", "index"):
        subprocess.run(["rm", "-r", str(own / name)], check=True)
        (own / name).symlink_to(other / ".git" / name)


def linked_head(place: Path, other: Path) -> None:
    own = _gitdir(place)
    (own / "HEAD").unlink()
    (own / "HEAD").symlink_to(other / ".git" / "refs" / "heads" / "main")


def alternates(place: Path, other: Path) -> None:
    own = _gitdir(place)
    (own / "objects" / "info" / "alternates").write_text(f"{other / '.git' / 'objects'}\n")
    (own / "HEAD").write_text(git(other, "rev-parse", "HEAD"))


def common_folder(place: Path, other: Path) -> None:
    own = _gitdir(place)
    (own / "commondir").write_text(f"{other / '.git'}\n")
    (own / "HEAD").write_text("ref: refs/heads/main\n")
    (own / "refs" / "heads" / "main").unlink()


def forged_worktree(place: Path, other: Path) -> None:
    """Its own folder plays the worktree's git folder, whose common folder is the other repository."""
    own = place / "fake" / "worktrees" / "x"
    own.mkdir(parents=True)
    (own / "gitdir").write_text(f"{place / '.git'}\n")
    (own / "commondir").write_text(f"{other / '.git'}\n")
    (own / "HEAD").write_text("ref: refs/heads/main\n")
    (place / ".git").write_text("gitdir: fake/worktrees/x\n")


def climbing_reference(place: Path, other: Path) -> None:
    own = _gitdir(place)
    (own / "HEAD").write_text(f"ref: refs/../../../{other.name}/.git/refs/heads/main\n")


@pytest.mark.parametrize(
    "plant",
    [
        elsewhere_file,
        elsewhere_link,
        linked_parts,
        linked_head,
        alternates,
        common_folder,
        forged_worktree,
        climbing_reference,
    ],
)
def test_no_other_repository_is_read(plant: Callable[[Path, Path], None], tmp_path: Path) -> None:
    other = repository_in(tmp_path / "other", secret=SECRET)
    place = tmp_path / "project"
    place.mkdir()
    plant(place, other)
    head = git(other, "rev-parse", "HEAD").strip()
    told = [
        git_history.author(place),
        *git_history.commits_since(place, git(other, "rev-parse", "HEAD~1").strip()),
    ]
    told += [git_history.repository_name(place) or ""]
    assert SECRET not in str(told)
    assert plant is alternates or git_history.commit(place) != head, (
        "that name came from its own HEAD"
    )
    checkout = repository.find(place)
    assert checkout is None or not checkout.export(head, tmp_path / "then")


def endless(place: Path) -> None:
    for name in ("index", "HEAD", "config"):
        (place / ".git" / name).unlink()
    os.mkfifo(place / ".git" / "index")
    (place / ".git" / "HEAD").symlink_to("/dev/zero")
    (place / ".git" / "config").symlink_to("/dev/stdin")


def pipes(place: Path) -> None:
    for name in ("index", "HEAD", "config", "packed-refs"):
        (place / ".git" / name).unlink(missing_ok=True)
        os.mkfifo(place / ".git" / name)


def inflated(place: Path) -> None:
    """A commit of some kilobytes that unpacks to gigabytes."""
    bomb = b"1" * 40
    folder = place / ".git" / "objects" / bomb[:2].decode()
    folder.mkdir()
    parts = zlib.compressobj(9)
    with (folder / bomb[2:].decode()).open("wb") as stream:
        stream.write(parts.compress(b"commit 4000000000\0tree "))
        for _ in range(200):
            stream.write(parts.compress(b"0" * (1 << 20)))
        stream.write(parts.flush())
    (place / ".git" / "HEAD").write_bytes(bomb)


def damaged(place: Path) -> None:
    for number, path in enumerate(sorted((place / ".git").rglob("*"))):
        if path.is_file() and not path.is_symlink() and path.name != "HEAD":
            path.chmod(stat.S_IRUSR | stat.S_IWUSR)
            path.write_bytes(path.read_bytes()[: number * 7] + b"\xff\x00" * 50)


def longest_reference(place: Path) -> None:
    (place / ".git" / "HEAD").write_text("ref: HEAD\n")
    (place / ".git" / "packed-refs").write_text("ref: refs/heads/main\n" * 1000)


def claims_of_millions(place: Path) -> None:
    """An index that announces four thousand million files, and one too large to be read."""
    (place / ".git" / "index").write_bytes(b"DIRC\0\0\0\2\xff\xff\xff\xff" + b"\0" * 100_000)
    (place / ".git" / "config").write_text("[a]\nb = " + "x\\\n" * 300_000)
    with (place / ".git" / "packed-refs").open("wb") as stream:
        stream.truncate(1 << 36)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "plant", [endless, pipes, inflated, damaged, longest_reference, claims_of_millions]
)
def test_no_repository_holds_us_or_breaks_us(plant: Callable[[Path], None], tmp_path: Path) -> None:
    place = repository_in(tmp_path / "project")
    plant(place)
    assert len(fingerprint.manifest(place)) == 64
    assert git_history.author(place) in ("", "Mallory <mallory@example.com>")
    git_history.commit(place)
    git_history.repository_name(place)
    assert git_history.commits_since(place, "1" * 40) == []


def test_a_tree_writes_only_below_its_folder(tmp_path: Path) -> None:
    place = repository_in(tmp_path / "project")

    def stored(kind: str, content: bytes) -> bytes:
        words = ["git", "-C", str(place), "hash-object", "-t", kind, "-w", "--stdin", "--literally"]
        return bytes.fromhex(
            subprocess.run(words, input=content, capture_output=True, check=True).stdout.decode()
        )

    blob, link = stored("blob", b"evil"), stored("blob", str(tmp_path).encode())
    inner = stored("tree", b"100644 escaped\0" + blob)
    trees = {
        "above": b"100644 ../escaped\0" + blob,
        "absolute": b"100644 " + str(tmp_path / "escaped").encode() + b"\0" + blob,
        "parent": b"40000 ..\0" + inner,
        "through a link": b"120000 a\0" + link + b"40000 a\0" + inner,
        "repository": b"40000 .GIT\0" + inner,
    }
    checkout = repository.find(place)
    assert checkout is not None
    for name, content in trees.items():
        tree = stored("tree", content).hex()
        commit = f"tree {tree}\nauthor M <m@x> 1 +0000\ncommitter M <m@x> 1 +0000\n\nx\n".encode()
        assert not checkout.export(stored("commit", commit).hex(), tmp_path / "then" / name), name
    assert [path for path in tmp_path.rglob("escaped") if "then" not in path.parts] == []
    assert list((tmp_path / "then").glob("*/.git/*")) == []
