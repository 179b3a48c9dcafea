"""Virtual environments for the process engine, in folders named by contents.

A folder with the marker `.complete` has exactly the contents that its name stands for. Concurrent
builders of an environment wait for each other. The installer holds the lock too: if its builder is
killed, no other process touches the folder before the installer has ended.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from mlops_lib import atomic, file_lock
from mlops_lib.engine import (
    import_check,
    package_index,
    programs,
    resolver_timeout,
    sdists,
    shared_files,
)
from mlops_lib.engine.image_store import StoredImage, name_of_home
from mlops_lib.engine.sdist_process import ProcessBuilder
from mlops_lib.environments import images, locks, placeholder_wheels, torch_builds
from mlops_lib.errors import ImageError
from mlops_lib.records import Environment

COMPLETE = ".complete"
HELD = "torch-held.txt"
"""The releases of PyTorch from an index of its own, which no other one replaces."""
PYTHON_S = 30.0
"""Seconds for which a Python may take to print its version."""
LOG_LINES = 200
"""Number of lines of a failed installer's output in its error: they name what failed."""
FORWARDED_VARIABLES = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    *package_index.PROXIES,
    *package_index.CERTIFICATES,
)
"""Variables of the caller that an installer sees, besides the index's.

None is a secret.
"""


def place(home: Path, environment: Environment) -> Path:
    """Return the environment's folder, named by everything that decides its contents."""
    built: list[object] = [list(environment.sdists)] if environment.sdists else []
    built += [environment.owner] if environment.owner else []
    locked: list[object] = [images.locks_of(environment)] if images.locks_of(environment) else []
    if images.torch_lines(environment):
        locked += [environment.torch_index, *images.torch_lines(environment)]
    content = json.dumps(
        [
            sorted(environment.requirements),
            *built,
            *locked,
            environment.python,
            sys.implementation.cache_tag,
            platform.machine(),
            sys.platform,
            sys.base_prefix,
        ]
    )
    return (
        home
        / "environments"
        / f"{environment.name}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    )


def is_complete(folder: Path) -> bool:
    """Return whether it was built completely, and its base Python still exists."""
    return (folder / COMPLETE).exists() and python_of(folder).exists()


def python_of(folder: Path) -> Path:
    """Return the path of the environment's own Python."""
    return folder / "bin" / "python"


def build(folder: Path, environment: Environment, *, on_line: Callable[[str], None]) -> None:
    """Build the environment if missing; wait for a concurrent build of the same one.

    Raises:
        ImageError: its Python is not installed here, or its requirements cannot be installed.
    """
    base = interpreter(environment.python)
    with file_lock.hold(folder.with_suffix(".lock")) as lock:
        if is_complete(folder):
            return
        if folder.exists():
            shutil.rmtree(folder)
        uv = programs.find("uv")

        # A cache of our own: the caller's may hold wheels that uv built from source, which it takes
        # although it builds none.
        own = {"UV_CACHE_DIR": str(folder.parent / "uv-cache")}

        def step(
            command: list[str],
            *,
            pinned: bool = False,
            offline: bool = False,
            given: Mapping[str, str] | None = None,
            on_line: Callable[[str], None] = on_line,
        ) -> None:
            step_variables = _offline() if offline else variables() if given is None else given
            _step(command, on_line, lock, pinned=pinned, given={**own, **step_variables})

        step(
            [uv, "venv", "--quiet", "--python", base, str(folder)]
            if uv
            else [base, "-I", "-m", "venv", str(folder)]
        )
        for placeholder in placeholder_wheels.needed(environment.requirements):
            if placeholder.machine in ("", platform.machine()):
                wheel = folder / placeholder.file
                wheel.write_bytes(placeholder.wheel())
                step([*_installer(uv, folder), "--no-index", "--no-deps", str(wheel)], offline=True)
                wheel.unlink()
        if images.torch_lines(environment):
            _install_torch(environment, folder, uv, step)
        for by_machine in images.locks_of(environment).values():
            if platform.machine() in by_machine and _version(environment.python) == locks.PYTHON:
                lock_file = folder / "lock.txt"
                lock_file.write_text(by_machine[platform.machine()], encoding="utf-8")
                step(
                    [*_installer(uv, folder), "--no-deps", "--require-hashes", "-r", str(lock_file)]
                )
                lock_file.unlink()
        pip = next(folder.glob("lib/python*/site-packages/pip"), None)
        builder = ProcessBuilder(base, pip=pip, download=step)
        python = _version(environment.python)
        cache = folder.parent / "wheels"
        built = sdists.wheels(
            environment.sdists, builder, python=python, cache=cache, on_line=on_line
        )
        if environment.requirements:
            _install(environment, folder, uv, built, step)
        if not environment.owner:
            shared_files.share(folder, folder.parent / shared_files.STORE)
        atomic.write_bytes(folder / COMPLETE, b"")


def _installer(uv: str | None, folder: Path) -> list[str]:
    """Return the command that installs into an environment.

    It never builds from source.
    """
    python = str(python_of(folder))
    if uv:
        # Not linked: a script that changes a file of its environment must not change uv's cache,
        # and so others'. A clone shares its blocks until one is written to (Btrfs, XFS, APFS);
        # elsewhere uv copies.
        return [uv, "pip", "install", "--python", python, "--no-build", "--link-mode", "clone"]
    return [
        python,
        "-I",
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar=off",
        "--only-binary",
        ":all:",
    ]


def _install_torch(
    environment: Environment, folder: Path, uv: str | None, step: Callable[..., None]
) -> None:
    """Install PyTorch from its own index, without dependencies, and pin its releases."""
    lines = images.torch_lines(environment)
    step([*_installer(uv, folder), "--no-deps", *lines], given=_only(environment.torch_index))
    _hold(folder)


def _install_more_of_torch(
    arguments: Sequence[str], folder: Path, uv: str, index: str, step: Callable[..., None]
) -> None:
    """Install other PyTorch packages that the requirements need (torchvision, say).

    They come from PyTorch's index.

    Args:
        arguments: the arguments of the installation that follows.
        folder: the environment.
        uv: the installer. pip's own two steps handle this themselves (containers/fetch.py).
        index: PyTorch's index.
        step: runs a command.
    """
    output: list[str] = []
    step([*_installer(uv, folder), "--dry-run", *arguments], pinned=True, on_line=output.append)
    planned = re.findall(r"^ \+ ([\w.-]+)==([\w.!]+)", "\n".join(output), re.MULTILINE)
    further = [f"{name}=={version}" for name, version in planned if name in torch_builds.NAMES]
    if further:
        step([*_installer(uv, folder), "--no-deps", *further], given=_only(index))
        _hold(folder)


def _only(index: str) -> Mapping[str, str]:
    """Return the variables of an installer that knows one index only."""
    inherited = {
        name: os.environ[name]
        for name in FORWARDED_VARIABLES
        if name in os.environ and name not in package_index.CERTIFICATES
    }
    return {
        **inherited,
        "PATH": programs.search_path(),
        **package_index.variables_for(index),
    }


def _hold(folder: Path) -> None:
    """Write the installed releases of PyTorch as constraints."""
    matches = [
        re.match(r"(\w+)-(.+)\.dist-info$", place.name)
        for place in folder.glob("lib/python*/site-packages/torch*.dist-info")
    ]
    lines = [
        f"{match[1]}=={match[2]}\n" for match in matches if match and match[1] in torch_builds.NAMES
    ]
    (folder / HELD).write_text("".join(sorted(lines)), encoding="utf-8")


def _held(folder: Path) -> list[str]:
    """Return the arguments that keep the releases of PyTorch, [] if none is held."""
    return ["--constraint", str(folder / HELD)] if (folder / HELD).exists() else []


def _install(
    environment: Environment,
    folder: Path,
    uv: str | None,
    built: Sequence[Path],
    step: Callable[..., None],
) -> None:
    """Install all requirements at once, with the wheels that were built for them.

    pip downloads and installs in two steps, and only the first knows the index's password: a wheel
    may replace modules that pip loads late. uv is a binary that loads none.
    """
    pinned = images.has_pins(environment)
    links = [word for wheel in built for word in ("--find-links", str(wheel.parent))]
    if uv:
        arguments = [*links, *environment.requirements]
        if _held(folder):
            index = environment.torch_index
            _install_more_of_torch([*_held(folder), *arguments], folder, uv, index, step)
        step([*_installer(uv, folder), *_held(folder), *arguments], pinned=pinned)
        return
    with tempfile.TemporaryDirectory(prefix="mlops-wheels-") as name:
        python = str(python_of(folder))
        fetch = str(images.CONTAINERS / "fetch.py")
        torch = ["--torch-index", environment.torch_index] if _held(folder) else []
        requirements = [*torch, *_held(folder), *links, *environment.requirements]
        given = {**variables(), **_pip_options()} if torch else None
        step([python, "-I", fetch, name, *requirements], pinned=pinned, given=given)
        wheels = sorted(map(str, Path(name).glob("*.whl")))
        if wheels:
            step([*_installer(None, folder), "--no-index", "--no-deps", *wheels], offline=True)


def _pip_options() -> Mapping[str, str]:
    """Return pip's settings except indexes as variables, which hold without its files."""
    index = package_index.without_indexes(package_index.settings())
    return {f"PIP_{key.upper().replace('-', '_')}": value for key, value in index.items()}


def _version(python: str) -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}" if python == images.PYTHON else python


