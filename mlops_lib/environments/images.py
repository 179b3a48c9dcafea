"""Convert an environment to an image: a pure function, named by all of its inputs.

Layers are ordered so that families share as much as possible: Python, the framework's pins, the
row's further packages, the project's own, and last the runner, so that a new runner causes no
download. The script itself is never part of an image's name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mlops_lib.catalog import FOLDER
from mlops_lib.environments import (
    locks,
    placeholder_wheels,
    requirement,
    tables,
    torch_builds,
)
from mlops_lib.errors import ImageError
from mlops_lib.records import Environment, Image

PACKAGE = Path(__file__).parents[1]
CONTAINERS = Path(FOLDER)
PYTHON = "3.11"
"""Python version of an environment that requests none: that of the usual base image."""
LAYERS = ("framework", "family", "project")
PROGRAMS = ("row.py", "fetch.py")
"""Programs of this package that install within an image."""
PROJECT = "/mlops/project"
INSIDE = "/mlops/inside"
CACHES = "/mlops/caches"
SHARED = "/mlops/shared"
PROXIES = "if [ -f /run/secrets/proxies ]; then . /run/secrets/proxies; fi"
"""Shell prefix that sets the proxies, with their passwords, for one command.

Arguments of the build would be visible to every step.
"""
_DOWNLOADING = f"""--mount=type=cache,id=mlops-wheels,target=/root/.cache/pip \\
    --mount=type=secret,id=@ --mount=type=secret,id=ca --mount=type=secret,id=proxies \\
    {PROXIES} && PIP_CONFIG_FILE=/run/secrets/@"""
DOWNLOADING = _DOWNLOADING.replace("@", "pip")
"""Options of a step that may use the package index.

The cache has its own name, so that files from other Dockerfiles are not loaded. It receives only
wheels.
"""
TORCH_DOWNLOADING = _DOWNLOADING.replace("@", "torch")
"""Options of a step that may use PyTorch's own index, and knows no other one."""
OFFLINE = (
    "python -I -m pip install --disable-pip-version-check --root-user-action=ignore --no-index"
    " --no-deps"
)
_MINOR = re.compile(r"==\d+\.\d")
_SYSTEM = re.compile(r"[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?")


def plan(environment: Environment, *, base_image: str = "python:3.11-slim") -> Image:
    """Return the image for an environment; nothing is built and no engine is used.

    Args:
        environment: the entry's needs.
        base_image: a Debian image with Python and pip.

    Raises:
        ImageError: a requirement is an option or a URL instead of a name with versions, or the name
            of a system package is invalid.
    """
    _check(environment)
    text = dockerfile(environment)
    installed = [
        layers(environment),
        torch_lines(environment),
        environment.sdists,
        environment.unlocked,
        locks_of(environment),
    ]
    content = json.dumps([text, installed, base_image, runner_digest(), _programs_digest()])
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Image(
        tag=f"mlops/{environment.name}:{digest[:16]}",
        environment=environment,
        dockerfile=text,
        base_image=base_image,
    )


def _check(environment: Environment) -> None:
    """Refuse options and URLs: only the operator chooses package sources."""
    for kind, is_one, lines in (
        ("requirement", requirement.read, environment.requirements),
        ("system package", _SYSTEM.fullmatch, environment.system),
    ):
        for line in lines:
            if not is_one(line):
                raise ImageError(
                    f"{line!r} is no {kind}",
                    where=environment.name,
                    remedy="Name the distribution and its versions, such as numpy>=1.26; options"
                    " and URLs are not taken.",
                )


