"""The git repository that a project is checked out from, read without running git.

Git obeys the repository it is run in (`core.fsmonitor`, filters, `gpg.program`, hooks, includes, a
bare repository in a subfolder), so no git program is started here. Dulwich's parsers read the files
of the repository, which are opened like every other pushed file (mlops_lib.project.files): inside
the repository, regular, bounded, no links out of it. Of its configuration only `remote.origin.url`,
`core.filemode`, `core.worktree` and the object format are looked at; includes, alternates,
replacements and hooks are not. docs/decisions/0040-a-repository-is-read-not-run.md has the reasons.

What cannot be read is answered like a project without a repository: `None`, or nothing.
"""

from __future__ import annotations

import hashlib
import heapq
import mmap
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lib.errors import RefusedFileError
from mlops_lib.project import files

if TYPE_CHECKING:
    from dulwich.object_format import ObjectFormat
    from dulwich.objects import Commit

INDEX_LIMIT = 64 << 20
"""Bytes; some 600,000 files."""
REFS_LIMIT = 64 << 20
OBJECT_LIMIT = 32 << 20
"""Bytes of a commit or tree, unpacked."""
BLOB_LIMIT = 2 << 30
"""Bytes of a file that is taken out of a commit."""
EXPORT_LIMIT = 256 << 30
"""Bytes of all files of a commit."""
HASH_LIMIT = 256 << 20
"""Bytes of a file that is hashed because its times do not show whether it changed."""
HISTORY_LIMIT = 256 << 20
"""Bytes of all commits and trees, unpacked, that are read for one answer."""
PACKS_LIMIT = 2000
CHAIN_LIMIT = 4096
"""Deltas on top of each other; git makes at most 4095."""
WALK_LIMIT = 5_000
"""Commits looked at for a list of changes."""
DEPTH_LIMIT = 100
"""Folders within each other in a commit."""
ABBREVIATED = 10
"""Characters of a commit's name that are shown."""

_COMMIT = 1
_TREE = 2
_BLOB = 3
_OFS_DELTA = 6
_REF_DELTA = 7
_TYPES = {b"commit": _COMMIT, b"tree": _TREE, b"blob": _BLOB, b"tag": 4}
_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def find(project: Path) -> Checkout | None:
    """Return the checkout that a folder belongs to, or None.

    A `.git` file names a folder elsewhere. It is followed only if that folder names this very
    checkout in turn, as the worktrees and submodules of git do: a push that brings a `.git` file
    cannot write there.
    """
    with _hostile():
        here = project.resolve()
        for folder in (here, *here.parents):
            mark = folder / ".git"
            try:
                kind = mark.lstat().st_mode
            except OSError:
                continue
            if stat.S_ISDIR(kind) and files.is_file("HEAD", root=mark):
                return Checkout(top=folder, git=mark, common=mark)
            if stat.S_ISDIR(kind):  # an empty folder of that name is no repository, for git neither
                continue
            return _elsewhere(folder) if stat.S_ISREG(kind) else None
    return None


def _elsewhere(folder: Path) -> Checkout | None:
    """Return the checkout of a folder whose `.git` is a file."""
    content = files.read_text(".git", root=folder, limit=4096).strip()
    if not content.startswith("gitdir:"):
        return None
    git = Path(os.path.realpath(folder / content.removeprefix("gitdir:").strip()))
    # `git worktree add` writes the way back into the repository, which no push can write.
    if git.parent.name == "worktrees" and _says(git, "gitdir", folder / ".git"):
        common = git.parent.parent
        return (
            Checkout(top=folder, git=git, common=common)
            if _says(git, "commondir", common)
            else None
        )
    checkout = Checkout(top=folder, git=git, common=git)
    # A submodule's git folder names its work tree in its configuration.
    worktree = checkout.setting("core", "worktree")
    return checkout if worktree and Path(os.path.realpath(git / worktree)) == folder else None


def _says(git: Path, name: str, place: Path) -> bool:
    """Return whether a file of a git folder holds the path of `place`."""
    content = files.read_text(name, root=git, limit=4096).strip()
    return bool(content) and os.path.realpath(git / content) == os.path.realpath(place)


