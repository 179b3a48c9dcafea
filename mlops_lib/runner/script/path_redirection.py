r"""Absolute folders that a script names and this machine does not have, or does not let it write
to.

Many a script writes `/ws/accuracy.txt` or reads `/root/code/data.csv`, as its author's machine had
them. What would fail otherwise is found in the working directory: a file written there lands in
`absolute/` and so among the outputs, a file read from there is the pushed one of that name; so are
files of a Windows machine (`C:\Users\me\data.csv`), of its author's home and of folders above the
project (`../input/train.csv`). Folders that exist and may be written are used as they are; system
folders are never stood in for. A file that a script opens by a relative path is also found beside
it. One that it writes into a folder of the project finds that folder there: git keeps no empty
ones.

It works where Python asks: `open`, `os`, `h5py`, `cv2`, pandas and the words of a command line.
What a library opens by itself is not seen.
"""

import builtins
import contextlib
import functools
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from types import ModuleType
from typing import Any, Callable, Dict, List, Set, Type

from mlops_lib.runner.journal import Journal

FOLDER = "absolute"
SYSTEM = (
    "/proc",
    "/sys",
    "/dev",
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/sbin",
    "/boot",
    "/run",
    "/tmp",
    "/var/tmp",
    "/snap",
    "/nix",
    "/mlops",
)
READING = ("stat", "lstat", "listdir", "scandir", "access", "chdir", "readlink", "utime", "chmod")
WRITING = ("mkdir", "remove", "unlink", "rmdir", "truncate")
PAIRS = ("rename", "replace", "link", "symlink")
WINDOWS = (
    "imshow",
    "waitKey",
    "waitKeyEx",
    "namedWindow",
    "destroyWindow",
    "destroyAllWindows",
    "moveWindow",
    "resizeWindow",
    "setWindowTitle",
    "setMouseCallback",
    "createTrackbar",
    "startWindowThread",
)
"""Functions of OpenCV that need a screen."""
KEPT_BYTES = 64 << 20
_ABSOLUTE = re.compile(r"(?<![\w./:])/[\w.-]+(?:(?:/[\w.-]+)+|/?(?=[\s;&|)]|$))")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]+(?=[^\\/])")