def dockerfile(environment: Environment) -> str:
    """Return the Dockerfile: containers/Dockerfile filled in for an environment."""
    variables = {"PYTHONHASHSEED": "1", **environment.variables}
    row = next((row for row in catalog() if row["name"] == environment.name), {})
    shared = set(row.get("system", ())) & set(environment.system)
    named = zip(LAYERS, layers(environment), strict=True)
    filled = {
        "@DOWNLOADING@": DOWNLOADING,
        **{f"@{name.upper()}_STANDINS@\n": _standins(environment, lines) for name, lines in named},
        "@TORCH@\n": _torch(environment),
        "@SYSTEM@": _apt(shared) or "# no system packages",
        "@PROJECT@\n": _project(environment, set(environment.system) - shared),
        "@VARIABLES@": " ".join(
            f"{name}={quoted(value)}" for name, value in sorted(variables.items())
        ),
    }
    text = (CONTAINERS / "Dockerfile").read_text(encoding="utf-8")
    for name, value in filled.items():
        text = text.replace(name, value)
    return text


def _standins(environment: Environment, lines: list[str]) -> str:
    """Return the step that installs the stand-ins that a layer's requirements need."""
    names = {requirement.name_of(line) for line in lines}
    parts = []
    for one in placeholder_wheels.needed(environment.requirements):
        if one.beside in names:
            unless = f'[ "$(uname -m)" != {one.machine} ] || ' if one.machine else ""
            parts.append(
                f"# Nothing but the name: who asks for {one.name} needs no download for GPUs.\n"
                f"COPY {one.file} /mlops/\n"
                f"RUN {unless}{OFFLINE} \\\n"
                f"    /mlops/{one.file}\n\n"
            )
    return "".join(parts)


def _torch(environment: Environment) -> str:
    """Return the step that installs PyTorch from an index of its own; "" if it has none."""
    if not torch_lines(environment):
        return ""
    return (
        "# PyTorch's own builds. Nothing else is asked of their index; what they need comes from the"
        " usual one.\n"
        "COPY torch.txt row.py /mlops/\n"
        f"RUN {TORCH_DOWNLOADING} python -I /mlops/row.py torch --index-url"
        f" {environment.torch_index} -r /mlops/torch.txt\n\n"
    )


def torch_lines(environment: Environment) -> list[str]:
    """Return the requirements that PyTorch's own index is asked for; [] if there is none."""
    if not environment.torch_index:
        return []
    is_rows = environment.python == PYTHON and "torch" in environment.requirements
    locked = releases(environment.name).get("torch", "") if is_rows else ""
    return torch_builds.lines(environment.requirements, locked)


def _apt(packages: set[str]) -> str:
    if not packages:
        return ""
    listed = " ".join(sorted(packages))
    return (
        f"RUN --mount=type=secret,id=proxies {PROXIES} \\\n"
        f"    && apt-get update && apt-get install -y --no-install-recommends {listed} && rm -rf"
        " /var/lib/apt/lists/*"
    )


def _project(environment: Environment, system: set[str]) -> str:
    """Return the steps for a project's additions to its row; "" if it has none.

    The download step knows the index's password and installs nothing. The installation step knows
    no secret and puts the files aside, so that no program that runs in a step is one of them. They
    are moved to their places last.
    """
    lines = layers(environment)[2]
    apt = f"# The project's own Debian packages.\n{_apt(system)}\n\n" if system else ""
    if not lines:
        return apt
    also = f" --torch-index {environment.torch_index}" if environment.torch_index else ""
    return f"""{apt}{_standins(environment, lines)}FROM row AS wheels
COPY project.txt fetch.py /mlops/
# All lines together, so that pip finds versions that fit or says which do not.
RUN --mount=type=bind,source=built,target=/mlops/built \\
    {_fetching(environment)} python -I /mlops/fetch.py /mlops/wheels --find-links /mlops/built{also} \\
    -r /mlops/framework.txt -r /mlops/family.txt -r /mlops/project.txt
RUN mkdir -p /mlops/staging && set -- /mlops/wheels/*.whl && if [ -e "$1" ]; then \\
    {OFFLINE} --ignore-installed --no-warn-script-location \\
    --root /mlops/staging "$@"; fi

FROM row
COPY project.txt /mlops/
RUN --mount=type=bind,from=wheels,source=/mlops/wheels,target=/mlops/wheels \\
    if [ -s /mlops/wheels/replaced.txt ]; then \\
    python -I -m pip uninstall --yes --root-user-action=ignore --requirement /mlops/wheels/replaced.txt; fi
COPY --from=wheels /mlops/staging/ /

"""


