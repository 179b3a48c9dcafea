"""Files of a search that machines share, by URL: `file:///mnt/team`, `s3://bucket/mlops`, or
whatever fsspec knows.

The programs on the machines copy, never the containers: what a training gets to see is its own
folder, and the store's credentials stay outside. Content is stored under its digest and believed
only if it has that digest; a name is a small file with a digest in it. So a file is there as a
whole or not at all, and what was interrupted is done again.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from mlops_lib import atomic, events
from mlops_lib.errors import MlopsError, UsageError
from mlops_lib.events import Observer

LOOK_S = 1.0
ALIVE_S = 10.0
"""How often a side that is to show that it is alive does so."""
PATIENCE_S = 600.0
"""How long a store may be away."""
AGAIN_S = (0.2, 5.0)
"""The first and the longest pause before something is tried again."""
LARGEST_BYTES = 8 << 30
T = TypeVar("T")


class Store:
    """Named contents under a URL.

    Args:
        url: where; the folder need not exist.
        stopped: ends every waiting for a store that is away.

    Every method raises UsageError where the store refuses, or does not answer for ten minutes.

    Raises:
        UsageError: fsspec, or what it needs for this kind of URL, is not installed.
    """

    def __init__(self, url: str, *, stopped: threading.Event | None = None) -> None:
        self.url = url
        self._stopped = stopped or threading.Event()
        try:
            import fsspec

            self._files, self._root = fsspec.core.url_to_fs(
                url.rstrip("/"), use_listings_cache=False
            )
        except ImportError as error:
            raise UsageError(
                f"the store needs a package that is not installed: {error}",
                where=url,
                remedy="pip install 'mlops_lib[scale]'",
            ) from None
        except ValueError as error:
            raise UsageError(
                f"no such kind of store: {error}", where=url, remedy="Give file://… or s3://…"
            ) from None

    def put(self, name: str, content: bytes) -> str:
        """Let a name stand for this content; returns its digest."""
        digest = hashlib.sha256(content).hexdigest()
        place = self._content(digest)
        if not self._patiently(lambda: self._files.exists(place)):
            self._patiently(lambda: self._write(place, content))
        pointer = json.dumps({"sha256": digest, "bytes": len(content)}).encode()
        self._patiently(lambda: self._write(self._name(name), pointer))
        return digest

    def get(self, name: str) -> bytes | None:
        """The content of a name, None where there is none that is whole."""
        digest = self.digest(name)
        if digest is None:
            return None
        content = self._patiently(lambda: self._read(self._content(digest)))
        return (
            content
            if content is not None and hashlib.sha256(content).hexdigest() == digest
            else None
        )

    def digest(self, name: str) -> str | None:
        """The digest of the content that a name stands for, None where it stands for none."""
        pointer = self._patiently(lambda: self._read(self._name(name)))
        try:
            digest = json.loads(pointer or b"")["sha256"]
            size = json.loads(pointer or b"")["bytes"]
        except (ValueError, TypeError, KeyError):
            return None
        is_digest = isinstance(digest, str) and digest.isalnum()
        return digest if is_digest and isinstance(size, int) and size <= LARGEST_BYTES else None

    def show(self, sign: str, text: str) -> None:
        """Replace a sign: a few words that are no content, such as that somebody is alive."""
        self._patiently(lambda: self._write(f"{self._root}/signs/{sign}", text.encode()))

    def sign(self, sign: str) -> str:
        """The words of a sign, "" where there is none."""
        return (self._patiently(lambda: self._read(f"{self._root}/signs/{sign}")) or b"").decode(
            errors="replace"
        )

    def names(self) -> dict[str, str]:
        """Every name, and a mark that changes when its content does."""
        root = self._name("")
        found = self._patiently(lambda: self._find(root.rstrip("/")))
        keys = ("ETag", "etag", "LastModified", "updated", "mtime", "size")
        return {
            place[len(root) :]: json.dumps([str(about.get(key)) for key in keys])
            for place, about in found.items()
            if place.startswith(root)
        }

    def drop(self, digest: str) -> None:
        """Forget a content that no name stands for any more."""
        with suppress(FileNotFoundError):
            self._patiently(lambda: self._files.rm_file(self._content(digest)))

    def remove(self) -> None:
        """Everything under the URL."""
        with suppress(FileNotFoundError):
            self._patiently(lambda: self._files.rm(self._root, recursive=True))

    def _name(self, name: str) -> str:
        return f"{self._root}/names/{name}"

    def _content(self, digest: str) -> str:
        return f"{self._root}/contents/{digest}"

    def _find(self, folder: str) -> dict[str, Any]:
        self._files.invalidate_cache()
        try:
            found: dict[str, Any] = self._files.find(folder, detail=True)
        except FileNotFoundError:
            return {}
        return found

    def _read(self, place: str) -> bytes | None:
        try:
            return bytes(self._files.cat_file(place))
        except FileNotFoundError:
            return None

    def _write(self, place: str, content: bytes) -> None:
        """Whole or not at all: an object store does that by itself, a folder by a rename."""
        if "file" not in self._files.protocol:
            self._files.pipe_file(place, content)
            return
        atomic.write_bytes(Path(place), content)

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask; a store that is away, or busy, is asked again."""
        deadline = time.monotonic() + PATIENCE_S
        pause_s = AGAIN_S[0]
        while True:
            try:
                return ask()
            except FileNotFoundError:
                raise
            except PermissionError as error:
                raise UsageError(
                    f"the store refuses: {error}",
                    where=self.url,
                    remedy="See to the credentials in this program's environment.",
                ) from None
            except Exception as error:
                if not _is_away(error):
                    raise
                if time.monotonic() > deadline or self._stopped.wait(
                    pause_s * random.uniform(0.5, 1.0)
                ):
                    raise UsageError(
                        f"the store does not answer: {error}",
                        where=self.url,
                        remedy="See that it can be reached, and run it again: finished trials are kept.",
                    ) from None
                pause_s = min(2 * pause_s, AGAIN_S[1])