@contextmanager
def _hostile() -> Iterator[None]:
    """Treat a repository that cannot be read as one that is not there."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except Exception:  # noqa: BLE001 - a stranger's bytes go through a library's parsers, which fail in any way
        return


@dataclass(frozen=True)
class Checkout:
    """A work tree and its repository."""

    top: Path
    """The work tree's folder."""
    git: Path
    """The checkout's own git folder: HEAD and index."""
    common: Path
    """The repository's git folder: refs, objects, config. The same one but for a worktree."""

    @cached_property
    def _settings(self) -> Any:
        """The repository's configuration file, includes left out."""
        from dulwich.config import ConfigFile

        with _hostile():
            content = files.read("config", root=self.common)
            # An include could name any file of the machine.
            return ConfigFile.from_file(BytesIO(content), expand_includes=False)
        return ConfigFile()

    def setting(self, section: str, name: str, *, subsection: str = "") -> str:
        """Return a value of the repository's own configuration, or ""."""
        with _hostile():
            place = (section.encode(), subsection.encode()) if subsection else (section.encode(),)
            value = self._settings.get(place, name.encode())
            return str(value.decode("utf-8", "replace"))
        return ""

    @property
    def origin(self) -> str:
        """The address it was cloned from, or ""."""
        return self.setting("remote", "url", subsection="origin").strip()

    @cached_property
    def _format(self) -> ObjectFormat:
        from dulwich.object_format import SHA1, SHA256

        return SHA256 if self.setting("extensions", "objectformat").lower() == "sha256" else SHA1

    @cached_property
    def head(self) -> str | None:
        """The name of the commit that is checked out; None in an empty repository."""
        with _hostile():
            content = files.read_text("HEAD", root=self.git, limit=4096).strip()
            for _ in range(5):  # a reference may name another one
                if not content.startswith("ref:"):
                    return content if _NAME.fullmatch(content) else None
                content = self._reference(content.removeprefix("ref:").strip())
        return None

    def _reference(self, name: str) -> str:
        """Return the content of a reference, or ""."""
        # HEAD is a pushed file like any other: `ref: ../../secret` must not be opened.
        if not name.startswith("refs/") or ".." in name.split("/"):
            return ""
        # A worktree has references of its own (HEAD, bisect), which come before the shared ones.
        for folder in dict.fromkeys((self.git, self.common)):
            with suppress(RefusedFileError):
                return files.read_text(name, root=folder, limit=4096).strip()
        with suppress(RefusedFileError):
            packed = files.read("packed-refs", root=self.common, limit=REFS_LIMIT)
            match = re.search(
                rb"^([0-9a-f]{40,64}) " + re.escape(os.fsencode(name)) + rb"\r?$",
                packed,
                re.MULTILINE,
            )
            return match[1].decode() if match else ""
        return ""

    # The index

    @cached_property
    def _entries(self) -> dict[bytes, Any]:
        """The index's entries by path; none if it cannot be read."""
        from dulwich.index import read_index_dict

        with _hostile():
            content = files.read("index", root=self.git, limit=INDEX_LIMIT)
            return dict(read_index_dict(BytesIO(content), self._format))
        return {}

    def _below(self, folder: Path) -> Iterator[tuple[str, Any]]:
        """The entries within a folder of the work tree: path relative to it, entry."""
        inside = os.path.relpath(folder.resolve(), self.top)
        prefix = b"" if inside == "." else os.fsencode(inside) + b"/"
        for path, entry in self._entries.items():
            if path.startswith(prefix):
                yield os.fsdecode(path[len(prefix) :]), entry

    def tracked(self, folder: Path) -> set[str]:
        """Return the tracked paths in a folder of the work tree, relative to that folder."""
        return {path for path, _ in self._below(folder)}

    def unchanged(self, folder: Path) -> dict[str, str]:
        """Return the object name of each unchanged tracked file in a folder, by path.

        As in git, a file is unchanged if size, times and kind are those in the index; if it is as
        young as the index itself, its content is compared.
        """
        names: dict[str, str] = {}
        with _hostile():
            index = (self.git / "index").lstat()
            by_mode = self.setting("core", "filemode").lower() != "false"
            for path, entry in self._below(folder):
                if hasattr(entry, "sha") and self._is_unchanged(
                    folder / path, entry, index.st_mtime_ns, by_mode
                ):
                    names[path] = entry.sha.decode()
        return names

    def _is_unchanged(self, path: Path, entry: Any, index_ns: int, by_mode: bool) -> bool:
        try:
            status = os.lstat(path)
        except (OSError, ValueError):
            return False
        (seconds, rest), (changed, _) = _times(entry.mtime), _times(entry.ctime)
        if (
            not _is_kind(status.st_mode, entry.mode, by_mode=by_mode)
            # The index holds the lower 32 bits of sizes and times (gitformat-index(5)).
            or status.st_size & 0xFFFFFFFF != entry.size
            or int(status.st_mtime) & 0xFFFFFFFF != seconds
            or (changed and int(status.st_ctime) & 0xFFFFFFFF != changed)
        ):
            return False
        # Some programs write no nanoseconds; then the index must be younger by its seconds.
        index_time_ns = index_ns if rest else index_ns // 10**9 * 10**9
        if rest in (0, status.st_mtime_ns % 10**9) and seconds * 10**9 + rest < index_time_ns:
            return True
        return self._named(path, status) == str(entry.sha.decode())

    def _named(self, path: Path, status: os.stat_result) -> str:
        """Return the object name of a file's content, or "" if it is too large."""
        if stat.S_ISLNK(status.st_mode):
            content = os.fsencode(path.readlink())
            digest = self._format.hash_func()
            digest.update(b"blob %d\0" % len(content) + content)
            return str(digest.hexdigest())
        if status.st_size > HASH_LIMIT:
            return ""
        with files.open_binary(path, root=self.top) as stream:
            digest = self._format.hash_func()
            digest.update(b"blob %d\0" % status.st_size)
            while part := stream.read(1 << 20):
                digest.update(part)
        return str(digest.hexdigest())

    # Commits

    @cached_property
    def author(self) -> str:
        """Return the author of the checked-out commit as `Name <address>`; "" if unknown."""
        with _hostile(), self._opened() as objects:
            commit = objects.commit(self.head or "")
            return "" if commit is None else _text(commit, commit.author)
        return ""

    def commits_since(self, before: str, folder: Path, *, limit: int) -> list[str]:
        """Return the commits after `before` that changed a folder, newest first.

        Args:
            before: a commit's full name; none are returned if the repository does not have it.
            folder: a folder of the work tree. As `git log` does, of a merge that changed nothing in
                it only the parent that it is equal to is followed.
            limit: how many are returned at most.

        Returns:
            Each as `id author: subject`.
        """
        with _hostile(), self._opened() as objects:
            if self.head is None or objects.commit(before) is None:
                return []
            inside = os.path.relpath(folder.resolve(), self.top)
            parts = [] if inside == "." else [os.fsencode(part) for part in Path(inside).parts]
            return [
                _line(commit) for commit in _walk(objects, self.head, before, parts, limit=limit)
            ]
        return []

    @contextmanager
    def _opened(self, budget: int = HISTORY_LIMIT) -> Iterator[Objects]:
        with ExitStack() as stack:
            yield Objects(self.common, self._format, stack, budget=budget)

    def export(self, commit: str, place: Path) -> bool:
        """Write a commit's files into the new folder `place`, with an index that names them.

        Nothing of the repository takes effect on them: no filter, no hook, no attribute. A
        submodule is an empty folder.

        Returns:
            Whether the repository has the commit, and all of it.
        """
        from mlops_lib.project.export import write

        is_written = False
        with _hostile(), self._opened(EXPORT_LIMIT) as objects:
            target = objects.commit(commit)
            if target is not None:
                write(
                    objects,
                    target.tree.decode(),
                    place,
                    commit=commit,
                    object_format=self._format,
                    now=self.top,
                )
                is_written = True
        return is_written


