"""Prepare a project: detect it, plan its environment and name its run.

Nothing is built or started here.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lib import atomic, config, events, run_directory
from mlops_lib.detection import detect
from mlops_lib.display import notebook
from mlops_lib.engine import Engine, choose
from mlops_lib.errors import UsageError
from mlops_lib.events import Observer
from mlops_lib.pipeline import origin
from mlops_lib.project import fingerprint, git_history, places, trust
from mlops_lib.provisioning import resolution
from mlops_lib.records import Detection, Environment, Image, Limits, Mount, RunSpec
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol
from mlops_lib.settings_arguments import SettingsArguments
from mlops_lib.training import cancellation
from mlops_lib.tuning import argument_sweep
from mlops_lib.tuning.options import Execution

if TYPE_CHECKING:
    from typing import Unpack


def silent(event: dict[str, Any]) -> None:
    """Discard an event."""


def _observer() -> Observer:
    """Return the default observer: a live view in a notebook, else none."""
    return notebook.view() if notebook.is_running() else silent


@dataclass(frozen=True, kw_only=True)
class Job:
    """A prepared project: its detection, its engine and its run."""

    settings: config.Settings
    detection: Detection | None
    need: resolution.Need | None
    """The project's demands on its environment; None for a run directory, whose image is final."""
    engine: Engine
    spec: RunSpec
    run_dir: Path
    observer: Observer
    stopped: cancellation.Stop
    origin: Path | None = None
    """Directory of the first run, if this one continues with other arguments."""
    earlier_looks: int = 0
    """Number of models judged on the same examples before, with other arguments."""
    taking_over: bool = False
    """True if a watchdog executes a request whose own process has died."""

    @cached_property
    def directory(self) -> RunDirectory:
        """The run's files, as records."""
        return RunDirectory(self.run_dir)

    @property
    def home(self) -> Path:
        """Folder of mlops' own files."""
        return self.settings.home

    @property
    def execution(self) -> Execution:
        """The options with which the run's trainings are executed and supervised."""
        return Execution(
            engine=self.engine,
            run_dir=self.run_dir,
            home=self.home,
            restarts=self.settings["restarts"],
            idle_minutes=self.settings["idle_minutes"],
            taking_over=self.taking_over,
            observer=self.observer,
            stopped=self.stopped,
        )


def prepare(
    project: str | Path,
    *,
    observer: Observer | None = None,
    stopped: cancellation.Stop | None = None,
    **settings: Unpack[SettingsArguments],
) -> Job:
    """Detect the project, plan its image and name its run.

    Nothing is built or started.

    Args:
        project: a folder, script or notebook, or a run directory of this home.
        observer: receives the events; without one, a notebook shows them.
        stopped: set by the caller to stop the run, which is kept.
        settings: any setting.

    Raises:
        UsageError: a setting is wrong, or arguments for the script are missing.
        DetectionError: there is nothing that trains.
        EngineError: the named engine does not answer.
    """
    place = Path(project).expanduser()
    stopped = stopped or cancellation.Stop()
    observer = observer or _observer()
    existing = _existing(place, config.resolve(None, settings))
    # A run directory has its spec: detection would read a project that may have changed since.
    if existing is not None:
        return _again(place, existing, settings, observer=observer, stopped=stopped)
    folder = place if place.is_dir() else place.parent
    resolved = config.resolve(folder if folder.is_dir() else None, settings)
    observer(events.stage("detect"))
    detection = detect(place, entry=resolved["entry"] or None)
    own = Path(detection.project)
    # After detection, which knows the project's own folder: a push may have put a link or files in
    # the home's place.
    home = _make_home(places.require_home(resolved.home, project=own))
    engine = choose(resolved["backend"], home=str(home))
    need = _need(detection, resolved, engine)
    # Only a name: the image is built when a stage needs it.
    image = resolution.plan(need, home=resolved.home)
    spec = _spec(detection, resolved, engine, image, gpus=need.gpus)
    run_dir = (
        places.require_own(Path(resolved["run_dir"]), project=own)
        if resolved["run_dir"]
        else _default_run_dir(spec, resolved)
    )
    job = Job(
        settings=resolved,
        detection=detection,
        need=need,
        engine=engine,
        spec=spec,
        run_dir=run_dir,
        observer=observer,
        stopped=stopped,
    )
    return continued(job)


def _again(
    run_dir: Path,
    spec: RunSpec,
    settings: SettingsArguments,
    *,
    observer: Observer,
    stopped: cancellation.Stop,
) -> Job:
    """Return the job of a run directory, with the judged number as configured now."""
    resolved = config.resolve(Path(spec.project), settings)
    if Path(spec.project).is_dir():
        spec = replace(
            spec,
            metric_pattern=resolved["metric_pattern"],
            metrics_file=resolved["metrics_file"],
        )
    return Job(
        settings=resolved,
        detection=None,
        need=None,
        engine=choose(spec.backend, home=str(_make_home(resolved.home))),
        spec=spec,
        run_dir=run_dir.absolute(),
        observer=observer,
        stopped=stopped,
    )


