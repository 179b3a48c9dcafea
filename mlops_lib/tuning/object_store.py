"""Files of a search that machines share by URL.

The URL is `file:///mnt/team`, `s3://bucket/mlops`, or any other that fsspec supports. The programs
on the machines copy, never the containers: a training sees only its own folder, and never the
store's credentials. Content is stored under its digest and accepted only if it has that digest. A
name is a small file with a digest in it. So a file exists completely or not at all, and interrupted
transfers are repeated.
"""

from __future__ import annotations

import hashlib
import json
import math
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
from mlops_lib.retry import RetryPolicy

POLL_S = 1.0
HEARTBEAT_S = 10.0
"""Seconds between two heartbeats."""
OUTAGE = RetryPolicy(first_s=0.2, longest_s=5.0, limit_s=600.0)
"""A store may be unreachable for ten minutes."""
LARGEST_BYTES = 8 << 30
T = TypeVar("T")


class Store:
    """Named contents under a URL.

    Args:
        url: the folder, which need not exist.
        stopped: interrupts waiting for an unreachable store.

    Every method raises UsageError if the store refuses, or does not answer for ten minutes.

    Raises:
        UsageError: fsspec, or its library for this kind of URL, is not installed.
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
        """Store content under a name; return its digest."""
        digest = hashlib.sha256(content).hexdigest()
        place = self._content(digest)
        if not self._retry(lambda: self._files.exists(place)):
            self._retry(lambda: self._write(place, content))
        pointer = json.dumps({"sha256": digest, "bytes": len(content)}).encode()
        self._retry(lambda: self._write(self._name(name), pointer))
        return digest

    def get(self, name: str) -> bytes | None:
        """Return the content of a name, or None if there is none, or not all of it."""
        digest = self.digest(name)
        if digest is None:
            return None
        content = self._retry(lambda: self._read(self._content(digest)))
        return (
            content
            if content is not None and hashlib.sha256(content).hexdigest() == digest
            else None
        )

    def digest(self, name: str) -> str | None:
        """Return the digest of the content of a name, or None if there is none."""
        pointer = self._retry(lambda: self._read(self._name(name)))
        try:
            digest = json.loads(pointer or b"")["sha256"]
            size = json.loads(pointer or b"")["bytes"]
        except (ValueError, TypeError, KeyError):
            return None
        is_digest = isinstance(digest, str) and digest.isalnum()
        return digest if is_digest and isinstance(size, int) and size <= LARGEST_BYTES else None

    def show(self, sign: str, text: str) -> None:
        """Replace a sign: a few words outside of the contents, such as a heartbeat."""
        self._retry(lambda: self._write(f"{self._root}/signs/{sign}", text.encode()))

    def sign(self, sign: str) -> str:
        """Return the words of a sign; "" if there is none."""
        return (self._retry(lambda: self._read(f"{self._root}/signs/{sign}")) or b"").decode(
            errors="replace"
        )

    def names(self) -> dict[str, str]:
        """Return every name with a mark that changes when its content does."""
        root = self._name("")
        found = self._retry(lambda: self._find(root.rstrip("/")))
        keys = ("ETag", "etag", "LastModified", "updated", "mtime", "size")
        return {
            place[len(root) :]: json.dumps([str(about.get(key)) for key in keys])
            for place, about in found.items()
            if place.startswith(root)
        }

    def drop(self, digest: str) -> None:
        """Remove a content that no name refers to any more."""
        with suppress(FileNotFoundError):
            self._retry(lambda: self._files.rm_file(self._content(digest)))

    def remove(self) -> None:
        """Remove everything under the URL."""
        with suppress(FileNotFoundError):
            self._retry(lambda: self._files.rm(self._root, recursive=True))

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
        """Write a file atomically: object stores do that anyway, a folder needs a rename."""
        if "file" not in self._files.protocol:
            self._files.pipe_file(place, content)
            return
        atomic.write_bytes(Path(place), content)

    def _retry(self, ask: Callable[[], T]) -> T:
        """Call the store, and retry while it is unreachable or busy."""
        try:
            return OUTAGE.call(ask, is_temporary=_is_unreachable, sleep=self._stopped.wait)
        except FileNotFoundError:
            raise
        except PermissionError as error:
            raise UsageError(
                f"the store refuses: {error}",
                where=self.url,
                remedy="Check the credentials in this program's environment.",
            ) from None
        except Exception as error:
            if not _is_unreachable(error):
                raise
            raise UsageError(
                f"the store does not answer: {error}",
                where=self.url,
                remedy="Check that it can be reached, and run it again: finished trials are kept.",
            ) from None


def _is_unreachable(error: Exception) -> bool:
    """Return whether an exception means that the store could not be reached."""
    if isinstance(error, (FileNotFoundError, PermissionError)):
        return False  # the store's own answer: asking again does not change it
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
    """Synchronises some files of a local folder and of a store, while it runs.

    A script can write anything to its folder: only regular files with these names are uploaded, and
    no links are followed.

    Args:
        store: the shared side.
        folder: the local side.
        uploads: patterns of the names that this side writes.
        accepts: returns whether to download a name that another side writes.
        observer: receives a warning when sharing fails, and when it works again.
        alive: name of the heartbeat that this sends while it runs; "" for none.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        *,
        uploads: Iterable[str],
        accepts: Callable[[str], bool],
        observer: Observer = lambda event: None,
        alive: str = "",
    ) -> None:
        self._store = store
        self._folder = folder
        self._uploads = tuple(uploads)
        self._accepts = accepts
        self._observer = observer
        self._alive = alive
        self._shown = -math.inf
        self._uploaded: dict[str, tuple[int, int]] = {}
        self._downloaded: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        """Digests of the uploaded files."""
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlops-mirror", daemon=True)

    def start(self) -> None:
        """Start to synchronise, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Upload the remaining files, then end."""
        self.over.set()
        self._thread.join()

    def _run(self) -> None:
        is_reported = False
        while True:
            is_last = self.over.wait(POLL_S)
            try:
                self.once()
                if is_reported:
                    self._warn("files are shared with other machines again")
                is_reported = False
            except MlopsError as error:
                if not is_reported:
                    self._warn(
                        f"nothing is shared with other machines until the store is back: {error}"
                    )
                is_reported = True
            if is_last:
                return

    def _warn(self, message: str) -> None:
        self._observer(events.warning(message))

    def once(self) -> None:
        """Download new files, and upload new ones."""
        if self._alive and time.monotonic() - self._shown > HEARTBEAT_S:
            self._shown = time.monotonic()
            self._store.show(self._alive, str(time.time()))
        for name, mark in self._store.names().items():
            if self._downloaded.get(name) != mark and self._accepts(name) and _is_plain(name):
                self._download(name, mark)
        for pattern in self._uploads:
            for place in self._folder.glob(pattern):
                self._upload(place)

    def _download(self, name: str, mark: str) -> None:
        if name in self._digests and self._store.digest(name) == self._digests[name]:
            self._downloaded[name] = mark  # this side gave it, and may have something newer by now
            return
        content = self._store.get(name)
        if content is None:
            return
        place = self._folder / name
        atomic.write_bytes(place, content)
        self._uploaded[name] = _state(place)
        self._downloaded[name] = mark

    def _upload(self, place: Path) -> None:
        name = place.relative_to(self._folder).as_posix()
        try:
            with atomic.open_regular(place, inside=self._folder) as stream:
                state = _state(place)
                if self._uploaded.get(name) == state:
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
        self._uploaded[name] = state
        self._confirm(name)

    def _confirm(self, name: str) -> None:
        """Confirm an upload to the container, which waits for it to report its trial."""
        if name.startswith("search/weights/"):
            atomic.write_bytes(self._folder / "search" / "given" / name.rsplit("/", 1)[1], b"")


_OF_WORKERS = re.compile(r"search/(weights/\d+\.npz|trials/\d+\.(history\.json|state\.npz))")


def is_of_workers(name: str) -> bool:
    """Return whether this is a file that workers write."""
    return _OF_WORKERS.fullmatch(name) is not None


def _state(place: Path) -> tuple[int, int]:
    status = place.lstat()
    return status.st_mtime_ns, status.st_size


def _is_plain(name: str) -> bool:
    """Return whether a name stays below the folder."""
    return not name.startswith("/") and not any(part in ("", ".", "..") for part in name.split("/"))
