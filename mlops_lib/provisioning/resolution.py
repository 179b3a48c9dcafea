"""Resolve a project's declarations to an environment in which its imports work.

There are three steps, each bounded and each reported with its reason. Before the build,
requirements that are known not to install are replaced (mlops_lib.environments.mend). During the
build, requirements that the installer refuses are loosened. After it, every import of the code is
tried once, and missing ones are looked up in a table: a distribution of the curated map, or a
Debian package of a shared library. A distribution is never installed merely because it has the name
of an unknown import. The result is cached, so that the next build starts from it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlops_lib import atomic, events
from mlops_lib.detection.import_map import DISTRIBUTIONS
from mlops_lib.detection.system_packages import PACKAGES
from mlops_lib.engine import Engine, gpu, sdists, venv
from mlops_lib.engine.import_check import Missing
from mlops_lib.environments import (
    images,
    installer_log,
    locks,
    loosen,
    mend,
    requirement,
    tables,
    torch_builds,
)
from mlops_lib.errors import ImageError
from mlops_lib.events import Observer
from mlops_lib.project import trust
from mlops_lib.records import Detection, Environment, Image, Record

REFUSALS = 10
"""Number of times that requirements are loosened after an installer refused them."""
BOUNDED = ("h5py", "numpy")
"""What a framework needs in certain releases, and a project may pin itself."""
SOURCES = 40
"""Number of an environment's distributions that may be built from source."""
REPAIRS = 3
"""Number of times that an environment with failing imports is repaired."""
NUMPY_1 = (
    "NumPy 1.x",
    "numpy.dtype size changed",
    "numpy.core.multiarray failed",
    "_ARRAY_API not found",
)
_NOT_FOUND = re.compile(r"No module named '([A-Za-z_][\w.]*)'")
_NEEDS_NUMPY_2 = re.compile(r"([A-Za-z_]\w*) requires NumPy 2")
_NOT_DEFINED = re.compile(r"name '(pkg_resources)' is not defined")
"""NameError about a module of setuptools that packages import under `try` but need all the same."""


