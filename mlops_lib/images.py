"""From an environment to an image: a pure function, named by everything that goes into it.

Layers are ordered so that families share what they can: Python, the framework's pins, the row's further packages, the
project's own, and last the runner, so that a change of ours re-downloads nothing. The script itself is never part of
an image's name.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mlops_lib.errors import ImageError
from mlops_lib.records import Environment, Image

PACKAGE = Path(__file__).parent
CONTAINERS = PACKAGE / "containers"
PROJECT, INSIDE, CACHES = "/mlops/project", "/mlops/inside", "/mlops/caches"
PIP = """--mount=type=cache,target=/root/.cache/pip,sharing=locked \\
    --mount=type=secret,id=pip --mount=type=secret,id=ca \\
    PIP_CONFIG_FILE=/run/secrets/pip python -m pip install --disable-pip-version-check --root-user-action=ignore \\
   """
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*[ ]*(\[[A-Za-z0-9._, -]*\])?[ ]*\(?([<>=!~][A-Za-z0-9.*+!<>=~, _-]*)?\)?[ ]*(;[^\n\r]*)?"
)
_SYSTEM = re.compile(r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?")


def plan(environment: Environment, *, base_image: str = "python:3.11-slim") -> Image:
    """The image for an environment; nothing is built and no engine is asked.

    Args:
        environment: what the entry needs.
        base_image: a Debian image with Python and pip.

    Raises:
        ImageError: a requirement is not a name with its versions but an option or a URL, or a system package is no name.
    """
    _check(environment)
    text = dockerfile(environment)
    content = json.dumps([text, layers(environment), base_image, runner_digest()])
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Image(
        tag=f"mlops/{environment.name}:{digest[:16]}", environment=environment, dockerfile=text, base_image=base_image
    )


def _check(environment: Environment) -> None:
    """Where packages come from is the operator's to say, never the project's."""
    for kind, pattern, lines in (
        ("requirement", _REQUIREMENT, environment.requirements),
        ("system package", _SYSTEM, environment.system),
    ):
        for line in lines:
            if not pattern.fullmatch(line):
                raise ImageError(
                    f"{line!r} is no {kind}", where=environment.name,
                    remedy="Name the distribution and its versions, such as numpy>=1.26; options and URLs are not taken.",
                )  # fmt: skip


def dockerfile(environment: Environment) -> str:
    """The Dockerfile: containers/Dockerfile with the environment's rows filled in."""
    packages = " ".join(sorted(environment.system))
    variables = {"PYTHONHASHSEED": "1", **environment.variables}
    filled = {
        "@PIP@": PIP,
        "@SYSTEM@": f"RUN apt-get update && apt-get install -y --no-install-recommends {packages}"
        " && rm -rf /var/lib/apt/lists/*"
        if packages
        else "# no system packages",
        "@VARIABLES@": " ".join(f"{name}={_quoted(value)}" for name, value in sorted(variables.items())),
    }
    text = (CONTAINERS / "Dockerfile").read_text(encoding="utf-8")
    for name, value in filled.items():
        text = text.replace(name, value)
    return text


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("$", "\\$")


def context(image: Image, folder: Path) -> None:
    """Write the build context into an empty folder: Dockerfile, requirements, the runner."""
    (folder / "Dockerfile").write_text(image.dockerfile, encoding="utf-8")
    for name, lines in zip(("framework", "family", "project"), layers(image.environment), strict=True):
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    copy_runner(folder / "runner")


def layers(environment: Environment) -> tuple[list[str], list[str], list[str]]:
    """The requirements by who shares them: the framework's pins, the rest of the row, the project's own."""
    row = next((row for row in catalog() if row["name"] == environment.name), None)
    shared = set() if row is None else set(row.get("requirements", ()))
    pinned = {line for line in shared if "==" in line.partition(";")[0]}
    return (
        [line for line in environment.requirements if line in pinned],
        [line for line in environment.requirements if line in shared - pinned],
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
