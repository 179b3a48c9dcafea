"""Build a source distribution in a process, unprivileged and offline if possible."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mlops_lib.engine import confined, programs, sdists
from mlops_lib.environments import images
from mlops_lib.errors import ImageError

BUILD_S = 900
FILES = 16
LOG_BYTES = 1 << 20


class ProcessBuilder:
    """Builds source distributions with an interpreter of this machine."""

    def __init__(self, base: str, *, pip: Path | None, download: programs.Step) -> None:
        """Create a builder.

        Args:
            base: the interpreter.
            pip: the package of a pip that runs on it, which is copied; without one, the interpreter
                installs its bundled pip, which takes longer.
            download: runs a command with the settings of the package index; raises ImageError if it
                fails.
        """
        self._base = base
        self._pip = pip
        self._download = download
        self.identity = f"process {sys.implementation.cache_tag} {platform.machine()} {base}"

    def __call__(
        self, archive: Path, requires: Sequence[str], *, on_line: sdists.OnLine
    ) -> list[tuple[str, bytes]]:
        """Build one source distribution, as `sdists.Builder` specifies."""
        with tempfile.TemporaryDirectory(prefix="mlops-sdist-", ignore_cleanup_errors=True) as name:
            scratch = Path(name)
            scratch.chmod(0o711)
            python = str(scratch / "python" / "bin" / "python")
            wheels = scratch / "wheels"
            self._make(scratch / "python")
            fetch = str(images.CONTAINERS / "fetch.py")
            (scratch / "requires.txt").write_text(
                "".join(f"{line}\n" for line in requires), encoding="utf-8"
            )
            self._download(
                [
                    python,
                    "-I",
                    fetch,
                    str(wheels),
                    "--ignore-installed",
                    "-r",
                    str(scratch / "requires.txt"),
                ]
            )
            _readable(wheels)
            out = scratch / "out"
            home = scratch / "home"
            copy = scratch / archive.name
            copy.write_bytes(archive.read_bytes())
            copy.chmod(0o644)
            for folder in (out, home):
                folder.mkdir()
                if os.getuid() == 0:
                    os.chown(folder, confined.NOBODY, confined.NOBODY)
            confinement = [python, "-I", "-S", confined.__file__, str(Path.home()), str(scratch)]
            build = [
                python,
                "-I",
                "-m",
                "pip",
                "wheel",
                "--disable-pip-version-check",
                "--progress-bar=off",
            ]
            build += [
                "--no-cache-dir",
                "--no-deps",
                "--no-index",
                "--use-pep517",
                "--find-links",
                str(wheels),
            ]
            command = [*confinement, *build, "--wheel-dir", str(out), str(copy)]
            _run(command, home, archive.name, on_line)
            return _wheels(out)

    def _make(self, place: Path) -> None:
        without = [] if self._pip is None else ["--without-pip"]
        self._download([self._base, "-I", "-m", "venv", *without, str(place)])
        if self._pip is not None:
            packages = next(place.glob("lib/python*/site-packages"))
            shutil.copytree(
                self._pip, packages / "pip", ignore=shutil.ignore_patterns("__pycache__")
            )


def _readable(folder: Path) -> None:
    folder.chmod(0o755)
    for child in folder.iterdir():
        child.chmod(0o644)


def _run(command: list[str], home: Path, name: str, on_line: sdists.OnLine) -> None:
    # Nothing of the caller's environment: no proxy, no token, no setting of pip's.
    variables = {
        "PATH": os.defpath,
        "HOME": str(home),
        "TMPDIR": str(home),
        "LC_ALL": "C.UTF-8",
        "PIP_CONFIG_FILE": os.devnull,
        "SOURCE_DATE_EPOCH": "315532800",
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home,
            env=variables,
            start_new_session=True,
        )
        try:
            process.wait(BUILD_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES))
        lines = [
            sdists.printable(line) for line in log.read().decode(errors="replace").splitlines()
        ]
    for line in lines:
        on_line(line)
    if process.returncode != 0:
        raise ImageError(
            "a source distribution cannot be built",
            where=name,
            log="".join(f"{line}\n" for line in lines),
            remedy="Pin a release that has a wheel; the build has no network. `--backend docker`"
            " may have what it lacks.",
        )


def _wheels(out: Path) -> list[tuple[str, bytes]]:
    """Return the wheels that a build left: regular files of bounded size, no links."""
    wheels: list[tuple[str, bytes]] = []
    for name in sorted(os.listdir(out))[:FILES]:  # noqa: PTH208
        if not name.endswith(".whl"):
            continue
        try:
            descriptor = os.open(
                out / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError:
            continue
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if (
                stat.S_ISREG(status.st_mode)
                and status.st_nlink == 1
                and status.st_size <= sdists.ARCHIVE_BYTES
            ):
                wheels.append((name, stream.read(sdists.ARCHIVE_BYTES)))
    return wheels
