"""From what a project declares to an environment in which its imports work.

Three steps, each bounded, each told with its reason. Before the build, what is known not to install is mended
(mlops_lib.requirements). While building, what the installer refuses is loosened. After it, every import of the code is tried
once, and what is missing comes from a table: a distribution of the curated map, a Debian package of a shared library.
Never is a distribution installed because it merely has the name of an unknown import. The answer is remembered, so that the
next build decides at once.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlops_lib import durable, images, requirements
from mlops_lib.detection.distributions import DISTRIBUTIONS
from mlops_lib.engine import Engine
from mlops_lib.engine.probe import Missing
from mlops_lib.errors import ImageError
from mlops_lib.records import Detection, Environment, Image, Record

REFUSALS = 7
"""How often requirements are loosened that an installer refuses."""
REPAIRS = 3
"""How often an environment is repaired whose imports do not work."""
NUMPY_1 = ("NumPy 1.x", "numpy.dtype size changed", "numpy.core.multiarray failed", "_ARRAY_API not found")
_NOT_FOUND = re.compile(r"No module named '([A-Za-z_][\w.]*)'")

Observer = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Need(Record):
    """What a project asks of its environment, as detection saw it."""

    environment: Environment
    imports: tuple[str, ...] = ()
    """Top-level third-party names that the code needs."""
    base_image: str = ""
    backend: str = "docker"
    gpus: bool = False

    @property
    def digest(self) -> str:
        """Names the need, with the tables that answer it."""
        content = json.dumps([self.to_json(), _tables()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Answer(Record):
    """The environment that a need came to."""

    schema: int = 1
    environment: Environment
    notes: tuple[str, ...] = ()


def _tables() -> str:
    text = b"".join((images.CONTAINERS / name).read_bytes() for name in ("catalog.toml", "requirements.toml"))
    return hashlib.sha256(text).hexdigest()


def need(detection: Detection, *, base_image: str, backend: str, gpus: bool) -> Need:
    """What a project asks for."""
    return Need(
        environment=detection.environment, imports=detection.imports, base_image=base_image, backend=backend, gpus=gpus
    )


def plan(asked: Need, *, home: Path) -> Image:
    """The image for a need: what an earlier build came to, else what is declared, mended. Nothing is built.

    Raises:
        ImageError: a system package is no name.
    """
    answer = _recall(asked, home) or mended(asked)
    image = images.plan(answer.environment, base_image=asked.base_image)
    return replace(image, notes=answer.notes)


def mended(asked: Need) -> Answer:
    """The environment with everything that is known not to install replaced."""
    declared = asked.environment
    python = declared.python
    if asked.backend == "process" and python == images.PYTHON:
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    row = images.row_of(declared.name)
    found = requirements.mend(declared.requirements, row=row, python=python)
    system = tuple(sorted({*declared.system, *found.system}))
    environment = replace(declared, requirements=found.lines, system=system)
    notes = found.notes
    if asked.gpus:
        environment = images.on_gpu(environment)
    if asked.backend == "docker" and python != images.PYTHON:
        notes = (
            *notes,
            f"Python {python} is asked for: the base image ({asked.base_image}) decides which one there is",
        )
    return Answer(environment=environment, notes=notes)


def _place(asked: Need, home: Path) -> Path:
    return home / "environments" / "answers" / f"{asked.digest[:32]}.json"


def _recall(asked: Need, home: Path) -> Answer | None:
    try:
        return Answer.from_json(durable.read_json(_place(asked, home)))
    except (OSError, ValueError):
        return None


def _remember(asked: Need, image: Image, home: Path) -> None:
    answer = Answer(environment=image.environment, notes=image.notes)
    durable.write_json(_place(asked, home), answer.to_json())


def make(asked: Need, *, engine: Engine, home: Path, observer: Observer) -> Image:
    """Make the environment real: build, probe, repair, and remember what came of it.

    Raises:
        ImageError: it cannot be built, however much is loosened, or the index does not answer.
        EngineError: the engine does not answer.
    """
    image = plan(asked, home=home)
    if engine.has(image) and (_recall(asked, home) is not None or _is_rows(image, asked)):
        return replace(image, built=True)
    for number in range(REPAIRS + 1):
        image = _built(image, asked, engine=engine, observer=observer)
        missing = engine.missing(image, asked.imports) if asked.imports else []
        fresh = repaired(image, missing) if missing and number < REPAIRS else None
        if fresh is None:
            image = replace(image, notes=(*image.notes, *map(_unresolved, missing)))
            break
        image = fresh
    _remember(asked, image, home)
    return replace(image, built=True)


def _is_rows(image: Image, asked: Need) -> bool:
    """Whether it is a row of the catalog as it stands, and the code imports nothing else: then who built it has probed it."""
    row = {requirements.name_of(line) for line in images.row_of(asked.environment.name)}
    brought = {requirements.name_of(distribution(module)) for module in asked.imports}
    return not image.notes and not images.layers(image.environment)[2] and brought <= row | {"tensorflow", "numpy"}


def repair(asked: Need, message: str, *, image: Image, home: Path) -> Image | None:
    """The image that has what a training failed to import; None where that is not known.

    Args:
        asked: the project's need; the answer is remembered for it.
        message: the failure, such as "ModuleNotFoundError: No module named 'yaml'"; a claim of the script's.
        image: the image it failed in.
        home: folder of mlops' own files.
    """
    kind, _, text = message.partition(": ")
    found = _NOT_FOUND.search(text)
    module = found[1].split(".")[0] if found and kind == "ModuleNotFoundError" else ""
    fresh = repaired(image, [Missing(name=module, error=kind, module=module, message=text)])
    if fresh is not None:
        _remember(asked, fresh, home)
    return fresh


def _built(image: Image, asked: Need, *, engine: Engine, observer: Observer) -> Image:
    for number in range(1, REFUSALS + 1):
        try:
            engine.build(image, on_line=lambda line: observer({"event": "build", "line": line}))
            return image
        except ImageError as error:
            fresh = None if number == REFUSALS else loosened(image, asked, error.log, number)
            if fresh is None:
                raise
            observer({"event": "warning", "message": f"the installer refuses; trying {len(fresh.notes)} changes"})
            image = fresh
    raise AssertionError("the last refusal is raised")


def loosened(image: Image, asked: Need, log: str, number: int) -> Image | None:
    if not log or requirements.is_unreachable(log):
        return None
    environment = image.environment
    needed = {name for module in asked.imports for name in (requirements.normal(module), distribution(module))}
    found = requirements.loosen(
        environment.requirements, log, number=number, needed=needed, framework=_framework_lines(environment)
    )
    return None if found is None else _changed(image, found.notes, requirements=found.lines)


def _framework_lines(environment: Environment) -> list[str]:
    names = {name for group in requirements.tables()["follows"].values() for name in group}
    return [line for line in environment.requirements if requirements.name_of(line) in names]


def _changed(image: Image, notes: Sequence[str], **fields: Any) -> Image:
    planned = images.plan(replace(image.environment, **fields), base_image=image.base_image)
    return replace(planned, notes=(*image.notes, *notes))


def distribution(module: str) -> str:
    """The distribution that brings a top-level import name, "" where none is known."""
    known = requirements.tables()
    name = str(known["module"].get(module) or DISTRIBUTIONS.get(module, ""))
    return str(known["variant"].get(name, name))


def repaired(image: Image, missing: Collection[Missing]) -> Image | None:
    """The image with what is missing; None where nothing of that is known to help."""
    lines, system, notes = list(image.environment.requirements), set(image.environment.system), []
    for one in missing:
        package = next((p for saw, p in requirements.tables()["library"].items() if saw in one.message), "")
        if package and package not in system:
            system.add(package)
            notes.append(f"{package} (Debian): {one}")
            continue
        note = _repaired_line(one, lines)
        if note:
            notes.append(note)
    if not notes:
        return None
    return _changed(image, notes, requirements=tuple(lines), system=tuple(sorted(system)))


def _repaired_line(one: Missing, lines: list[str]) -> str:
    """Change the requirements so that an import works; says what was done, "" where nothing is known."""
    names = [requirements.name_of(line) for line in lines]
    wanted = distribution(one.module.split(".")[0]) if one.module else ""
    if wanted and requirements.name_of(wanted) not in names:
        lines.append(wanted)
        return f"{wanted} added: {one}"
    if any(sign in one.message for sign in NUMPY_1) and "numpy" not in names:
        lines.append("numpy<2")
        return f"numpy<2 added: {one}"
    for name in (requirements.name_of(distribution(one.name) or one.name), requirements.name_of(wanted)):
        place = names.index(name) if name in names else -1
        line = requirements.read(lines[place]) if place >= 0 else None
        if line is not None and line.versions:
            before, lines[place] = lines[place], str(line.bare)
            return f"{before} → {line.bare}: {one}"
    return ""


def _unresolved(one: Missing) -> str:
    module = (one.module or one.name).split(".")[0]
    known = distribution(module)
    hint = "" if known else f"; if {module!r} is a distribution, declare it in requirements.txt"
    return f"{one}, and nothing is known to help{hint}"