def interpreter(version: str) -> str:
    """Return a Python of this version on this machine.

    Without a version, the current one.

    Raises:
        ImageError: there is none.
    """
    if version in (images.PYTHON, f"{sys.version_info[0]}.{sys.version_info[1]}"):
        return sys.executable
    program = next(
        filter(None, (_running(candidate, version) for candidate in _candidates(version))), None
    )
    if program is None:
        raise ImageError(
            f"the project requires Python {version}, and this machine has none",
            where="process environment",
            remedy=f"Install python{version}, or use --backend docker --base-image"
            f" python:{version}-slim.",
        )
    return program


def _candidates(version: str) -> Iterator[str | None]:
    """Yield programs that may be a Python of this version, the likeliest first."""
    yield programs.find(f"python{version}")
    yield _from_uv(version)
    # pyenv's programs on PATH only start the version that is selected; the others are here.
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    for folder in sorted(pyenv.glob(f"{version}.*"), reverse=True):
        yield str(folder / "bin" / f"python{version}")


def _running(program: str | None, series: str) -> str | None:
    """Return the path of a Python if it runs and has this version, else None."""
    if program is None or not Path(program).exists():
        return None
    says = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"
    try:
        answer = subprocess.run(
            [program, "-I", "-c", says],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=PYTHON_S,
            cwd=programs.FOLDER,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version, _, path = answer.stdout.strip().partition("\n")
    return (path or program) if answer.returncode == 0 and version == series else None


def _from_uv(version: str) -> str | None:
    uv = programs.find("uv")
    if uv is None:
        return None
    answer = subprocess.run(
        [uv, "python", "find", "--offline", version],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=programs.FOLDER,
        env=variables(),
    )
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def variables() -> Mapping[str, str]:
    """Return an installer's variables: the operator's settings and no secret."""
    inherited = {name: os.environ[name] for name in FORWARDED_VARIABLES if name in os.environ}
    return {**inherited, "PATH": programs.search_path(), **package_index.variables()}


def _offline() -> Mapping[str, str]:
    """Return the variables of an offline step: no index settings, no proxy."""
    names = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
    inherited = {name: os.environ[name] for name in names if name in os.environ}
    return {
        **inherited,
        "PATH": programs.search_path(),
        "PIP_CONFIG_FILE": os.devnull,
        "UV_NO_CONFIG": "1",
    }


def _step(
    command: list[str],
    on_line: Callable[[str], None],
    lock: int,
    *,
    given: Mapping[str, str],
    pinned: bool = False,
) -> None:
    mask = package_index.Mask()
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=given,
            cwd=programs.FOLDER,
            pass_fds=(lock,),
        )
    except OSError as error:
        raise ImageError(
            f"{command[0]} cannot be started: {error.strerror}", remedy="`mlops doctor`"
        ) from None
    with process:
        try:
            lines = resolver_timeout.follow(process, lambda line: on_line(mask(line)), asked=pinned)
        except (
            BaseException
        ):  # asked to end: an installer must not go on in a folder whose lock is free
            process.kill()
            raise
    if process.returncode != 0:
        raise ImageError(
            "the virtual environment cannot be made",
            where=" ".join(command[:4]),
            remedy="The installer's reason is above; declare the right versions in"
            " requirements.txt.",
            log=mask("".join(lines[-LOG_LINES:])),
        )