def _is_away(error: Exception) -> bool:
    """Whether an exception, of the system or of a store's own library, says that it could not be
    reached.
    """
    if isinstance(error, (OSError, TimeoutError)):
        return True
    words = {base.__name__ for base in type(error).__mro__}
    return bool(
        words
        & {
            "HTTPClientError",
            "ConnectionError",
            "ClientError",
            "ClientConnectionError",
            "BotoCoreError",
        }
    )


class Mirror:
    """Keeps some files of a local folder and of a store the same, while it runs.

    A script can write anything in its folder: only regular files of these names are taken, no links
    are followed.

    Args:
        store: the shared side.
        folder: the local side.
        gives: patterns of the names that this side writes.
        takes: whether a name that the other sides write is wanted here.
        observer: is told when nothing can be shared any more, and when it can again.
        alive: the sign that changes while this runs; "" for none.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        *,
        gives: Iterable[str],
        takes: Callable[[str], bool],
        observer: Observer = lambda event: None,
        alive: str = "",
    ) -> None:
        self._store = store
        self._folder = folder
        self._gives = tuple(gives)
        self._takes = takes
        self._observer = observer
        self._alive = alive
        self._shown = -math.inf
        self._given: dict[str, tuple[int, int]] = {}
        self._taken: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        """Of what was given."""
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlops-mirror", daemon=True)

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Give what there is left to give, and end."""
        self.over.set()
        self._thread.join()

    def _run(self) -> None:
        is_told = False
        while True:
            is_last = self.over.wait(LOOK_S)
            try:
                self.once()
                if is_told:
                    self._tell("files are shared with other machines again")
                is_told = False
            except MlopsError as error:
                if not is_told:
                    self._tell(
                        f"nothing is shared with other machines until the store is back: {error}"
                    )
                is_told = True
            if is_last:
                return

    def _tell(self, message: str) -> None:
        self._observer(events.warning(message))

    def once(self) -> None:
        """Take what is new there, and give what is new here."""
        if self._alive and time.monotonic() - self._shown > ALIVE_S:
            self._shown = time.monotonic()
            self._store.show(self._alive, str(time.time()))
        for name, mark in self._store.names().items():
            if self._taken.get(name) != mark and self._takes(name) and _is_plain(name):
                self._take(name, mark)
        for pattern in self._gives:
            for place in self._folder.glob(pattern):
                self._give(place)

    def _take(self, name: str, mark: str) -> None:
        if name in self._digests and self._store.digest(name) == self._digests[name]:
            self._taken[name] = mark  # this side gave it, and may have something newer by now
            return
        content = self._store.get(name)
        if content is None:
            return
        place = self._folder / name
        atomic.write_bytes(place, content)
        self._given[name] = _state(place)
        self._taken[name] = mark

    def _give(self, place: Path) -> None:
        name = place.relative_to(self._folder).as_posix()
        try:
            with atomic.open_regular(place, inside=self._folder) as stream:
                state = _state(place)
                if self._given.get(name) == state:
                    return
                content = stream.read(LARGEST_BYTES)
        except OSError:  # gone meanwhile, or no file
            return
        digest = self._store.put(name, content)
        before, self._digests[name] = self._digests.get(name), digest
        if before not in (None, digest) and name.endswith(".state.npz"):
            # Only the last checkpoint of a trial is of use, and no two are alike: they hold their
            # time.
            self._store.drop(str(before))
        self._given[name] = state
        self._told(name)

    def _told(self, name: str) -> None:
        """What the container waits for before it says that its trial has ended."""
        if name.startswith("search/weights/"):
            atomic.write_bytes(self._folder / "search" / "given" / name.rsplit("/", 1)[1], b"")


_OF_WORKERS = re.compile(r"search/(weights/\d+\.npz|trials/\d+\.(history\.json|state\.npz))")


def is_of_workers(name: str) -> bool:
    """Whether this is a file that workers write."""
    return _OF_WORKERS.fullmatch(name) is not None


def _state(place: Path) -> tuple[int, int]:
    status = place.lstat()
    return status.st_mtime_ns, status.st_size


def _is_plain(name: str) -> bool:
    """Whether a name stays below the folder."""
    return not name.startswith("/") and not any(part in ("", ".", "..") for part in name.split("/"))