def _fetching(environment: Environment) -> str:
    """Return the options of the step that downloads what a project has on top of its row."""
    if not environment.torch_index:
        return DOWNLOADING
    return f"--mount=type=secret,id=torch {DOWNLOADING}"


def quoted(value: str) -> str:
    """Return a value quoted for a Dockerfile."""
    return json.dumps(value, ensure_ascii=False).replace("$", "\\$")


def display_text(image: Image) -> str:
    """Return the Dockerfile and the requirement files that it copies, for display."""
    parts = [image.dockerfile.rstrip("\n"), ""]
    for name, lines in zip(LAYERS, layers(image.environment), strict=True):
        parts += [f"# {name}.txt:", *(f"#   {line}" for line in lines)]
    parts += [f"# tag: {image.tag}", *(f"# changed: {note}" for note in image.notes)]
    return "\n".join(parts)


def context(image: Image, folder: Path) -> None:
    """Write the build context to an empty folder: Dockerfile, requirements, runner."""
    (folder / "Dockerfile").write_text(image.dockerfile, encoding="utf-8")
    for name, lines in zip(LAYERS, layers(image.environment), strict=True):
        (folder / f"{name}.txt").write_text(
            "".join(f"{line}\n" for line in lines), encoding="utf-8"
        )
    for one in placeholder_wheels.needed(image.environment.requirements):
        (folder / one.file).write_bytes(one.wheel())
    for name in PROGRAMS:
        (folder / name).write_bytes((CONTAINERS / name).read_bytes())
    for layer in locks.LAYERS:
        (folder / "locks" / layer).mkdir(parents=True)
        for machine, text in locks_of(image.environment).get(layer, {}).items():
            (folder / "locks" / layer / f"{machine}.txt").write_text(text, encoding="utf-8")
    torch = torch_lines(image.environment)
    if torch:
        (folder / "torch.txt").write_text("".join(f"{line}\n" for line in torch), encoding="utf-8")
    (folder / "built").mkdir()
    copy_runner(folder / "runner")


def layers(environment: Environment) -> tuple[list[str], list[str], list[str]]:
    """Return the requirements by layer: framework, rest of the row, project.

    A project that replaces one of the framework's pins shares no layer. All of its requirements are
    installed at once, so that no other release remains in a layer below.
    """
    instead = _on_gpu(environment.name)
    requirements = set(environment.requirements)
    shared = [line for line in environment.requirements if line in {*instead, *instead.values()}]
    if any(_is_pin(line) and not requirements & {line, instead[line]} for line in instead):
        return [], [], list(environment.requirements)
    return (
        [line for line in shared if _is_pin(line)],
        [line for line in shared if not _is_pin(line)],
        [line for line in environment.requirements if line not in shared],
    )


def row_layers(name: str) -> tuple[list[str], list[str]]:
    """Return a row's own requirements by layer: the framework's pins, and the rest."""
    row = row_of(name)
    return [line for line in row if _is_pin(line)], [line for line in row if not _is_pin(line)]


def locks_of(environment: Environment) -> dict[str, dict[str, str]]:
    """Return the locks that apply to an environment, by layer and processor.

    A lock applies to a layer only if that equals the row's.
    """
    own = row_layers(environment.name)
    layer_lines = layers(environment)
    if (
        environment.unlocked
        or environment.python != PYTHON
        or sorted(own[0]) != sorted(layer_lines[0])
    ):
        return {}
    texts = {"framework": locks.texts("framework", own[0])}
    if sorted(own[1]) == sorted(layer_lines[1]):
        texts["family"] = locks.texts("family", [*own[0], *own[1]])
    if environment.torch_index:
        texts = {
            layer: {machine: torch_builds.unlocked(text) for machine, text in by_machine.items()}
            for layer, by_machine in texts.items()
        }
    return {layer: by_machine for layer, by_machine in texts.items() if by_machine}


