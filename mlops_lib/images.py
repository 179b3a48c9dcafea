"""From an environment to an image: a pure function, named by everything that goes into it.

Layers are ordered so that families share what they can: Python, the row's frameworks, the project's own requirements,
and last the runner, so that a change of ours re-downloads nothing. The script itself is never part of an image's name.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mlops_lib.records import Environment, Image

PACKAGE = Path(__file__).parent
CONTAINERS = PACKAGE / "containers"
PROJECT, INSIDE, CACHES = "/mlops/project", "/mlops/inside", "/mlops/caches"


def plan(environment: Environment, *, base_image: str = "python:3.11-slim") -> Image:
    """The image for an environment; nothing is built and no engine is asked.

    Args:
        environment: what the entry needs.
        base_image: a Debian image with Python and pip.
    """
    text = dockerfile(environment)
    digest = hashlib.sha256(
        json.dumps([text, list(environment.requirements), base_image, runner_digest()]).encode()
    ).hexdigest()
    return Image(
        tag=f"mlops/{environment.name}:{digest[:16]}", environment=environment, dockerfile=text, base_image=base_image
    )


def dockerfile(environment: Environment) -> str:
    """The Dockerfile: containers/Dockerfile with the environment's rows filled in."""
    template = (CONTAINERS / "Dockerfile").read_text(encoding="utf-8")
    packages = " ".join(sorted(environment.system))
    variables = {"PYTHONHASHSEED": "1", **environment.variables}
    filled = {
        "@SYSTEM@": f"RUN apt-get update && apt-get install -y --no-install-recommends {packages}"
        " && rm -rf /var/lib/apt/lists/*"
        if packages
        else "# no system packages",
        "@VARIABLES@": " ".join(f"{name}={json.dumps(value)}" for name, value in sorted(variables.items())),
    }
    for name, value in filled.items():
        template = template.replace(name, value)
    return template


def context(image: Image, folder: Path) -> None:
    """Write the build context into an empty folder: Dockerfile, requirements, the runner."""
    (folder / "Dockerfile").write_text(image.dockerfile, encoding="utf-8")
    framework, project = split(image.environment)
    (folder / "framework.txt").write_text("".join(f"{line}\n" for line in framework), encoding="utf-8")
    (folder / "project.txt").write_text("".join(f"{line}\n" for line in project), encoding="utf-8")
    copy_runner(folder / "runner")


def split(environment: Environment) -> tuple[list[str], list[str]]:
    """The requirements that all environments of the row share, and those that only this one has."""
    row = next((row for row in catalog() if row["name"] == environment.name), None)
    shared = set() if row is None else set(row.get("requirements", ()))
    return (
        [line for line in environment.requirements if line in shared],
        [line for line in environment.requirements if line not in shared],
    )


@cache
def catalog() -> tuple[dict[str, Any], ...]:
    """The rows of containers/catalog.toml."""
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib  # type: ignore[no-redef, unused-ignore]
    with (CONTAINERS / "catalog.toml").open("rb") as stream:
        return tuple(tomllib.load(stream)["environment"])


def runner_files() -> list[Path]:
    """The sources of what runs around the script: an island, so this is all of mlops_lib that an image holds."""
    return [PACKAGE / "__init__.py", *sorted((PACKAGE / "runner").rglob("*.py"))]


@cache
def runner_digest() -> str:
    """sha256 over the runner's sources."""
    digest = hashlib.sha256()
    for path in runner_files():
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def copy_runner(folder: Path) -> None:
    """Copy the runner as the package `mlops_lib` into a folder that can stand on Python's path."""
    for path in runner_files():
        target = folder / "mlops_lib" / path.relative_to(PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


def built(image: Image) -> Image:
    """The image, marked as built."""
    return replace(image, built=True)