def _need(detection: Detection, settings: config.Settings, engine: Engine) -> resolution.Need:
    """Return the requirements of the project's environment on this machine."""
    return resolution.need(
        detection,
        base_image=settings["base_image"],
        backend=engine.name,
        gpus=_grants_gpus(settings["gpus"], engine),
        torch_index=settings["torch_index"],
        owner=trust.cache_name(Path(detection.project), settings["trust"]),
    )


class JobArguments(SettingsArguments, total=False):
    """Keyword arguments of every stage: all settings, and the caller's hooks."""

    observer: Observer | None
    stopped: cancellation.Stop | None


def prepared(project: str | Path | Job, **settings: Unpack[JobArguments]) -> Job:
    """Return a job unchanged, or prepare any other project with these settings."""
    return project if isinstance(project, Job) else prepare(project, **settings)


def continued(job: Job) -> Job:
    """Return the job with the arguments that a retraining chose for its project."""
    args = argument_sweep.continued(job.run_dir)
    return job if args is None or args == job.spec.args else with_args(job, args)


def with_seed(job: Job, seed: int) -> Job:
    """Return the job of a run of the same project with another seed."""
    assert job.detection is not None
    assert job.need is not None
    # This run is one sample of several: it is neither searched nor compared on its own.
    changed = {"seed": seed, "seeds": 1, "beats": "", "trials": 0}
    values = {
        **job.settings.values,
        **{key: config.Value(value, "seeds") for key, value in changed.items()},
    }
    settings = config.Settings(values)
    spec = _spec(job.detection, settings, job.engine, job.spec.image, gpus=job.need.gpus)
    run_dir = _default_run_dir(spec, settings)
    # A run directory that the user has named cannot hold two runs.
    if settings["run_dir"]:
        run_dir = job.run_dir.with_name(f"{job.run_dir.name}-seed-{seed}")
    return replace(
        job,
        settings=settings,
        spec=spec,
        run_dir=run_dir,
        origin=None,
        earlier_looks=0,
        taking_over=False,
    )


def with_args(job: Job, args: tuple[str, ...]) -> Job:
    """Return the job of a run of the same project with other arguments."""
    assert job.detection is not None
    assert job.need is not None
    values = {**job.settings.values, "args": config.Value(args, "retraining")}
    settings = config.Settings(values)
    spec = _spec(job.detection, settings, job.engine, job.spec.image, gpus=job.need.gpus)
    run_dir = _default_run_dir(spec, settings)
    if settings["run_dir"]:
        run_dir = job.run_dir.with_name(f"{job.run_dir.name}-args-{args[0]}")
    return replace(job, settings=settings, spec=spec, run_dir=run_dir, origin=job.run_dir)


def _existing(place: Path, settings: config.Settings) -> RunSpec | None:
    """Return the spec of a run directory, or None if `place` is none.

    Raises:
        UsageError: it resembles a run directory, but this home did not create it.
    """
    # A project that only contains a file named like the spec is no run directory.
    if not (place / protocol.INSIDE).is_dir():
        return None
    spec = run_directory.read_record(place / protocol.SPEC, RunSpec)
    if spec is not None and not run_directory.is_known(place, home=settings.home):
        raise UsageError(
            "it resembles a run directory, but this home did not create it",
            where=str(place),
            remedy="Give the --home it was created with, or its project and --run-dir.",
        )
    return spec


def _make_home(home: Path) -> Path:
    try:
        home.mkdir(parents=True, exist_ok=True)
        # By the marker, a project that contains this home leaves it out of its files.
        (home / protocol.HOME_MARKER).touch()
    except OSError as error:
        raise UsageError(
            f"the folder of mlops' own files cannot be created: {error.strerror}",
            where=str(home),
            remedy="Give another --home (or MLOPS_HOME), or fix its permissions.",
        ) from None
    return home


def _grants_gpus(choice: str, engine: Engine) -> bool:
    if choice == "none" or (choice == "auto" and not engine.gpus()):
        return False
    if not engine.gpus():
        raise UsageError(
            "no GPU can be granted to a training",
            where="gpus=all",
            remedy="Install NVIDIA's driver and container toolkit (`mlops doctor`),"
            " or use --gpus auto.",
        )
    return True


