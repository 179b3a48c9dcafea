"""Train a registered model again from its lineage, and compare the two.

The commit is checked out beside the project, which stays untouched. Files that are not under
version control are taken from the project as it is now. The digest of all of it must equal the
registered one: then code, data, arguments, environment and seed are unchanged, and only then is
anything trained.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lib import atomic, config
from mlops_lib.errors import UsageError
from mlops_lib.events import Observer
from mlops_lib.pipeline import stages
from mlops_lib.pipeline.job import Job, prepare
from mlops_lib.project import fingerprint, places, repository
from mlops_lib.records import ModelVersion, Record, RunSpec
from mlops_lib.registry import model_store
from mlops_lib.runner import protocol

if TYPE_CHECKING:
    from typing import Unpack

    from mlops_lib.settings_arguments import SettingsArguments

DATED = ("metadata.json",)
"""Members of a Keras file that contain the time at which it was saved."""
MEMBER_LIMIT = 16 * 1024**3
"""Size in bytes beyond which a member of a model file is not read."""


@dataclass(frozen=True, kw_only=True)
class Replay(Record):
    """The comparison of a registered version with its replay."""

    schema: int = 1
    name: str
    version: int
    identical: bool
    """True if the model files are equal byte by byte, except for the time of saving."""
    value: float | None
    """The score of the registered model."""
    replayed: float | None
    """The score of the new model."""
    metric: str | None
    run_dir: str
    notes: tuple[str, ...] = ()

    @property
    def answer(self) -> str:
        """The comparison in one sentence."""
        if self.identical:
            return f"identical; {self.metric} {_format(self.replayed)} again"
        if self.value == self.replayed:
            return f"not identical, but {self.metric} is {_format(self.replayed)} again"
        return (
            f"not identical: {self.metric} was {_format(self.value)} and is"
            f" {_format(self.replayed)}"
        )


def _format(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"


def replay(
    version: str,
    *,
    observer: Observer = lambda event: None,
    **settings: Unpack[SettingsArguments],
) -> Replay:
    """Train a registered version again and compare the two.

    Args:
        version: `NAME` for its champion, `NAME@3`, or `NAME@ALIAS`.
        observer: receives the events.
        settings: any setting; those that decide the result come from the version.

    Raises:
        UsageError: there is no such version, or its code or data has changed.
        TrainingError: the script failed this time.
    """
    home = config.resolve(None, settings).home
    name, _, reference = version.partition("@")
    model = model_store.version(name, reference or model_store.CHAMPION, home=home)
    spec, request = _lineage(model)
    place = Path(tempfile.mkdtemp(prefix=f"{model.version}-", dir=_make_folder(home / "replays")))
    arguments: dict[str, Any] = {
        **settings,
        **_settings_of(model, spec, request),
        "run_dir": str(place / "run"),
        "notify": "never",
    }
    try:
        with _project(model, spec, place / "project", arguments) as project:
            job = prepare(project, observer=observer, **arguments)
            _require_same(job, spec, model)
            return _compare(model, _train(job, is_searched=request is not None))
    # Before the run began, the folder holds nothing that explains the failure.
    except BaseException:
        if not (place / "run").exists():
            shutil.rmtree(place, ignore_errors=True)
        raise


def _make_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _lineage(model: ModelVersion) -> tuple[RunSpec, dict[str, Any] | None]:
    """Return the spec of the version's run, and the request of its search."""
    try:
        lineage = atomic.read_json(Path(model.path, "lineage.json"))
        return RunSpec.from_json(lineage["spec"]), lineage.get("search")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"its lineage cannot be read: {error}",
            where=str(Path(model.path, "lineage.json")),
            remedy="Versions that were registered without lineage cannot be replayed;"
            " run the project again.",
        ) from None