def missing(
    folder: Path, environment: Environment, imports: Collection[str]
) -> list[import_check.Missing]:
    """Return the names that the environment cannot import."""
    inherited = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
        if name in os.environ
    }
    try:
        result = subprocess.run(
            [str(python_of(folder)), *import_check.arguments(imports)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=import_check.TIMEOUT_S,
            cwd=folder,
            env={**inherited, **environment.variables},
        )
        output = result.stdout
    except subprocess.TimeoutExpired as late:
        output = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else ""
    return import_check.missing(output, imports)


def stored_environments(home: Path, *, running: Collection[str]) -> list[StoredImage]:
    """Return the environments of a home, largest first.

    Args:
        home: the home.
        running: paths of running programs; an environment whose Python is among them is in use.
    """
    root = home / "environments"
    environments = []
    for folder in root.iterdir() if root.is_dir() else ():
        if not (folder / COMPLETE).exists():
            continue
        environments.append(
            StoredImage(
                id=str(folder),
                tags=(str(folder),),
                environment=folder.name.rpartition("-")[0],
                bytes=_bytes(folder),
                created=(folder / COMPLETE).stat().st_mtime,
                home=name_of_home(str(home)),
                in_use=str(python_of(folder)) in running,
            )
        )
    return sorted(environments, key=lambda environment: (-environment.bytes, environment.tags))


def _bytes(folder: Path) -> int:
    """Return the bytes that removing an environment frees."""
    return sum(
        shared_files.own_bytes(Path(place, name))
        for place, _, names in os.walk(folder)
        for name in names
    )


def remove(folder: Path) -> None:
    """Remove an environment; its builders wait for that."""
    with file_lock.hold(folder.with_suffix(".lock")):
        (folder / COMPLETE).unlink(missing_ok=True)  # first: what is half gone must not look whole
        shutil.rmtree(folder, ignore_errors=True)
    shared_files.tidy(folder.parent / shared_files.STORE)
