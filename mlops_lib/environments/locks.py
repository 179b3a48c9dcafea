"""Locks of the catalog's rows: one tag means one content.

A row asks for series of releases, or for a distribution in any. Its lock names each file that is installed by its hash, for the
two layers that rows share and for each processor. `make locks` (this module as a program) makes them anew with uv, from the
index that pip's settings name; a test compares them with the catalog.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from mlops_lib.catalog import FOLDER
from mlops_lib.environments import placeholder_wheels, requirements

LOCKS = Path(FOLDER, "locks")
PYTHON = "3.11"
"""The only Python that there are locks for: that of the usual base image."""
MACHINES = {"x86_64": "x86_64-manylinux_2_28", "aarch64": "aarch64-manylinux_2_28"}
"""Processors as `uname -m` names them, and as uv does."""
LAYERS = ("framework", "family")
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


def path(layer: str, lines: Sequence[str], machine: str = "") -> Path:
    """Return the file of a lock: by what it was made for, so that rows with the same layer share it.

    Args:
        layer: "framework" or "family".
        lines: the layer's requirements, those of the layer below included.
        machine: the processor; "" for a lock that is the same for all.
    """
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]
    return LOCKS / f"{layer}-{digest}{machine and '.' + machine}.txt"


def texts(layer: str, lines: Sequence[str]) -> dict[str, str]:
    """Return the locks of a layer by processor; empty if it has none. Arguments as for `path`."""
    found = {}
    for machine in MACHINES:
        place = next((one for one in (path(layer, lines, machine), path(layer, lines)) if one.is_file()), None)
        if place is not None:
            found[machine] = _read(place)
    return found


@cache
def _read(place: Path) -> str:
    return place.read_text(encoding="utf-8")


def versions(text: str) -> dict[str, str]:
    """Return the releases in a lock, by normalised name."""
    return {requirements.normal(name): version for name, version in _PIN.findall(text)}


def made(lines: Sequence[str], *, machine: str, given: str = "") -> str:
    """Resolve a layer and return its lock.

    Args:
        lines: its requirements, those of the layers below included.
        machine: the processor.
        given: the lock of the layers below; its releases stay, and are left out.
    """
    import tempfile

    from mlops_lib.engine import package_index, programs

    uv = programs.find("uv") or str(Path(sys.executable).with_name("uv"))
    named = {one.name for one in placeholder_wheels.needed(lines) if one.machine in ("", machine)} | set(
        versions(given)
    )
    with tempfile.TemporaryDirectory() as folder:
        below = Path(folder, "below.txt")
        below.write_text("".join(f"{name}=={version}\n" for name, version in versions(given).items()))
        command = [
            uv,
            "pip",
            "compile",
            "-",
            "--quiet",
            "--generate-hashes",
            "--no-build",
            "--no-header",
            "--no-annotate",
        ]
        command += ["--no-emit-index-url", "--no-emit-find-links", "--python-version", PYTHON]
        command += ["--python-platform", MACHINES[machine], "--constraint", str(below)]
        command += [word for name in sorted(named) for word in ("--no-emit-package", name)]
        variables = {"PATH": programs.search_path(), "HOME": str(Path.home()), **package_index.variables()}
        done = subprocess.run(
            command, input="\n".join(lines), capture_output=True, text=True, check=True, cwd="/", env=variables
        )
    return done.stdout


def main() -> None:
    """Make all locks anew."""
    from mlops_lib.environments import images

    LOCKS.mkdir(exist_ok=True)
    before = set(LOCKS.glob("*.txt"))
    wanted = {}
    for row in images.catalog():
        framework, family = images.row_layers(row["name"])
        below: dict[str, str] = {}
        for layer, lines in (("framework", framework), ("family", [*framework, *family])):
            if lines:
                locks = {machine: made(lines, machine=machine, given=below.get(machine, "")) for machine in MACHINES}
                wanted.update(_files(layer, lines, locks))
                below = {machine: below.get(machine, "") + text for machine, text in locks.items()}
    for place, text in wanted.items():
        place.write_text(text, encoding="utf-8")
    for place in before - set(wanted):
        place.unlink()


def _files(layer: str, lines: Sequence[str], locks: Mapping[str, str]) -> dict[Path, str]:
    header = "".join(f"# {line}\n" for line in ("Made by `make locks` for:", *lines))
    if len(set(locks.values())) == 1:
        return {path(layer, lines): header + next(iter(locks.values()))}
    return {path(layer, lines, machine): header + text for machine, text in locks.items()}


if __name__ == "__main__":
    main()