@contextmanager
def _project(
    model: ModelVersion, spec: RunSpec, place: Path, arguments: dict[str, Any]
) -> Iterator[Path]:
    """Provide the project as it was, at its place or as a checkout elsewhere."""
    now = Path(model.project)
    if not now.is_dir():
        raise UsageError(
            "the project does not exist any more",
            where=model.project,
            remedy="Restore it there: its commit and its data are taken from it.",
        )
    # The project as it is now does, if its digest is the same: a checkout would copy all its data.
    if model.commit is None or prepare(now, **arguments).spec.digest == spec.digest:
        yield now
        return
    checkout = repository.find(now)
    if checkout is None or not checkout.export(model.commit, place):
        shutil.rmtree(place, ignore_errors=True)
        raise UsageError(
            f"its repository does not have commit {model.commit[:12]}, or not all of it",
            where=model.project,
            remedy="The commit must be in the project's repository; fetch it.",
        )
    try:
        # The project may be a folder of a larger repository.
        inside = place / now.resolve().relative_to(checkout.top)
        # Files outside version control too, even ignored ones: data often is.
        for path in sorted(fingerprint.project_files(now) - checkout.tracked(now)):
            places.copy_into(now / path, path, root=_make_folder(inside))
        yield inside
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _settings_of(
    model: ModelVersion, spec: RunSpec, request: dict[str, Any] | None
) -> dict[str, Any]:
    """Return settings that reproduce the run, regardless of the project's file."""
    budget = {"trials": request["trials"], "minutes": request["minutes"]} if request else {}
    return {
        "entry": spec.entry,
        "args": spec.args,
        "seed": spec.seed,
        "backend": spec.backend,
        "input": spec.input,
        "mount": [f"{mount.source}:{mount.target}" for mount in spec.mounts],
        "base_image": spec.image.base_image,
        "metric_pattern": spec.metric_pattern,
        "metrics_file": spec.metrics_file,
        "name": model.name,
        "target": request.get("target") if request else model.target,
        "metric": model.metric or "",
        "mode": model.mode,
        "memory": spec.limits.memory_bytes,
        "cpus": spec.limits.cpus,
        "network": spec.limits.network,
        **budget,
    }


def _require_same(job: Job, spec: RunSpec, model: ModelVersion) -> None:
    if job.spec.digest != spec.digest:
        raise UsageError(
            "the version's sources have changed: uncommitted code, a file outside version control,"
            " mounted data or the environment",
            where=model.project,
            remedy="Restore the data as it was, with its times; `mlops show` lists the digests.",
        )


def _train(job: Job, *, is_searched: bool) -> Job:
    """Train, and search if a search found the version."""
    stages.train(job)
    if stages.judge(job).verdict == "rejected" and is_searched:
        stages.search(job)
        stages.judge(job)
    return job


def _compare(model: ModelVersion, job: Job) -> Replay:
    verdict = job.directory.verdict
    model_file = job.run_dir / protocol.INSIDE / Path(model.model).name
    notes = []
    if job.spec.image.tag != model.image:
        notes.append(
            f"the image is {job.spec.image.tag}, it was {model.image}: another version of mlops"
        )
    before = _contents(Path(model.model))
    after = _contents(model_file)
    notes += [
        f"{name} differs"
        for name in sorted({**before, **after})
        if before.get(name) != after.get(name)
    ]
    return Replay(
        name=model.name,
        version=model.version,
        identical=before == after,
        value=model.value,
        replayed=None if verdict is None else verdict.value,
        metric=model.metric,
        run_dir=str(job.run_dir),
        notes=tuple(notes[:20]),
    )


def _contents(path: Path) -> dict[str, str]:
    """Return digests of a model file's members, except those that contain a time.

    A file without members has one digest, under its own name.
    """
    try:
        with atomic.open_regular(path) as file:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                return {path.name: _digest(file.read)}
            with zipfile.ZipFile(file) as archive:
                # Member by member: an archive stores times, which differ in equal models.
                members = [info for info in archive.infolist() if info.filename not in DATED]
                return {
                    info.filename: _member_digest(archive, info)
                    for info in members
                    if info.file_size <= MEMBER_LIMIT
                }
    except OSError:
        return {}


def _member_digest(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    with archive.open(info) as stream:
        return _digest(stream.read)


def _digest(read: Callable[[int], bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()
