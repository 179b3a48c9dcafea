"""The environments this machine keeps: which runs need them, and which nobody does."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlops_lib.engine import Engine
from mlops_lib.engine.image_store import Stored, name_of_home
from mlops_lib.records import Record, RunSpec
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol


@dataclass(frozen=True, kw_only=True)
class Kept(Record):
    """An image or virtual environment with what speaks for keeping it."""

    name: str
    """Its tag, or its folder."""
    environment: str
    bytes: int
    created: float
    used: float
    """When a run last used it, Unix time in seconds; 0 for never."""
    runs: tuple[str, ...] = ()
    """Names of the run directories that need it."""
    in_use: bool = False
    """Whether a container of it is there."""


def _runs(home: Path) -> list[tuple[Path, RunSpec]]:
    root = home / "runs"
    places = sorted(root.iterdir()) if root.is_dir() else []
    read = ((place, RunDirectory(place).spec) for place in places)
    return [(place, spec) for place, spec in read if spec is not None]


def survey(stored: Iterable[Stored], needed: Mapping[str, Collection[Path]]) -> list[Kept]:
    """What is stored, with the runs that need it."""
    kept = []
    for one in stored:
        runs = sorted({place for tag in one.tags for place in needed.get(tag, ())})
        kept.append(
            Kept(
                name=one.tags[0] if one.tags else one.id,
                environment=one.environment,
                bytes=one.bytes,
                created=one.created,
                used=max(map(_last_use, runs), default=0.0),
                runs=tuple(place.name for place in runs),
                in_use=one.in_use,
            )
        )
    return kept


def _last_use(run_dir: Path) -> float:
    for name in (protocol.ATTEMPTS, protocol.SPEC):
        try:
            return (run_dir / name).stat().st_mtime
        except OSError:
            continue
    return 0.0


def unneeded(stored: Iterable[Stored], needed: Collection[str], *, home: str) -> list[Stored]:
    """What may go: built for this home, needed by none of its runs, and no container was made from
    it.

    Another home's images are its own to judge: its runs are not seen from here.

    Args:
        stored: the images there are.
        needed: tags that runs of this home need.
        home: the home's name on image labels.
    """
    return [
        one
        for one in stored
        if one.home == home and not one.in_use and not set(one.tags) & set(needed)
    ]


def take(engine: Engine, *, home: Path, prune: bool = False) -> tuple[list[Kept], list[Kept]]:
    """What an engine keeps, and what was removed of it.

    Args:
        engine: where environments are kept.
        home: the home whose runs count.
        prune: remove what no run of this home needs.
    """
    needed: dict[str, list[Path]] = {}
    for place, spec in _runs(home):
        needed.setdefault(engine.name_of(spec.image), []).append(place)
    stored = engine.images()
    gone = (
        engine.remove_images(unneeded(stored, needed, home=name_of_home(str(home))))
        if prune
        else []
    )
    return survey([one for one in stored if one not in gone], needed), survey(gone, needed)


def described(kept: Kept) -> str:
    """One line about it."""
    used = time.strftime("%Y-%m-%d", time.localtime(kept.used)) if kept.used else "no run here"
    needs = f"{len(kept.runs)} runs" if len(kept.runs) != 1 else kept.runs[0]
    return f"{kept.name:44} {kept.bytes / 2**20:8.0f} MiB  {used:12} {needs}{'  in use' if kept.in_use else ''}"