def releases(name: str) -> dict[str, str]:
    """Return a row's locked releases on the usual processor, by normalised name."""
    framework, family = row_layers(name)
    lock_texts = [locks.texts("framework", framework), locks.texts("family", [*framework, *family])]
    texts = [by_machine.get("x86_64", "") for by_machine in lock_texts]
    return {name: version for text in texts for name, version in locks.versions(text).items()}


def has_pins(environment: Environment) -> bool:
    """Return whether the project pins versions, which could be loosened."""
    row = row_of(environment.name)
    return any(
        line not in row and (read := requirement.read(line)) and read.versions
        for line in environment.requirements
    )


def _is_pin(line: str) -> bool:
    """Return whether the requirement names a minor release, not merely a major one."""
    return _MINOR.search(line.partition(";")[0]) is not None


def row_of(name: str) -> tuple[str, ...]:
    """Return the requirements of a catalog row; () if there is no such row."""
    return tuple(_on_gpu(name))


def on_gpu(environment: Environment) -> Environment:
    """Return the environment with the row's GPU builds in place of its CPU builds.

    If Keras computes with another framework, TensorFlow only reads data and keeps its CPU build.
    """
    builds = _gpu_builds(environment.name)
    if environment.variables.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        builds = {
            name: build for name, build in builds.items() if not name.startswith("tensorflow")
        }
    built = [_built_for(line, builds) for line in environment.requirements]
    if any(one.name == placeholder_wheels.NCCL for one in placeholder_wheels.needed(built)):
        built.append(placeholder_wheels.NCCL)
    return replace(environment, requirements=tuple(built))


@cache
def _on_gpu(name: str) -> dict[str, str]:
    """Map each requirement of a row to its GPU build, which mostly is itself."""
    row = next((row for row in catalog() if row["name"] == name), {})
    return {line: _built_for(line, _gpu_builds(name)) for line in row.get("requirements", ())}


def _gpu_builds(name: str) -> dict[str, str]:
    """Return the distributions of a row that have another build for a GPU."""
    return dict(next((row.get("gpu", {}) for row in catalog() if row["name"] == name), {}))


def _built_for(line: str, builds: Mapping[str, str]) -> str:
    distribution = requirement.name_of(line)
    chosen = f"{distribution}[" in line  # the project says which build it wants
    return (
        line
        if chosen or distribution not in builds
        else line.replace(distribution, builds[distribution], 1)
    )


@cache
def catalog() -> tuple[dict[str, Any], ...]:
    """Return the rows of containers/catalog.toml."""
    return tuple(tables.read_toml(CONTAINERS / "catalog.toml")["environment"])


def runner_files() -> list[Path]:
    """Return the sources of the runner: the only part of mlops_lib in an image."""
    return [PACKAGE / "__init__.py", *sorted((PACKAGE / "runner").rglob("*.py"))]


@cache
def _programs_digest() -> str:
    return hashlib.sha256(
        b"\0".join((CONTAINERS / name).read_bytes() for name in PROGRAMS)
    ).hexdigest()


@cache
def runner_digest() -> str:
    """Return the SHA-256 of the runner's sources."""
    digest = hashlib.sha256()
    for path in runner_files():
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def copy_runner(folder: Path) -> None:
    """Copy the runner as the package `mlops_lib` to a folder for Python's path."""
    for path in runner_files():
        target = folder / "mlops_lib" / path.relative_to(PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


def as_built(image: Image) -> Image:
    """Return the image, marked as built."""
    return replace(image, built=True)
