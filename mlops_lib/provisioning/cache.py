"""The cached environments of this machine, and the runs that need them."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlops_lib.engine import Engine
from mlops_lib.engine.image_store import StoredImage, name_of_home
from mlops_lib.records import Record, RunSpec
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol


@dataclass(frozen=True, kw_only=True)
class CachedEnvironment(Record):
    """An image or virtual environment with the reasons for keeping it."""

    name: str
    """The image's tag, or the environment's folder."""
    environment: str
    bytes: int
    created: float
    used: float
    """Unix time in seconds of its last use by a run; 0 for never."""
    runs: tuple[str, ...] = ()
    """Names of the run directories that need it."""
    in_use: bool = False
    """Whether a container of it exists."""


def _runs(home: Path) -> list[tuple[Path, RunSpec]]:
    root = home / "runs"
    places = sorted(root.iterdir()) if root.is_dir() else []
    read = ((place, RunDirectory(place).spec) for place in places)
    return [(place, spec) for place, spec in read if spec is not None]


def survey(
    stored: Iterable[StoredImage], needed: Mapping[str, Collection[Path]]
) -> list[CachedEnvironment]:
    """Return the stored environments with the runs that need them."""
    environments = []
    for one in stored:
        runs = sorted({place for tag in one.tags for place in needed.get(tag, ())})
        environments.append(
            CachedEnvironment(
                name=one.tags[0] if one.tags else one.id,
                environment=one.environment,
                bytes=one.bytes,
                created=one.created,
                used=max(map(_last_use, runs), default=0.0),
                runs=tuple(place.name for place in runs),
                in_use=one.in_use,
            )
        )
    return environments


def _last_use(run_dir: Path) -> float:
    for name in (protocol.ATTEMPTS, protocol.SPEC):
        try:
            return (run_dir / name).stat().st_mtime
        except OSError:
            continue
    return 0.0


def unneeded(
    stored: Iterable[StoredImage], needed: Collection[str], *, home: str
) -> list[StoredImage]:
    """Return the images built for this home that no run and no container needs.

    Images of another home are never returned: its runs are not visible from here.

    Args:
        stored: the existing images.
        needed: tags that runs of this home need.
        home: the home's name in image labels.
    """
    return [
        one
        for one in stored
        if one.home == home and not one.in_use and not set(one.tags) & set(needed)
    ]


def list_and_prune(
    engine: Engine, *, home: Path, prune: bool = False
) -> tuple[list[CachedEnvironment], list[CachedEnvironment]]:
    """Return the environments that an engine stores, and those removed from it.

    Args:
        engine: the engine that stores them.
        home: the home whose runs count.
        prune: remove those that no run of this home needs.
    """
    needed: dict[str, list[Path]] = {}
    for place, spec in _runs(home):
        needed.setdefault(engine.name_of(spec.image), []).append(place)
    stored = engine.images()
    removed = (
        engine.remove_images(unneeded(stored, needed, home=name_of_home(str(home))))
        if prune
        else []
    )
    return survey([one for one in stored if one not in removed], needed), survey(removed, needed)


def describe(kept: CachedEnvironment) -> str:
    """Return a description of one line."""
    used = time.strftime("%Y-%m-%d", time.localtime(kept.used)) if kept.used else "no run here"
    needs = f"{len(kept.runs)} runs" if len(kept.runs) != 1 else kept.runs[0]
    return (
        f"{kept.name:44} {kept.bytes / 2**20:8.0f} MiB  {used:12}"
        f" {needs}{'  in use' if kept.in_use else ''}"
    )
