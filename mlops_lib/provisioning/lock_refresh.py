"""Refresh the locks of the catalog's rows.

Run it as `python -m mlops_lib.provisioning.lock_refresh`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlops_lib.engine import package_index, programs
from mlops_lib.environments import images, placeholder_wheels
from mlops_lib.environments.locks import LOCKS, MACHINES, PYTHON, path, versions


def resolve(lines: Sequence[str], *, machine: str, given: str = "") -> str:
    """Resolve a layer and return its lock.

    Args:
        lines: its requirements, including those of the layers below.
        machine: the processor.
        given: the lock of the layers below; its releases stay, and are left out of the result.
    """
    uv = programs.find("uv") or str(Path(sys.executable).with_name("uv"))
    named = {
        one.name for one in placeholder_wheels.needed(lines) if one.machine in ("", machine)
    } | set(versions(given))
    with tempfile.TemporaryDirectory() as folder:
        below = Path(folder, "below.txt")
        below.write_text(
            "".join(f"{name}=={version}\n" for name, version in versions(given).items())
        )
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
        variables = {
            "PATH": programs.search_path(),
            "HOME": str(Path.home()),
            **package_index.variables(),
        }
        done = subprocess.run(
            command,
            input="\n".join(lines),
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
            env=variables,
        )
    return done.stdout


def main() -> None:
    """Create all locks anew."""
    LOCKS.mkdir(exist_ok=True)
    before = set(LOCKS.glob("*.txt"))
    targets = {}
    for row in images.catalog():
        framework, family = images.row_layers(row["name"])
        below: dict[str, str] = {}
        for layer, lines in (("framework", framework), ("family", [*framework, *family])):
            if lines:
                locks = {
                    machine: resolve(lines, machine=machine, given=below.get(machine, ""))
                    for machine in MACHINES
                }
                targets.update(_files(layer, lines, locks))
                below = {machine: below.get(machine, "") + text for machine, text in locks.items()}
    for place, text in targets.items():
        place.write_text(text, encoding="utf-8")
    for place in before - set(targets):
        place.unlink()


def _files(layer: str, lines: Sequence[str], locks: Mapping[str, str]) -> dict[Path, str]:
    header = "".join(f"# {line}\n" for line in ("Made by `make locks` for:", *lines))
    if len(set(locks.values())) == 1:
        return {path(layer, lines): header + next(iter(locks.values()))}
    return {path(layer, lines, machine): header + text for machine, text in locks.items()}


if __name__ == "__main__":
    main()
