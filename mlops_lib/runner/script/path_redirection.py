r"""Redirection of paths in a script that this machine lacks or protects.

Many scripts write `/ws/accuracy.txt` or read `/root/code/data.csv`, which exist on their author's
machine only. An access that would fail is redirected to the working directory: a file written to
such a path lands in `absolute/` and so among the outputs, a file read from it is the pushed file of
that name. The same holds for files of a Windows machine (`C:\Users\me\data.csv`), of the author's
home and of folders above the project (`../input/train.csv`).

Folders that exist and are writable are used as they are, and system folders are never redirected. A
file that a script opens by a relative path is also searched beside the script. A folder of the
project that is missing when a file is written to it is created, because git stores no empty
folders.

The redirection covers `open`, `os`, `h5py`, `cv2`, pandas and the words of a command line. Files
that other libraries open by themselves are not covered.
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
from mlops_lib.runner.script.workdir import unbound

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
COPY_BYTES = 64 << 20
_ABSOLUTE = re.compile(r"(?<![\w./:])/[\w.-]+(?:(?:/[\w.-]+)+|/?(?=[\s;&|)]|$))")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]+(?=[^\\/])")


class PathRedirector:
    """Redirect paths of one script to files that exist."""

    def __init__(self, work: str, entry: str, journal: Journal, project: str = "") -> None:
        self.work = work
        self.journal = journal
        self.project = os.path.realpath(project) if project else ""
        self.bases = [os.path.dirname(os.path.join(work, entry)), work]
        own = (
            os.path.dirname(work),  # the runner's own files
            os.path.realpath(os.path.dirname(work)),
            sys.prefix,
            sys.base_prefix,
            os.path.expanduser("~"),
            tempfile.gettempdir(),
        )
        self._runner_folders = tuple(path.rstrip("/") + "/" for path in own[:4])
        # `/root` is the home on many an author's machine, so it is redirected even for root.
        self._system_folders = tuple(
            path.rstrip("/") + "/" for path in (*SYSTEM, *own) if path not in ("/", "/root")
        )
        self._home = os.path.expanduser("~").rstrip("/") + "/"
        self.written: Set[str] = set()
        """Absolute paths that exist on this machine and were written by the script."""
        self._undo: List[Callable[[], None]] = []
        # The originals: `install` replaces the functions of `os`.
        self._stat = os.stat
        self._access = os.access

    def find(self, path: Any, *, writing: bool) -> Any:
        """Return the real location of a path; the path itself if its access succeeds."""
        if not isinstance(path, (str, os.PathLike)):
            return path
        text = os.fspath(path)
        if not isinstance(text, str) or text.startswith("//"):
            return path
        if not text.startswith("/"):
            absolute = self._from_windows(text)
            if not absolute:
                return (
                    self._write_target_outside(text) if writing else self._read_target_outside(text)
                ) or path
            text = absolute
        if self._in_project(os.path.normpath(text)):
            place = os.path.join(self.work, os.path.relpath(text, self.project))
            return place if writing or self._exists(place) else path
        # Redirecting a system folder would break libraries, which use the same functions.
        if text == "/" or (text.rstrip("/") + "/").startswith(self._system_folders):
            return path if writing else self._in_authors_home(text) or path
        text = os.path.normpath(text)
        redirected = os.path.join(self.work, FOLDER, text[1:])
        if writing:
            return self._for_writing(path, text, redirected)
        if self._exists(redirected):
            return redirected
        if self._exists(text):
            return path
        return self._pushed(text) or path

    def _from_windows(self, text: str) -> str:
        """Return a path with a drive letter as a path of this system; "" for any other."""
        drive = _WINDOWS.match(text)
        return (
            "/" + text[drive.end() :].replace("\\", "/") if drive and not self._exists(text) else ""
        )

    def _in_project(self, text: str) -> bool:
        """Return whether an absolute path is a pushed file; these are never written to."""
        if not self.project or text.startswith(self._runner_folders):
            return False
        return (text.rstrip("/") + "/").startswith(self.project + "/")

    def _read_target_outside(self, text: str) -> "str | None":
        """Return the pushed file that is meant by a path out of the project.

        Paths with Windows' separators are included.
        """
        leads_out = os.path.normpath(text).startswith("..")
        if not (leads_out or "\\" in text) or self._exists(text):
            return None
        plain = os.path.normpath(text.replace("\\", "/"))
        if not plain.startswith(".."):
            return plain if self._exists(plain) else None
        ends = plain.lstrip("./")
        return self._pushed(ends, there=plain[: len(plain) - len(ends)]) if ends else None

    def _write_target_outside(self, text: str) -> "str | None":
        """Return the target of a write to a path out of the project; None for other paths.

        For a script in a folder it is the path relative to that folder.
        """
        here = self._is_in_work(os.path.join(os.curdir, "x"))
        if (
            not os.path.normpath(text).startswith("..")
            or not here
            or self._is_in_work(text)
            or self._exists(text)
        ):
            return None
        place = os.path.normpath(os.path.join(self.bases[0], text))
        if not self._is_in_work(place):
            place = os.path.join(self.work, os.path.normpath(text).lstrip("./"))
        target = os.path.relpath(place, self.work)
        self.journal.warn(f"{text} is outside of the project: it is written to {target}")
        return place

    def _in_authors_home(self, text: str) -> "str | None":
        """Return the pushed file for one in the author's home folder."""
        text = os.path.normpath(text)
        if not text.startswith(self._home) or "/." in text or self._exists(text):
            return None
        place = self._pushed(text[len(self._home) :], there=self._home, files=True)
        return place

    def folder(self, path: Any) -> Any:
        """Return the folder to change to: the working directory if the folder is missing."""
        place = self.find(path, writing=False)
        is_system = isinstance(place, str) and (place.rstrip("/") + "/").startswith(
            self._system_folders
        )
        if (
            not isinstance(place, str)
            or not place.startswith("/")
            or is_system
            or self._exists(place)
        ):
            return place
        self.journal.warn(f"{place} is not on this machine: using the working directory instead")
        return self.work

    def beside(self, path: Any) -> Any:
        """Return the file beside an entry in a folder if the working directory has none.

        It serves scripts that were written to be run from their own folder. Only `open` uses it: a
        script that checks whether a folder exists may want to create it.
        """
        script_folder = self.bases[0]
        text = path if isinstance(path, str) else ""
        if script_folder == self.work or not text or text.startswith("/") or self._exists(text):
            return path
        place = os.path.join(script_folder, text)
        if not os.path.isfile(place):
            return path
        self.journal.warn(
            f"{text} is not in the working directory: the one beside the script is read"
        )
        return place

    def written_to(self, path: Any) -> Any:
        """Return the location of a file to write; create its folder if it is missing."""
        place = self.find(path, writing=True)
        text = os.fspath(place) if isinstance(place, (str, os.PathLike)) else ""
        folder = os.path.dirname(text) if isinstance(text, str) else ""
        if folder and not self._exists(folder) and self._is_in_work(folder):
            plain_makedirs(folder)
            self.journal.warn(
                f"the folder {folder} was not pushed (git keeps no empty ones): creating it"
            )
        return place

    def _is_in_work(self, path: str) -> bool:
        """Return whether a path lies in the working directory."""
        return os.path.realpath(path).startswith(os.path.realpath(self.work) + os.sep)

    def _exists(self, path: str) -> bool:
        try:
            self._stat(path)
        except (OSError, ValueError):
            return False
        return True

    def _for_writing(self, path: Any, text: str, redirected: str) -> Any:
        folder = os.path.dirname(text)
        # A file that was redirected once stays redirected, so that the script reads what it wrote.
        if not self._exists(redirected) and self._exists(folder) and self._access(folder, os.W_OK):
            self.written.add(text)
            return path
        if not self._exists(os.path.dirname(redirected)):
            plain_makedirs(os.path.dirname(redirected))
        pushed = None if self._exists(redirected) else self._pushed(text)
        if pushed is not None and os.path.isfile(pushed):
            shutil.copyfile(pushed, redirected)
        self.journal.warn(
            f"{folder} cannot be written here: its files are stored in outputs/{FOLDER}{folder}"
        )
        return redirected

    def _pushed(self, text: str, *, there: str = "/", files: bool = False) -> "str | None":
        """Return the pushed file or folder with the longest matching end of the path."""
        parts = text.strip("/").split("/")
        for start in range(len(parts)):
            for base in self.bases:
                place = os.path.join(base, *parts[start:])
                if self._exists(place) and (
                    (len(parts) > 1 and not files) or os.path.isfile(place)
                ):
                    self.journal.warn(
                        f"{there}{'/'.join(parts[:start])} is not on this machine: using the"
                        " pushed files of the same names"
                    )
                    return place
        return None

    def command(self, text: str) -> str:
        """Return a command line with its absolute paths redirected."""

        def redirect(match: "re.Match[str]") -> str:
            location = self.find(match[0], writing=False)
            if (
                location == match[0]
                and not self._exists(match[0])
                and not match[0].startswith(self._system_folders)
            ):
                location = self.find(match[0], writing=True)
            return str(location)

        return _ABSOLUTE.sub(redirect, text)

    def install(self) -> Callable[[], None]:
        """Redirect `open` and `os`; return the function that undoes it."""
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

        self._patch(builtins, "open", open_)
        self._patch(io, "open", open_)
        self._patch(os, "open", os_open)
        finds = {"chdir": self.folder}
        for name in (*READING, *WRITING):
            self._patch(
                os,
                name,
                self._first(getattr(os, name), writing=name in WRITING, finds=finds.get(name)),
            )
        for name in PAIRS:
            self._patch(os, name, self._both(getattr(os, name)))
        system = os.system
        popen = subprocess.Popen.__init__
        self._patch(
            os, "system", functools.wraps(system)(lambda command: system(self.command(command)))
        )

        @functools.wraps(popen)
        def init(process: Any, args: Any, *more: Any, **kwargs: Any) -> None:
            popen(process, self.command(args) if isinstance(args, str) else args, *more, **kwargs)

        self._patch(subprocess.Popen, "__init__", init)
        return self.undo

    def _patch(self, owner: Any, name: str, value: Any) -> None:
        before = getattr(owner, name)
        self._undo.append(lambda: setattr(owner, name, before))
        setattr(owner, name, unbound(value) if owner in (io, os) else value)

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
        """Return the import hooks for libraries that open files by themselves."""

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
                    finds = {"imwrite": self.written_to, "imread": self._image_path}.get(name)
                    setattr(module, name, self._first(plain, writing=False, finds=finds))
            if hasattr(module, "CascadeClassifier"):
                module.CascadeClassifier = self._cascades(module)
            for name in WINDOWS:
                plain = getattr(module, name, None)
                if plain is not None:
                    setattr(module, name, self._without_screen(plain, module.error))

        def pandas(module: Any) -> None:
            check = module.check_parent_directory
            module.check_parent_directory = functools.wraps(check)(
                lambda path: check(self.written_to(path))
            )

        return {"h5py": h5py, "cv2": cv2, "pandas.io.common": pandas}

    def _cascades(self, module: Any) -> Callable[..., Any]:
        """Return a `CascadeClassifier` that finds OpenCV's own cascades by their names.

        From an unknown file OpenCV would silently load an empty cascade.
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
                self.journal.warn(f"{names[0]} was not pushed: using OpenCV's own")
                place = own
            return plain(place)

        return cascade

    def _image_path(self, path: Any) -> Any:
        """Return the location of a picture; warn if there is none.

        OpenCV returns None for a missing file and reports nothing.
        """
        place = self.find(self.beside(path), writing=False)
        if isinstance(place, str) and not self._exists(place):
            self.journal.warn(f"cv2.imread: there is no file {place}")
        return place

    def _without_screen(
        self, function: Callable[..., Any], error: "Type[Exception]"
    ) -> Callable[..., Any]:
        """Return a window function that does nothing if OpenCV was built without windows."""

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
        """Undo the redirection, and copy the files written outside to the outputs."""
        while self._undo:
            self._undo.pop()()
        for path in sorted(self.written):
            copy = os.path.join(self.work, FOLDER, path[1:])
            # The file may have been removed, or change during the copy.
            with contextlib.suppress(OSError):
                if (
                    os.path.isfile(path)
                    and os.path.getsize(path) <= COPY_BYTES
                    and not os.path.exists(copy)
                ):
                    plain_makedirs(os.path.dirname(copy))
                    shutil.copyfile(path, copy)


plain_makedirs = functools.partial(os.makedirs, exist_ok=True)
