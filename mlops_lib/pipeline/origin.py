"""The files a run was made from, and its differences from the run before it."""

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
"""Number of changes that are listed; the rest is only counted."""
KEPT = 20_000
"""Number of files up to which a project's files are recorded in its runs."""


@dataclass(frozen=True, kw_only=True)
class ProjectFiles(Record):
    """The files that decide a run: the contents of files.json in its directory."""

    schema: int = 1
    files: Mapping[str, str]
    """Path to the identity of its content."""
    left_out: tuple[str, ...] = ()
    """Files that cannot influence the run."""
    doubts: tuple[str, ...] = ()
    """Places at which the code may read files that it does not name; such files count."""

    @property
    def digest(self) -> str:
        """Digest of these files and their contents."""
        return fingerprint.manifest_digest(self.files)


def project_files(project: Path, *programs: str, texts: Sequence[str] = ()) -> ProjectFiles:
    """Return the files of a project that decide its run.

    Args:
        project: the project's folder.
        programs: the script or notebook that trains, and others that run around it, relative to the
            project.
        texts: the script's arguments and the lines of its input, which may name files.
    """
    paths = fingerprint.project_files(project)
    results = [relevance.relevance(project, name, paths, given=texts) for name in programs]
    left_out = frozenset.intersection(*(frozenset(result.left_out) for result in results))
    doubts = tuple(dict.fromkeys(doubt for result in results for doubt in result.doubts))
    return ProjectFiles(
        files=fingerprint.identities(project, left_out=left_out),
        left_out=tuple(sorted(left_out)),
        doubts=doubts,
    )


def read(run_dir: Path) -> ProjectFiles | None:
    """Return the files that a run was made from, or None if they were not recorded."""
    return run_directory.read_record(run_dir / protocol.FILES, ProjectFiles)


def changes(run_dir: Path, *, home: Path) -> tuple[str, ...]:
    """Return the differences between a run and the one before it of the same project.

    It is empty if there is no run before it.
    """
    spec = RunDirectory(run_dir).spec
    mine = read(run_dir)
    before = None if spec is None else _run_before(run_dir, spec, home)
    if spec is None or before is None:
        return ()
    place, earlier = before
    theirs = read(place)
    differences = [*_changed_parameters(earlier, spec)]
    if mine is not None and theirs is not None:
        differences += _changed_files(theirs, mine)
        if differences:
            doubts = mine.doubts[:3]
            differences += [f"any file, because the code may read it: {doubt}" for doubt in doubts]
    if not differences:
        return ()
    more = [f"… and {len(differences) - SHOWN} more"] if len(differences) > SHOWN else []
    return (*differences[:SHOWN], *more, f"compared with {place.name}")


def _run_before(run_dir: Path, spec: RunSpec, home: Path) -> tuple[Path, RunSpec] | None:
    """Return directory and spec of the latest earlier run of the same entry."""
    runs = [(place, RunDirectory(place).spec) for place in run_directory.known(home)]
    earlier = [
        (place, candidate)
        for place, candidate in runs
        if candidate is not None
        and place != run_dir.resolve()
        and (candidate.name, candidate.entry) == (spec.name, spec.entry)
        and candidate.created <= spec.created
    ]
    return max(earlier, key=lambda run: run[1].created, default=None)


def _changed_parameters(before: RunSpec, now: RunSpec) -> Iterator[str]:
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


def _changed_files(before: ProjectFiles, now: ProjectFiles) -> Iterator[str]:
    both = sorted({*before.files} & {*now.files})
    yield from (f"{path} changed" for path in both if before.files[path] != now.files[path])
    yield from (
        f"{path} is new" for path in sorted({*now.files} - {*before.files} - {*before.left_out})
    )
    yield from (
        f"{path} is gone" for path in sorted({*before.files} - {*now.files} - {*now.left_out})
    )
