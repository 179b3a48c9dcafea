"""Making a registered model again from its lineage: commit, image, data digest and seed, and
whether it is the same.

The commit is checked out beside the project, which stays untouched; files that are not under
version control are taken from the project as it is now. The digest of all of it must be the one the
version was registered with: then code, data, arguments, environment and seed are what they were,
and only then is anything trained.
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
"""Members of a Keras file that hold the time it was saved."""
MEMBER_LIMIT = 16 * 1024**3
"""Bytes; no member of a model file is read beyond."""


@dataclass(frozen=True, kw_only=True)
class Replay(Record):
    """What came of making a version again."""

    schema: int = 1
    name: str
    version: int
    identical: bool
    """Whether the model file is the same, byte by byte but for the time it was saved."""
    value: float | None
    """What the registered model reached."""
    replayed: float | None
    """What the new one reached."""
    metric: str | None
    run_dir: str
    notes: tuple[str, ...] = ()

    @property
    def answer(self) -> str:
        """The outcome in a sentence."""
        if self.identical:
            return f"identical; {self.metric} {_shown(self.replayed)} again"
        if self.value == self.replayed:
            return f"not identical, but {self.metric} is {_shown(self.replayed)} again"
        return (
            f"not identical: {self.metric} was {_shown(self.value)} and is {_shown(self.replayed)}"
        )


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"


def replay(
    version: str,
    *,
    observer: Observer = lambda event: None,
    **settings: Unpack[SettingsArguments],
) -> Replay:
    """Train a registered version again and compare.

    Args:
        version: `NAME` for its champion, `NAME@3`, or `NAME@ALIAS`.
        observer: told what happens.
        settings: as everywhere; what decides the result comes from the version.

    Raises:
        UsageError: there is no such version, or what it was made from is not there any more.
        TrainingError: the script failed this time.
    """
    home = config.resolve(None, settings).home
    name, _, which = version.partition("@")
    model = model_store.version(name, which or model_store.CHAMPION, home=home)
    spec, request = _lineage(model)
    place = Path(tempfile.mkdtemp(prefix=f"{model.version}-", dir=_made(home / "replays")))
    given: dict[str, Any] = {
        **settings,
        **_asked(model, spec, request),
        "run_dir": str(place / "run"),
        "notify": "never",
    }
    try:
        with _project(model, spec, place / "project", given) as project:
            job = prepare(project, observer=observer, **given)
            _require_same(job, spec, model)
            return _compared(model, _trained(job, is_searched=request is not None))
    except BaseException:
        if not (place / "run").exists():
            shutil.rmtree(place, ignore_errors=True)
        raise


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _lineage(model: ModelVersion) -> tuple[RunSpec, dict[str, Any] | None]:
    """What was asked of the version's run, and of its search."""
    try:
        kept = atomic.read_json(Path(model.path, "lineage.json"))
        return RunSpec.from_json(kept["spec"]), kept.get("search")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"its lineage cannot be read: {error}",
            where=str(Path(model.path, "lineage.json")),
            remedy="Versions registered before lineage was kept cannot be replayed; run the project again.",
        ) from None


@contextmanager
def _project(
    model: ModelVersion, spec: RunSpec, place: Path, given: dict[str, Any]
) -> Iterator[Path]:
    """The project as it was: as it is now where that is the same, else the commit in a folder of
    its own.
    """
    now = Path(model.project)
    if not now.is_dir():
        raise UsageError(
            "the project is not there any more",
            where=model.project,
            remedy="Bring it back there: its commit and its data are taken from it.",
        )
    if model.commit is None or prepare(now, **given).spec.digest == spec.digest:
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
        inside = place / now.resolve().relative_to(checkout.top)
        # What is not under version control, ignored files too: data often is.
        for path in sorted(fingerprint.project_files(now) - checkout.tracked(now)):
            places.copy_into(now / path, path, root=_made(inside))
        yield inside
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _asked(model: ModelVersion, spec: RunSpec, request: dict[str, Any] | None) -> dict[str, Any]:
    """The settings that make the same run, whatever the project's own file says now."""
    budget = {"trials": request["trials"], "minutes": request["minutes"]} if request else {}
    return {
        "entry": spec.entry,
        "args": spec.args,
        "seed": spec.seed,
        "backend": spec.backend,
        "input": spec.input,
        "mount": [f"{one.source}:{one.target}" for one in spec.mounts],
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
            "what it was made from is not there any more: uncommitted code, a file that is not under version control,"
            " mounted data or the environment changed",
            where=model.project,
            remedy="Bring the data back as it was, with its times; `mlops show` names the digests.",
        )


def _trained(job: Job, *, is_searched: bool) -> Job:
    """Train, and search where the version was found by a search."""
    stages.train(job)
    if stages.judge(job).verdict == "rejected" and is_searched:
        stages.search(job)
        stages.judge(job)
    return job


def _compared(model: ModelVersion, job: Job) -> Replay:
    verdict = job.directory.verdict
    made = job.run_dir / protocol.INSIDE / Path(model.model).name
    notes = []
    if job.spec.image.tag != model.image:
        notes.append(
            f"the image is {job.spec.image.tag}, it was {model.image}: another version of mlops"
        )
    before = _contents(Path(model.model))
    after = _contents(made)
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
    """The digests of a model file's members, without those that hold a time; of the whole where it
    has none.
    """
    try:
        with atomic.open_regular(path) as file:
            if not zipfile.is_zipfile(file):
                file.seek(0)
                return {path.name: _digest(file.read)}
            with zipfile.ZipFile(file) as archive:
                members = [one for one in archive.infolist() if one.filename not in DATED]
                return {
                    one.filename: _member(archive, one)
                    for one in members
                    if one.file_size <= MEMBER_LIMIT
                }
    except OSError:
        return {}


def _member(archive: zipfile.ZipFile, one: zipfile.ZipInfo) -> str:
    with archive.open(one) as stream:
        return _digest(stream.read)


def _digest(read: Callable[[int], bytes]) -> str:
    whole = hashlib.sha256()
    while chunk := read(1 << 20):
        whole.update(chunk)
    return whole.hexdigest()