class Places:
    """Finds the place of an absolute path."""

    def __init__(self, work: str, entry: str, journal: Journal, project: str = "") -> None:
        self.work = work
        self.journal = journal
        self.project = os.path.realpath(project) if project else ""
        self.bases = [os.path.dirname(os.path.join(work, entry)), work]
        own = (
            os.path.dirname(work),  # what the runner writes is none of the script's
            os.path.realpath(os.path.dirname(work)),
            sys.prefix,
            sys.base_prefix,
            os.path.expanduser("~"),
            tempfile.gettempdir(),
        )
        self._ours = tuple(path.rstrip("/") + "/" for path in own[:4])
        # The root user's home is one of those folders; a home of ours is not.
        self._known = tuple(
            path.rstrip("/") + "/" for path in (*SYSTEM, *own) if path not in ("/", "/root")
        )
        self._home = os.path.expanduser("~").rstrip("/") + "/"
        self.written: Set[str] = set()
        """Absolute files that were written where the script said."""
        self._undo: List[Callable[[], None]] = []
        self._stat = os.stat
        self._access = os.access

    def find(self, path: Any, *, writing: bool) -> Any:
        """Where a path of the script's really is; the path itself unless it would fail."""
        if not isinstance(path, (str, os.PathLike)):
            return path
        text = os.fspath(path)
        if not isinstance(text, str) or text.startswith("//"):
            return path
        if not text.startswith("/"):
            absolute = self._of_windows(text)
            if not absolute:
                return (self._outward(text) if writing else self._above(text)) or path
            text = absolute
        if self._in_project(os.path.normpath(text)):
            place = os.path.join(self.work, os.path.relpath(text, self.project))
            return place if writing or self._exists(place) else path
        if text == "/" or (text.rstrip("/") + "/").startswith(self._known):
            return path if writing else self._at_home(text) or path
        text = os.path.normpath(text)
        kept = os.path.join(self.work, FOLDER, text[1:])
        if writing:
            return self._for_writing(path, text, kept)
        if self._exists(kept):
            return kept
        if self._exists(text):
            return path
        return self._pushed(text) or path

    def _of_windows(self, text: str) -> str:
        """The path on a drive as one of this system; "" for any other."""
        drive = _WINDOWS.match(text)
        return (
            "/" + text[drive.end() :].replace("\\", "/") if drive and not self._exists(text) else ""
        )

    def _in_project(self, text: str) -> bool:
        """Return whether an absolute path is one of the pushed files, which are never written to."""
        if not self.project or text.startswith(self._ours):
            return False
        return (text.rstrip("/") + "/").startswith(self.project + "/")

    def _above(self, text: str) -> "str | None":
        """What a path that leads out of the project, or has Windows' separators, means among the
        pushed files.
        """
        leads_out = os.path.normpath(text).startswith("..")
        if not (leads_out or "\\" in text) or self._exists(text):
            return None
        plain = os.path.normpath(text.replace("\\", "/"))
        if not plain.startswith(".."):
            return plain if self._exists(plain) else None
        ends = plain.lstrip("./")
        return self._pushed(ends, there=plain[: len(plain) - len(ends)]) if ends else None

    def _outward(self, text: str) -> "str | None":
        """Where a file goes whose path leads out of the project: a script of a folder means the one
        beside that.
        """
        here = self._is_ours(os.path.join(os.curdir, "x"))
        if (
            not os.path.normpath(text).startswith("..")
            or not here
            or self._is_ours(text)
            or self._exists(text)
        ):
            return None
        place = os.path.normpath(os.path.join(self.bases[0], text))
        if not self._is_ours(place):
            place = os.path.join(self.work, os.path.normpath(text).lstrip("./"))
        self.journal.warn(
            f"{text} is outside of the project: it is written to {os.path.relpath(place, self.work)}"
        )
        return place

    def _at_home(self, text: str) -> "str | None":
        """The pushed file for one in the author's home folder."""
        text = os.path.normpath(text)
        if not text.startswith(self._home) or "/." in text or self._exists(text):
            return None
        place = self._pushed(text[len(self._home) :], there=self._home, files=True)
        return place

    def folder(self, path: Any) -> Any:
        """A folder to go to: one that this machine does not have was where the project lay."""
        place = self.find(path, writing=False)
        known = isinstance(place, str) and (place.rstrip("/") + "/").startswith(self._known)
        if not isinstance(place, str) or not place.startswith("/") or known or self._exists(place):
            return place
        self.journal.warn(f"{place} is not on this machine: the working directory stands in for it")
        return self.work

    def beside(self, path: Any) -> Any:
        """The file that lies beside an entry in a folder of the project, where there is none in the
        working directory.

        For a script that was meant to be run from its own folder. Asked by `open` alone: whoever
        asks whether a folder exists may want to make it.
        """
        folder = self.bases[0]
        text = path if isinstance(path, str) else ""
        if folder == self.work or not text or text.startswith("/") or self._exists(text):
            return path
        place = os.path.join(folder, text)
        if not os.path.isfile(place):
            return path
        self.journal.warn(
            f"{text} is not in the working directory: the one beside the script is read"
        )
        return place

    def written_to(self, path: Any) -> Any:
        """The place of a file that is about to be written, with the folder it lies in: git keeps no
        empty folders.
        """
        place = self.find(path, writing=True)
        text = os.fspath(place) if isinstance(place, (str, os.PathLike)) else ""
        folder = os.path.dirname(text) if isinstance(text, str) else ""
        if folder and not self._exists(folder) and self._is_ours(folder):
            plain_makedirs(folder)
            self.journal.warn(
                f"the folder {folder} was not pushed (git keeps no empty ones): it is made"
            )
        return place

    def _is_ours(self, path: str) -> bool:
        """Whether a path lies in the working directory."""
        return os.path.realpath(path).startswith(os.path.realpath(self.work) + os.sep)

    def _exists(self, path: str) -> bool:
        try:
            self._stat(path)
        except (OSError, ValueError):
            return False
        return True

    def _for_writing(self, path: Any, text: str, kept: str) -> Any:
        folder = os.path.dirname(text)
        if not self._exists(kept) and self._exists(folder) and self._access(folder, os.W_OK):
            self.written.add(text)
            return path
        if not self._exists(os.path.dirname(kept)):
            plain_makedirs(os.path.dirname(kept))
        pushed = None if self._exists(kept) else self._pushed(text)
        if pushed is not None and os.path.isfile(pushed):
            shutil.copyfile(pushed, kept)
        self.journal.warn(
            f"{folder} cannot be written here: what goes there is kept in outputs/{FOLDER}{folder}"
        )
        return kept

    def _pushed(self, text: str, *, there: str = "/", files: bool = False) -> "str | None":
        """The pushed file or folder whose path ends as this one does, the longest such end."""
        parts = text.strip("/").split("/")
        for start in range(len(parts)):
            for base in self.bases:
                place = os.path.join(base, *parts[start:])
                if self._exists(place) and (
                    (len(parts) > 1 and not files) or os.path.isfile(place)
                ):
                    self.journal.warn(
                        f"{there}{'/'.join(parts[:start])} is not on this machine: pushed files are taken for those of the"
                        " same name in it"
                    )
                    return place
        return None

    def command(self, text: str) -> str:
        """A command line with its absolute paths where they are."""

        def found(match: "re.Match[str]") -> str:
            place = self.find(match[0], writing=False)
            if (
                place == match[0]
                and not self._exists(match[0])
                and not match[0].startswith(self._known)
            ):
                place = self.find(match[0], writing=True)
            return str(place)

        return _ABSOLUTE.sub(found, text)

    def install(self) -> Callable[[], None]:
        """Let `open` and `os` find these places; returns the way back."""
        find = self.find
        plain_open = builtins.open

        @functools.wraps(plain_open)
        def open_(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            writing = isinstance(mode, str) and any(letter in mode for letter in "wax+")
            place = self.written_to(file) if writing else find(self.beside(file), writing=False)
            return plain_open(place, mode, *args, **kwargs)

        plain_os_open = os.open

        @functools.wraps(plain_os_open)
        def os_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            writing = bool(flags & (os.O_WRONLY | os.O_RDWR))
            return plain_os_open(find(path, writing=writing), flags, *args, **kwargs)

        self._put(builtins, "open", open_)
        self._put(io, "open", open_)
        self._put(os, "open", os_open)
        finds = {"chdir": self.folder}
        for name in (*READING, *WRITING):
            self._put(
                os,
                name,
                self._first(getattr(os, name), writing=name in WRITING, finds=finds.get(name)),
            )
        for name in PAIRS:
            self._put(os, name, self._both(getattr(os, name)))
        system = os.system
        popen = subprocess.Popen.__init__
        self._put(
            os, "system", functools.wraps(system)(lambda command: system(self.command(command)))
        )

        @functools.wraps(popen)
        def init(process: Any, args: Any, *more: Any, **kwargs: Any) -> None:
            popen(process, self.command(args) if isinstance(args, str) else args, *more, **kwargs)

        self._put(subprocess.Popen, "__init__", init)
        return self.undo

    def _put(self, owner: Any, name: str, value: Any) -> None:
        before = getattr(owner, name)
        self._undo.append(lambda: setattr(owner, name, before))
        setattr(owner, name, value)

    def _first(
        self,
        function: Callable[..., Any],
        *,
        writing: bool,
        finds: "Callable[[Any], Any] | None" = None,
    ) -> Callable[..., Any]:
        find = finds or functools.partial(self.find, writing=writing)

        @functools.wraps(function)
        def call(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            return function(find(path), *args, **kwargs)

        return call

    def _both(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(source: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
            return function(
                self.find(source, writing=False), self.find(target, writing=True), *args, **kwargs
            )

        return call

    def hooks(self) -> Dict[str, Callable[[ModuleType], None]]:
        """Libraries that open files by themselves."""

        def h5py(module: Any) -> None:
            init = module.File.__init__

            @functools.wraps(init)
            def init_(file: Any, name: Any, mode: str = "r", *args: Any, **kwargs: Any) -> None:
                place = self.find(name, writing=False) if mode == "r" else self.written_to(name)
                init(file, place, mode, *args, **kwargs)

            module.File.__init__ = init_

        def cv2(module: Any) -> None:
            for name in ("imread", "imwrite", "VideoCapture"):
                plain = getattr(module, name, None)
                if plain is not None:
                    finds = {"imwrite": self.written_to, "imread": self._seen}.get(name)
                    setattr(module, name, self._first(plain, writing=False, finds=finds))
            if hasattr(module, "CascadeClassifier"):
                module.CascadeClassifier = self._cascades(module)
            for name in WINDOWS:
                plain = getattr(module, name, None)
                if plain is not None:
                    setattr(module, name, self._unseen(plain, module.error))

        def pandas(module: Any) -> None:
            check = module.check_parent_directory
            module.check_parent_directory = functools.wraps(check)(
                lambda path: check(self.written_to(path))
            )

        return {"h5py": h5py, "cv2": cv2, "pandas.io.common": pandas}

    def _cascades(self, module: Any) -> Callable[..., Any]:
        """OpenCV's cascades by their names, which it brings along; an unknown file would be an
        empty cascade.
        """
        plain = module.CascadeClassifier

        @functools.wraps(plain, updated=())
        def cascade(*names: Any) -> Any:
            if not names or not isinstance(names[0], str):
                return plain(*names)
            place = self.find(self.beside(names[0]), writing=False)
            own = (
                os.path.join(module.data.haarcascades, os.path.basename(place))
                if hasattr(module, "data")
                else ""
            )
            if not self._exists(place) and own and self._exists(own):
                self.journal.warn(f"{names[0]} was not pushed: OpenCV's own is taken")
                place = own
            return plain(place)

        return cascade

    def _seen(self, path: Any) -> Any:
        """The place of a picture; OpenCV reads None where there is none, and says nothing."""
        place = self.find(self.beside(path), writing=False)
        if isinstance(place, str) and not self._exists(place):
            self.journal.warn(f"cv2.imread: there is no file {place}")
        return place

    def _unseen(self, function: Callable[..., Any], error: "Type[Exception]") -> Callable[..., Any]:
        """A function of a window, which does nothing where OpenCV has no windows."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except error as problem:
                if "is not implemented" not in str(problem):
                    raise
                self.journal.warn(f"cv2.{function.__name__}: there is no screen to show it on")
                return -1 if function.__name__.startswith("waitKey") else None

        return call

    def undo(self) -> None:
        """Put everything back, and keep what was written where the script said too."""
        while self._undo:
            self._undo.pop()()
        for path in sorted(self.written):
            kept = os.path.join(self.work, FOLDER, path[1:])
            with contextlib.suppress(
                OSError
            ):  # it may be gone by now, or change while it is copied
                if (
                    os.path.isfile(path)
                    and os.path.getsize(path) <= KEPT_BYTES
                    and not os.path.exists(kept)
                ):
                    plain_makedirs(os.path.dirname(kept))
                    shutil.copyfile(path, kept)


plain_makedirs = functools.partial(os.makedirs, exist_ok=True)
