"""What a run was made from, file by file, and what makes it another run than the one before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_lib import run_directory
from mlops_lib.detection import relevance
from mlops_lib.project import fingerprint
from mlops_lib.records import Record, RunSpec
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol

SHOWN = 10
"""Changes that are listed; of more there is the number."""
KEPT = 20_000
"""Files of a larger project are not listed in its runs."""


@dataclass(frozen=True, kw_only=True)
class ProjectFiles(Record):
    """The files that decide a run: the contents of files.json in its directory."""

    schema: int = 1
    files: Mapping[str, str]
    """Path to what identifies its content."""
    left_out: tuple[str, ...] = ()
    """Files that cannot change what the run comes to."""
    doubts: tuple[str, ...] = ()
    """Where the code may read files that it does not name, so that they count."""

    @property
    def digest(self) -> str:
        """Names these files with their contents."""
        return fingerprint.manifest_digest(self.files)


def project_files(project: Path, *programs: str, given: Sequence[str] = ()) -> ProjectFiles:
    """Return the files of a project that decide its run.

    Args:
        project: the project's folder.
        programs: the script or notebook that trains, and others that run around it, relative to the
            project.
        given: the script's arguments and the lines of its input.
    """
    listed = fingerprint.project_files(project)
    found = [relevance.relevance(project, one, listed, given=given) for one in programs]
    left_out = frozenset.intersection(*(frozenset(one.left_out) for one in found))
    doubts = tuple(dict.fromkeys(doubt for one in found for doubt in one.doubts))
    return ProjectFiles(
        files=fingerprint.identities(project, left_out=left_out),
        left_out=tuple(sorted(left_out)),
        doubts=doubts,
    )


def read(run_dir: Path) -> ProjectFiles | None:
    """The files that a run was made from; None if they were not kept."""
    return run_directory.read_record(run_dir / protocol.FILES, ProjectFiles)


def changes(run_dir: Path, *, home: Path) -> tuple[str, ...]:
    """Say what makes a run another one than the one before it of the same project; empty if there
    is none before it.
    """
    spec = RunDirectory(run_dir).spec
    mine = read(run_dir)
    before = None if spec is None else _before(run_dir, spec, home)
    if spec is None or before is None:
        return ()
    place, earlier = before
    theirs = read(place)
    found = [*_asked(earlier, spec)]
    if mine is not None and theirs is not None:
        found += _files(theirs, mine)
        found += (
            [f"any file, for the code may read it: {doubt}" for doubt in mine.doubts[:3]]
            if found
            else []
        )
    more = [f"… and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return (*found[:SHOWN], *more, f"compared with {place.name}") if found else ()


def _before(run_dir: Path, spec: RunSpec, home: Path) -> tuple[Path, RunSpec] | None:
    runs = [(place, RunDirectory(place).spec) for place in run_directory.known(home)]
    earlier = [
        (other.created, place, other)
        for place, other in runs
        if other is not None and place != run_dir.resolve() and _is_earlier(other, spec)
    ]
    return max(earlier, key=lambda one: one[0])[1:] if earlier else None


def _is_earlier(other: RunSpec, spec: RunSpec) -> bool:
    return (other.name, other.entry) == (spec.name, spec.entry) and other.created <= spec.created


def _asked(before: RunSpec, now: RunSpec) -> Iterator[str]:
    pairs = {
        "arguments": (before.args, now.args),
        "input": (before.input, now.input),
        "seed": (before.seed, now.seed),
        "Python": (before.image.environment.python, now.image.environment.python),
        "requirements": (before.image.environment.requirements, now.image.environment.requirements),
        "base image": (before.image.base_image, now.image.base_image),
        "mounts": (before.mounts, now.mounts),
    }
    for what, (first, second) in pairs.items():
        if first != second:
            yield f"{what} changed"


def _files(before: ProjectFiles, now: ProjectFiles) -> Iterator[str]:
    both = sorted({*before.files} & {*now.files})
    yield from (f"{path} changed" for path in both if before.files[path] != now.files[path])
    yield from (
        f"{path} is new" for path in sorted({*now.files} - {*before.files} - {*before.left_out})
    )
    yield from (
        f"{path} is gone" for path in sorted({*before.files} - {*now.files} - {*now.left_out})
    )