@dataclass(frozen=True, kw_only=True)
class Need(Record):
    """A project's demands on its environment, as detected."""

    environment: Environment
    imports: tuple[str, ...] = ()
    """Top-level third-party names that the code needs."""
    declared: tuple[str, ...] = ()
    """The project's literal requirements.

    The environment may have replaced some already.
    """
    base_image: str = ""
    usual_base_image: str = ""
    """The base image to fall back to, if `base_image` was derived from the project's Python."""
    backend: str = "docker"
    gpus: bool = False
    torch_index: str = ""
    """The index that PyTorch's own builds come from; "" for the usual one."""
    owner: str = ""
    """The project at its trust level (`trust.cache_name`).

    A missing import that its training claims changes the environment of no other project.
    """

    @property
    def digest(self) -> str:
        """Digest of the need and of the tables that resolve it.

        Equal needs of projects share it.
        """
        demand = {key: value for key, value in self.to_json().items() if key != "owner"}
        content = json.dumps([demand, _tables()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Answer(Record):
    """The environment that a need was resolved to."""

    schema: int = 1
    environment: Environment
    notes: tuple[str, ...] = ()


_NO_BASE_IMAGE = re.compile(r"load metadata for (?s:.*)(failed to|not found|denied|no such host)")
"""BuildKit's words if it cannot pull the image of a FROM line."""


def _tables() -> str:
    text = b"".join(
        (images.CONTAINERS / name).read_bytes() for name in ("catalog.toml", "requirements.toml")
    )
    return hashlib.sha256(text).hexdigest()


def need(
    detection: Detection,
    *,
    base_image: str,
    backend: str,
    gpus: bool,
    owner: str = "",
    torch_index: str = "",
) -> Need:
    """Return a project's demands on its environment.

    Args:
        detection: what was detected.
        base_image: the operator's base image.
        backend: "docker" or "process".
        gpus: whether trainings get GPUs.
        owner: the project at its trust level.
        torch_index: the operator's index of PyTorch's own builds.

    Raises:
        UsageError: `torch_index` is no address that can be used.
    """
    python = detection.environment.python
    usual = ""
    if backend == "docker" and python != images.PYTHON:
        usual = base_image
        base_image = with_python(base_image, python)
    # What nothing reaches is tried like the rest, and left out if it cannot be installed.
    needed = tuple(name for name in detection.imports if name not in detection.unreached_imports)
    return Need(
        environment=detection.environment,
        imports=needed,
        declared=detection.requirements,
        base_image=base_image,
        usual_base_image=usual if usual != base_image else "",
        backend=backend,
        gpus=gpus,
        torch_index=torch_builds.address(
            torch_index, gpus=gpus, cuda=gpu.cuda_version() if torch_index and gpus else ""
        ),
        owner=owner,
    )


def with_python(base_image: str, python: str) -> str:
    """Return the base image of another Python, if its tag names the usual one.

    Example:
        >>> with_python("python:3.11-slim", "3.12"), with_python("ours/base:7", "3.12")
        ('python:3.12-slim', 'ours/base:7')
    """
    return re.sub(rf"(?<=python:){re.escape(images.PYTHON)}(?=-|$)", python, base_image)


def plan(demand: Need, *, home: Path) -> Image:
    """Return the image for a need without building it.

    It is the result of an earlier build, or else the declared environment with known faults
    replaced.

    Raises:
        ImageError: the name of a system package is invalid.
    """
    answer = _recall(demand, home) or replace_known_faults(demand)
    private = demand.backend == "process" and trust.is_strangers(demand.owner)
    environment = replace(answer.environment, owner=demand.owner if private else "")
    fell_back = demand.usual_base_image and environment.python != demand.environment.python
    base_image = demand.usual_base_image if fell_back else demand.base_image
    image = images.plan(environment, base_image=base_image)
    return replace(image, notes=answer.notes)


def replace_known_faults(demand: Need) -> Answer:
    """Return the environment without requirements that are known not to install."""
    declared = demand.environment
    python = declared.python
    unmet: tuple[str, ...] = ()
    if demand.backend == "process":
        python, unmet = _of_this_machine(python)
        if unmet:
            declared = replace(declared, python=images.PYTHON)
    row = images.row_of(declared.name)
    # Detection gives the row's release where the project pins another of the framework's: that is
    # told here.
    replaced = [
        line
        for line in demand.declared
        if mend.follows(line, row) and line not in declared.requirements
    ]
    wanted, dropped = _beside_own_framework(declared.requirements, demand, row)
    found = mend.mend(
        (*wanted, *replaced),
        row=row,
        python=python,
        locked=images.releases(declared.name),
    )
    system = tuple(sorted({*declared.system, *found.system}))
    environment = replace(declared, requirements=found.lines, system=system)
    notes = (*found.notes, *dropped, *unmet)
    if demand.gpus:
        environment = images.on_gpu(environment)
    environment = _with_torch_builds(environment, demand)
    has_it = f"python:{python}" in demand.base_image
    if demand.backend == "docker" and python != images.PYTHON and not has_it:
        notes = (
            *notes,
            f"Python {python} is asked for: the base image ({demand.base_image}) decides which one"
            " there is",
        )
    return Answer(environment=environment, notes=notes)


def _beside_own_framework(
    lines: Sequence[str], demand: Need, row: Sequence[str]
) -> tuple[Sequence[str], tuple[str, ...]]:
    """Return the requirements without what a lock has for another release of the framework.

    The row's release of TensorFlow is used whatever a lock says, and needs its own NumPy, h5py and
    so on. What the project declares itself stays.
    """
    others = [line for line in lines if line not in row and mend.follows(line, row)]
    if not others or not demand.declared:
        return lines, ()
    groups = tables.tables()["brought"].values()
    brought = {*BOUNDED, *(name for group in groups for name in group)}
    known = {*demand.declared, *row, *others}
    left_out = [
        line for line in lines if line not in known and requirement.name_of(line) in brought
    ]
    if not left_out:
        return lines, ()
    note = (
        f"{', '.join(left_out)} left out: locked beside {others[0]}, and the environment has its own"
        " release of that"
    )
    return [line for line in lines if line not in left_out], (note,)


def _with_torch_builds(environment: Environment, demand: Need) -> Environment:
    """Return the environment with PyTorch's builds from the operator's index, if it has PyTorch.

    Libraries for GPUs that a list of installed distributions has are left out where no GPU is.
    """
    lines = environment.requirements
    if not torch_builds.wants_any([requirement.name_of(line) for line in lines]):
        return environment
    if not demand.gpus:
        lines = tuple(torch_builds.without_gpu_libraries(lines))
    return replace(environment, requirements=lines, torch_index=demand.torch_index)


def _of_this_machine(wanted: str) -> tuple[str, tuple[str, ...]]:
    """Return the Python for a process, and a note if that is not `wanted`."""
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if wanted == images.PYTHON:
        return own, ()
    try:
        venv.interpreter(wanted)
    except ImageError:
        note = (
            f"Python {wanted} is asked for, and this machine has none: {own} is used. Install"
            f" python{wanted}, or use --backend docker"
        )
        return own, (note,)
    return wanted, ()


def _place(demand: Need, home: Path, *, claim: bool) -> Path:
    """Return the file of a cached answer.

    An answer that a training's claim led to is private to its project at its trust level.
    """
    name = f"{demand.digest[:32]}.json"
    folder = home / "environments" / "answers"
    return folder / (demand.owner or "unknown") / name if claim else folder / name


def _recall(demand: Need, home: Path) -> Answer | None:
    for claim in (True, False):
        try:
            return Answer.from_json(atomic.read_json(_place(demand, home, claim=claim)))
        except (OSError, ValueError):
            continue
    return None


def _remember(demand: Need, image: Image, home: Path, *, claim: bool = False) -> None:
    answer = Answer(environment=image.environment, notes=image.notes)
    atomic.write_json(_place(demand, home, claim=claim), answer.to_json())


def make(demand: Need, *, engine: Engine, home: Path, observer: Observer) -> Image:
    """Build the environment, try its imports, repair it, and cache the result.

    Raises:
        ImageError: it cannot be built even with loosened requirements, or the index does not
            answer.
        EngineError: the engine does not answer.
    """
    image = plan(demand, home=home)
    if engine.has(image) and (_recall(demand, home) is not None or _is_rows(image, demand)):
        return replace(image, built=True)
    advice = torch_advice(image, demand)
    if advice and platform.machine() == "x86_64":
        observer(events.warning(advice))
    unprobed = {name for group in tables.tables()["unprobed"].values() for name in group}
    probed = [name for name in demand.imports if name not in unprobed]
    apt = demand.backend == "docker"
    for number in range(REPAIRS + 1):
        image = _built(image, demand, engine=engine, observer=observer)
        missing = engine.missing(image, probed) if probed else []
        fresh = add_missing(image, missing, apt=apt) if missing and number < REPAIRS else None
        if fresh is None:
            image = replace(image, notes=(*image.notes, *map(_unresolved, missing)))
            break
        image = fresh
    # What is built again from an answer that a claim led to stays the project's own.
    _remember(demand, image, home, claim=_place(demand, home, claim=True).exists())
    return replace(image, built=True)


def _is_rows(image: Image, demand: Need) -> bool:
    """Return whether it is an unchanged catalog row that covers all imports.

    The builder of such an image has tried its imports already.
    """
    row = {requirement.name_of(line) for line in images.row_of(demand.environment.name)}
    brought = {requirement.name_of(distribution(module)) for module in demand.imports}
    return (
        not image.notes
        and not images.layers(image.environment)[2]
        and brought <= row | {"tensorflow", "numpy"}
    )


def repair(demand: Need, message: str, *, image: Image, home: Path) -> Image | None:
    """Return the image with the import that a training lacked, or None.

    Args:
        demand: the project's need; the answer is cached for it.
        message: the failure, such as "ModuleNotFoundError: No module named 'yaml'"; a claim of the
            script.
        image: the image it failed in.
        home: folder of mlops' own files.
    """
    kind, _, text = message.partition(": ")
    found = _NOT_FOUND.search(text)
    module = found[1].split(".")[0] if found and kind == "ModuleNotFoundError" else ""
    missing = [Missing(name=module, error=kind, module=module, message=text)]
    fresh = add_missing(image, missing, apt=demand.backend == "docker")
    if fresh is not None:
        _remember(demand, fresh, home, claim=True)
    return fresh


def _needed(demand: Need) -> set[str]:
    """Return the distributions that the code imports, or that have an import's name."""
    return {
        name
        for module in demand.imports
        for name in (requirement.normal(module), distribution(module))
    }


def torch_advice(image: Image, demand: Need) -> str:
    """Return what an index of PyTorch's own builds would save; "" if nothing."""
    environment = image.environment
    named = {requirement.name_of(line) for line in environment.requirements}
    if demand.gpus or environment.torch_index or not torch_builds.wants_any(named):
        return ""
    return (
        "PyTorch is installed for GPUs, and there is none: builds for processors would save about"
        " 4 GB. Name their index with torch_index (docs/environments.md)"
    )


def _built(image: Image, demand: Need, *, engine: Engine, observer: Observer) -> Image:
    number = 1
    while True:
        try:
            engine.build(image, on_line=lambda line: observer(events.build_output(line)))
            return image
        except ImageError as error:
            usual = with_usual_base(image, demand, error.log)
            if usual is not None:
                observer(events.warning(usual.notes[-1]))
                image = usual
                continue
            source = None if installer_log.trouble(error.log) else with_source(image, error.log)
            if source is None:
                source = without_lock(image, error.log) or without_torch_index(image, error.log)
            if source is not None:
                observer(events.warning(source.notes[-1]))
                image = source
                continue
            trouble = installer_log.trouble(error.log) or installer_log.compiler_problem(
                image.environment.requirements, error.log, _needed(demand)
            )
            fresh = (
                None
                if trouble or number == REFUSALS
                else loosen_refused(image, demand, error.log, number)
            )
            if fresh is None:
                if trouble is None:
                    raise
                raise ImageError(
                    trouble.what, where=error.where, remedy=trouble.remedy, log=error.log
                ) from error
            observer(events.warning(f"the installer refuses; trying {len(fresh.notes)} changes"))
            image = fresh
            number += 1


def with_usual_base(image: Image, demand: Need, log: str) -> Image | None:
    """Return the image on the usual base image, or None if its own base image can be had.

    A registry may lack the base image of the Python that a project asks for, or be out of reach.
    """
    wanted = image.environment.python
    if not demand.usual_base_image or image.base_image != demand.base_image:
        return None
    if _NO_BASE_IMAGE.search(log) is None:
        return None
    note = (
        f"Python {wanted} is asked for, and its base image {image.base_image} cannot be pulled:"
        f" {images.PYTHON} is used. Pull the image, or name one with --base-image"
    )
    environment = replace(image.environment, python=images.PYTHON)
    usual = images.plan(environment, base_image=demand.usual_base_image)
    return replace(usual, notes=(*image.notes, note))


def without_lock(image: Image, log: str) -> Image | None:
    """Return the image without its row's lock, or None if that is not to blame.

    A file with another hash than the lock's is never accepted, but an index may lack one of its
    releases.

    Args:
        image: the image that could not be built.
        log: the installer's output.
    """
    texts = [
        text
        for by_machine in images.locks_of(image.environment).values()
        for text in by_machine.values()
    ]
    pins = {
        f"{name}=={version}" for text in texts for name, version in locks.versions(text).items()
    }
    missing = sorted(pins & set(installer_log.without_release(log)))
    if not missing:
        return None
    note = (
        f"the index does not have {missing[0]}, which the row is locked to: the newest releases"
        " are taken instead"
    )
    return _changed(image, [note], unlocked=True)


def without_torch_index(image: Image, log: str) -> Image | None:
    """Return the image with PyTorch from the usual index, or None if its own one has what it needs.

    Args:
        image: the image that could not be built.
        log: the installer's output.
    """
    missing = installer_log.without_torch(log) if images.torch_lines(image.environment) else ""
    if not missing:
        return None
    note = (
        f"the index that torch_index names does not have {missing}: the builds of the usual index"
        " are taken"
    )
    return _changed(image, [note], torch_index="")


def with_source(image: Image, log: str) -> Image | None:
    """Return the image with a distribution without a wheel built from source, or None.

    It is None if no such distribution caused the failure.

    Args:
        image: the image that could not be built.
        log: the installer's output.
    """
    have = {line.partition("==")[0] for line in image.environment.sdists}
    for line in installer_log.without_wheel(log):
        name = requirement.name_of(line)
        if name in have or name in tables.only_wheels() or len(have) >= SOURCES:
            continue
        try:
            found = sdists.find(line, python=image.environment.python)
        except ImageError:  # the installer's own reason is told
            continue
        if found is not None:
            note = (
                f"{found.name} {found.version} is built from source, in a step without network and"
                " secrets: no wheel fits"
            )
            return _changed(image, [note], sdists=(*image.environment.sdists, str(found)))
    return None


def loosen_refused(image: Image, demand: Need, log: str, number: int) -> Image | None:
    """Return the image with refused requirements loosened, or None.

    It is None if no requirement caused the failure, or nothing is left to loosen.

    Args:
        image: the image that could not be built.
        demand: the project's need.
        log: the installer's output.
        number: the number of refusals so far, from 1.
    """
    if not installer_log.is_refusal(log):
        return None
    environment = image.environment
    unknown = installer_log.unknown_packages(log) & set(environment.system)
    if unknown:
        # Debian 13 renamed libraries whose clocks grew to 64 bits: libasound2 is libasound2t64.
        fresh = {
            name: "" if name.endswith("t64") or not name[-1:].isdigit() else f"{name}t64"
            for name in sorted(unknown)
        }
        notes = [
            f"{name} (Debian) → {other or 'left out'}: the base image's release has no package of"
            " that name"
            for name, other in fresh.items()
        ]
        kept = [name for name in environment.system if name not in unknown]
        return _changed(image, notes, system=tuple(sorted({*kept, *filter(None, fresh.values())})))
    row = images.row_of(environment.name)
    found = loosen.loosen(
        environment.requirements, log, number=number, needed=_needed(demand), row=row
    )
    return None if found is None else _changed(image, found.notes, requirements=found.lines)


def _changed(image: Image, notes: Sequence[str], **fields: Any) -> Image:
    if "requirements" in fields:
        fields["sdists"] = ()  # what the other requirements lack is found again
    planned = images.plan(replace(image.environment, **fields), base_image=image.base_image)
    return replace(planned, notes=(*image.notes, *notes))


def distribution(module: str) -> str:
    """Return the distribution that provides a top-level import; "" if it is unknown."""
    known = tables.tables()
    name = str(known["module"].get(module) or DISTRIBUTIONS.get(module, ""))
    return str(known["variant"].get(name, name))


def add_missing(image: Image, missing: Collection[Missing], *, apt: bool = True) -> Image | None:
    """Return the image with the missing parts, or None if no known change helps.

    Args:
        image: the image as it is.
        missing: the imports that fail in it.
        apt: whether Debian packages can be installed.
    """
    lines = list(image.environment.requirements)
    system = set(image.environment.system)
    notes = []
    for one in missing:
        packages = [
            package for package in _packages(one) if package not in image.environment.system
        ]
        if packages and apt:
            if not system.issuperset(packages):
                notes.append(f"{', '.join(packages)} (Debian): {one}")
            system.update(packages)
            continue
        note = _repaired_line(one, lines, row=images.row_of(image.environment.name))
        if note:
            notes.append(note)
    if not notes:
        return None
    return _changed(image, notes, requirements=tuple(lines), system=tuple(sorted(system)))


_NO_PROGRAM = re.compile(
    r"No such file or directory: '([\w.+-]+)'|([\w.+-]+): (?:command )?not found"
)


def _packages(one: Missing) -> list[str]:
    """Return the Debian packages of a missing shared library or program."""
    found: list[str] = next(
        (found for saw, found in tables.tables()["library"].items() if saw in one.message), []
    )
    program = _NO_PROGRAM.search(one.message) if not found else None
    package = PACKAGES.get(program[1] or program[2], "") if program else ""
    return [package] if package else found


def _repaired_line(one: Missing, lines: list[str], *, row: Sequence[str]) -> str:
    """Change the requirements so that an import works.

    Return the change in words, or "".

    The row's own releases stay: they are compatible, and a name that one of them lacks is a mistake
    of the script.
    """
    names = [requirement.name_of(line) for line in lines]
    unnamed = _NOT_DEFINED.search(one.message) if one.error == "NameError" else None
    module = one.module or (unnamed[1] if unnamed else "")
    wanted = distribution(module.split(".")[0]) if module else ""
    if wanted and requirement.name_of(wanted) not in names:
        lines.append(wanted)
        return f"{wanted} added: {one}"
    if any(sign in one.message for sign in NUMPY_1) and "numpy" not in names:
        lines.append("numpy<2")
        return f"numpy<2 added: {one}"
    newer = _NEEDS_NUMPY_2.search(one.message)
    held = mend.before_numpy_2(distribution(newer[1])) if newer else None
    if held is not None and held.name not in names:
        lines.append(str(held))
        return f"{held} added: {one}"
    suspects = ("numpy",) if newer else (distribution(one.name) or one.name, wanted)
    for name in map(requirement.name_of, suspects):
        place = names.index(name) if name in names else -1
        line = requirement.read(lines[place]) if place >= 0 else None
        if line is not None and line.versions and lines[place] not in row:
            before, lines[place] = lines[place], str(line.bare)
            return f"{before} → {line.bare}: {one}"
    return ""


def _unresolved(one: Missing) -> str:
    packages = ", ".join(_packages(one))
    if packages:
        return (
            f"{one}: this machine lacks {packages} (the Debian name); install it, or use --backend"
            " docker"
        )
    module = (one.module or one.name).split(".")[0]
    known = distribution(module)
    hint = "" if known else f"; if {module!r} is a distribution, declare it in requirements.txt"
    return f"{one}, and nothing is known to help{hint}"