class Objects:
    """The objects of a repository: loose ones, and those in packs.

    Args:
        git: the repository's git folder.
        object_format: how its objects are named.
        stack: closes the opened files.
        budget: bytes that may be unpacked altogether.
    """

    def __init__(
        self, git: Path, object_format: ObjectFormat, stack: ExitStack, *, budget: int
    ) -> None:
        self._budget = budget
        self._git = git
        self._format = object_format
        self._stack = stack
        self._data: dict[str, mmap.mmap] = {}

    def commit(self, name: str) -> Commit | None:
        """Return a commit, or None if it is not there."""
        from dulwich.objects import Commit as Parsed

        kind, content = self.get(name)
        return Parsed.from_string(content) if kind == _COMMIT else None

    def tree(self, name: str) -> dict[bytes, tuple[int, str]]:
        """Return mode and object by name of a folder in a commit; empty if not there."""
        from dulwich.objects import parse_tree

        kind, content = self.get(name)
        if kind != _TREE:
            return {}
        entries = list(parse_tree(content, self._format.oid_length))
        by_name = {name_in_tree: (mode, sha.decode()) for name_in_tree, mode, sha in entries}
        # Git refuses such a tree, and which of the two entries counts would depend on the reader.
        if len(by_name) < len(entries):
            raise ValueError("a folder of the commit has two entries of one name")
        return by_name

    def get(self, name: str, *, limit: int = OBJECT_LIMIT) -> tuple[int, bytes]:
        """Return an object's type and content.

        The type is 0 if the object is not there or larger than `limit` bytes.
        """
        if not _NAME.fullmatch(name):
            return 0, b""
        kind, content = self._get(name, limit)
        # One answer may need thousands of objects, each of them within its own limit.
        self._budget -= len(content)
        if self._budget < 0:
            raise ValueError("the repository's objects are larger than is read")
        return kind, content

    def _get(self, name: str, limit: int) -> tuple[int, bytes]:
        try:
            packed = files.read(f"objects/{name[:2]}/{name[2:]}", root=self._git, limit=limit)
        except RefusedFileError:
            return self._packed(name.encode(), limit)
        # Step by step: a few kilobytes can inflate to gigabytes, so the output is bounded, not the
        # input.
        inflate = zlib.decompressobj()
        content = inflate.decompress(packed, limit + 64)
        if inflate.unconsumed_tail:
            return 0, b""
        head, _, content = content.partition(b"\0")
        return _TYPES.get(head.partition(b" ")[0], 0), content

    @cached_property
    def _indexes(self) -> list[tuple[str, Any]]:
        """The indexes of the packs, each with its pack's path."""
        from dulwich.pack import load_pack_index_file

        names = sorted(
            file_name
            for file_name in files.names_in("objects/pack", root=self._git)
            if file_name.endswith(".idx")
        )
        indexes = []
        for name in names[:PACKS_LIMIT]:
            with suppress(RefusedFileError):
                stream = files.open_binary(f"objects/pack/{name}", root=self._git)
                index = load_pack_index_file(name, stream, self._format)
                self._stack.callback(index.close)
                indexes.append((f"objects/pack/{name.removesuffix('.idx')}.pack", index))
        return indexes

    def _packed(self, name: bytes, limit: int) -> tuple[int, bytes]:
        for pack, index in self._indexes:
            try:
                offset = index.object_offset(name)
            except KeyError:
                continue
            return self._unpacked(pack, index, offset, limit)
        return 0, b""

    def _contents(self, pack: str) -> mmap.mmap:
        """Return a pack's bytes."""
        if pack not in self._data:
            stream = self._stack.enter_context(files.open_binary(pack, root=self._git))
            self._data[pack] = self._stack.enter_context(
                mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            )
        return self._data[pack]

    def _unpacked(self, pack: str, index: Any, offset: int, limit: int) -> tuple[int, bytes]:
        """Return the object at a place of a pack, put together from its deltas."""
        from dulwich.pack import apply_delta, unpack_object_at

        contents = self._contents(pack)
        deltas: list[bytes] = []
        for _ in range(CHAIN_LIMIT):
            # The size stands before the compressed bytes, so an object that is too large is never
            # unpacked.
            if _number(contents, offset, first=4)[0] > limit:
                return 0, b""
            entry, _end = unpack_object_at(contents, offset, self._format.hash_func)
            if entry.pack_type_num not in (_OFS_DELTA, _REF_DELTA):
                break
            delta = b"".join(entry.decomp_chunks)
            _, place = _number(delta, 0)
            # A delta of a few bytes can copy its base any number of times: the size that it
            # announces is checked before it is applied.
            if _number(delta, place)[0] > limit or sum(map(len, deltas)) > 4 * limit:
                return 0, b""
            deltas.append(delta)
            base = entry.delta_base
            offset = offset - base if isinstance(base, int) else index.object_offset(base)
        else:
            return 0, b""
        content = b"".join(entry.decomp_chunks)
        # The chain was read from the newest version down to its base, and is applied upwards.
        for delta in reversed(deltas):
            content = b"".join(apply_delta(content, delta))
        return entry.pack_type_num, content