def _spec(
    detection: Detection, settings: config.Settings, engine: Engine, image: Image, *, gpus: bool
) -> RunSpec:
    project = Path(detection.project)
    own = detection.command if settings["steps"] else None
    args = tuple(settings["args"]) or (own.args if own is not None else ())
    if detection.args_needed > len(args):
        raise UsageError(
            f"the script needs {detection.args_needed} argument(s), {len(args)} given",
            where=detection.entry,
            remedy='Give them with --args "…", or args = […] in mlops.toml.',
        )
    # Only the files that can decide the result: an edit of the README is no new run.
    manifest = _files(detection, settings, args=args).digest
    spec = RunSpec(
        digest="",
        name=settings["name"] or _name(project, detection.entry),
        project=str(project),
        entry=detection.entry,
        args=args,
        folder="" if own is None else own.folder,
        before=detection.before if settings["steps"] else (),
        after=detection.after if settings["steps"] else (),
        seed=settings["seed"],
        backend=engine.name,
        image=image,
        framework=detection.framework,
        family=detection.family,
        mounts=tuple(_mount(text, backend=engine.name) for text in settings["mount"]),
        limits=_limits(settings, gpus=gpus),
        commit=git_history.commit(project),
        data_digest=manifest,
        metric=settings["metric"],
        metric_pattern=settings["metric_pattern"],
        metrics_file=settings["metrics_file"],
        input=tuple(settings["input"]),
        cache=trust.cache_name(project, settings["trust"]),
        created=round(time.time(), 3),
    )
    return replace(spec, digest=_digest(spec, detection.environment, settings))


def _digest(spec: RunSpec, environment: Environment, settings: config.Settings) -> str:
    """Return the digest of everything that decides the result of a run."""
    # The image's name covers our own runner too, and what was repaired in it. The run is named by
    # the environment as it is asked for, so that a new version of this package, or of an answer to
    # it, continues old runs.
    data = [[mount.target, fingerprint.data_manifest(Path(mount.source))] for mount in spec.mounts]
    around = [[step.script, *step.args, step.folder] for step in (*spec.before, *spec.after)]
    return fingerprint.digest(
        spec.data_digest,
        spec.entry,
        spec.args,
        settings["input"],
        sorted(environment.requirements),
        environment.python,
        sorted(environment.system),
        sorted(environment.variables.items()),
        settings["base_image"],
        data,
        spec.seed,
        # A pull request's run is its own: a branch with the same files must not go on with what the
        # request's caches made.
        *((["trust", settings["trust"]],) if settings["trust"] != trust.BRANCH else ()),
        *((["steps", spec.folder, len(spec.before), *around],) if around or spec.folder else ()),
    )


def _limits(settings: config.Settings, *, gpus: bool) -> Limits:
    return Limits(
        memory_bytes=settings["memory"],
        cpus=settings["cpus"],
        pids=settings["pids"],
        network=settings["network"],
        gpus=gpus,
    )


def _files(
    detection: Detection, settings: config.Settings, *, args: Sequence[str]
) -> origin.ProjectFiles:
    steps = (*detection.before, *detection.after) if settings["steps"] else ()
    step_args = [arg for step in steps for arg in step.args]
    programs = (detection.entry, *(step.script for step in steps))
    return origin.project_files(
        Path(detection.project), *programs, texts=(*args, *settings["input"], *step_args)
    )


def remember_files(job: Job) -> None:
    """Record in the run's directory the project files that decide it."""
    place = job.run_dir / protocol.FILES
    if job.detection is not None and not place.exists():
        files = _files(job.detection, job.settings, args=job.spec.args)
        # A longer list of changed files would help no reader, and every run directory would hold
        # it.
        if len(files.files) + len(files.left_out) <= origin.KEPT:
            atomic.write_json(place, files.to_json())


def unprepared(project: Path, settings: config.Settings) -> RunSpec:
    """Return the spec for a build that failed before detection: name and commit."""
    commit = git_history.commit(project)
    # Nothing is known of its environment yet.
    unknown = Image(tag="", environment=Environment(name="none", framework="none", family="none"))
    return RunSpec(
        digest=fingerprint.digest(str(project), commit),
        name=settings["name"] or _name(project, ""),
        project=str(project),
        entry="",
        backend="process",
        image=unknown,
        commit=commit,
    )


def _name(project: Path, entry: str) -> str:
    # A build server names the folder of a checkout after the branch; all branches of a repository
    # are one model.
    repository = git_history.repository_name(project) if "BRANCH_NAME" in os.environ else None
    return repository or re.sub(r"@\d+$", "", project.name) or Path(entry).stem


def _mount(text: str, *, backend: str) -> Mount:
    source, _, target = text.rpartition(":")
    place = Path(source).expanduser().absolute()
    if not source or not target or ".." in Path(target).parts:
        raise UsageError(
            f"{text!r} is no mount",
            where="mount",
            remedy="Give SOURCE:TARGET; TARGET is absolute, or relative to the project.",
        )
    if backend == "process" and target.startswith("/") and Path(target) != place:
        raise UsageError(
            f"without containers nothing can be mounted at {target}",
            where="mount",
            remedy="Give a TARGET relative to the project, or use --backend docker.",
        )
    if not place.exists():
        raise UsageError(
            f"{place} does not exist", where="mount", remedy="Give an existing file or folder."
        )
    return Mount(source=str(place), target=target)


def _default_run_dir(spec: RunSpec, settings: config.Settings) -> Path:
    # A model's name may contain any character; a folder's must be safe in shells and containers.
    safe = (
        "".join(c if c.isalnum() or c in "-_." else "-" for c in spec.name).strip("-.") or "project"
    )
    return settings.home / "runs" / f"{safe[:60]}-{spec.digest[:12]}"