def _number(content: Any, place: int, *, first: int = 7) -> tuple[int, int]:
    """Return a number as packs encode it and the position after it.

    `first` bits of its first byte count.
    """
    byte = content[place]
    value = byte & ((1 << first) - 1)
    shift = first
    while byte & 0x80:
        place += 1
        byte = content[place]
        value |= (byte & 0x7F) << shift
        shift += 7
    return value, place + 1


def _times(value: Any) -> tuple[int, int]:
    """Return seconds and nanoseconds of a time in the index."""
    return (int(value[0]), int(value[1])) if isinstance(value, tuple) else (int(value), 0)


def _is_kind(mode: int, recorded: int, *, by_mode: bool) -> bool:
    """Return whether a file is of its kind in the index: regular, executable, link."""
    if stat.S_IFMT(mode) != stat.S_IFMT(recorded) or stat.S_ISDIR(mode):
        return False
    return stat.S_ISLNK(mode) or not by_mode or bool(mode & 0o100) == bool(recorded & 0o100)


def _walk(
    objects: Objects, head: str, before: str, parts: list[bytes], *, limit: int
) -> list[Commit]:
    """Return the commits from `before` to `head` that change `parts`, newest first."""
    commits: dict[str, Commit | None] = {}
    pending: list[tuple[int, str]] = []
    queued: set[tuple[str, bool]] = set()
    dull: set[str] = set()
    """Commits that lead to `before` too."""

    def commit(name: str) -> Commit | None:
        if name not in commits:
            commits[name] = objects.commit(name)
        return commits[name]

    def queue(name: str, *, is_dull: bool) -> None:
        if is_dull:
            dull.add(name)
        parsed = commit(name)
        if parsed is not None and (name, is_dull) not in queued:  # None: a shallow clone ends here
            queued.add((name, is_dull))
            heapq.heappush(pending, (-parsed.commit_time, name))

    queue(before, is_dull=True)
    queue(head, is_dull=False)
    selected: dict[str, Commit] = {}
    for _ in range(WALK_LIMIT):
        alive = [candidate for name, candidate in selected.items() if name not in dull]
        oldest = min((candidate.commit_time for candidate in alive), default=float("inf"))
        # Of commits made in the same second, one that leads to `before` may come up late.
        late = bool(pending) and -pending[0][0] >= oldest
        if not late and (len(alive) >= limit or all(name in dull for _, name in pending)):
            break
        _, name = heapq.heappop(pending)
        candidate = commits[name]
        assert candidate is not None
        parents = [parent.decode() for parent in candidate.parents]
        if name in dull:
            for parent in parents:
                queue(parent, is_dull=True)
            continue
        content = _folder(objects, candidate, parts)
        # Git's own simplification: a merge that is the same as one parent inside the folder follows
        # that parent only, so commits that were merged without effect do not appear.
        same = next(
            (parent for parent in parents if _folder(objects, commit(parent), parts) == content),
            None,
        )
        for parent in parents if same is None else [same]:
            queue(parent, is_dull=False)
        if same is None and (parents or content is not None):
            selected[name] = candidate
    return [candidate for name, candidate in selected.items() if name not in dull][:limit]


def _folder(objects: Objects, commit: Commit | None, parts: list[bytes]) -> str | None:
    """Return the object name of a folder in a commit, None if it has no such folder."""
    if commit is None:
        return None
    name: str | None = commit.tree.decode()
    for part in parts:
        name = objects.tree(name)[part][1] if name and part in objects.tree(name) else None
    return name


def _line(commit: Commit) -> str:
    name = _text(commit, commit.author).rpartition(" <")[0]
    first = _text(commit, commit.message).lstrip("\n").partition("\n\n")[0]
    return f"{commit.id.decode()[:ABBREVIATED]} {name}: {' '.join(first.split())}"


def _text(commit: Commit, value: bytes) -> str:
    """Return a text of a commit, decoded as the commit says, without control characters."""
    try:
        text = value.decode((commit.encoding or b"utf-8").decode("ascii", "replace"))
    except (LookupError, UnicodeDecodeError):
        text = value.decode("utf-8", "replace")
    characters = (char if char.isprintable() or char == "\n" else " " for char in text)
    return "".join(characters).strip()


def blob_name(content: bytes) -> str:
    """Return git's own name for a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
