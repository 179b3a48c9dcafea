"""The stages with their settings: what a shell, a notebook and Jenkins call.

Each function takes a project (folder, script or notebook) or a run directory, and settings by keyword (mlops_lib.config
lists them). Each may be called again at any time: what was done is not done twice, what was interrupted goes on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops_lib import (
    alarm,
    builds,
    config,
    durable,
    environments,
    gate,
    notification,
    registry,
    retraining,
    rundir,
    training,
    tuning,
    watching,
)  # fmt: skip
from mlops_lib.errors import MlopsError, NotificationError, SearchError, TrainingError, UsageError
from mlops_lib.job import Job, Observer, continued, prepare, silent, unprepared, with_args
from mlops_lib.records import (
    Failure,
    Image,
    Link,
    ModelVersion,
    PipelineResult,
    RunResult,
    RunSpec,
    SearchResult,
    Verdict,
)


def _job(project: str | Path | Job, **settings: Any) -> Job:
    return project if isinstance(project, Job) else prepare(project, **settings)


def build(project: str | Path | Job, *, with_code: bool = False, **settings: Any) -> Image:
    """Make the project's environment real, and see that what the code imports is in it.

    Args:
        project: the project or run.
        with_code: also bake the project into an image that trains by itself; that one is returned.
        settings: as everywhere.

    Raises:
        ImageError: it cannot be built.
    """
    job = _job(project, **settings)
    image = _with_environment(job).spec.image
    if not with_code:
        return image
    from mlops_lib.engine.docker import DockerEngine

    if not isinstance(job.engine, DockerEngine):
        raise UsageError(
            "only a container image can hold the code", where="--with-code", remedy="Use --backend docker."
        )
    tag = job.engine.bake(replace(job.spec, image=image), on_line=_on_line(job))
    return replace(image, tag=tag)


def _on_line(job: Job) -> Callable[[str], None]:
    return lambda line: job.observer({"event": "build", "line": line})


def _with_environment(job: Job) -> Job:
    """The job in the environment that was made for it, which may differ from the one planned."""
    if job.need is None:
        if not job.engine.has(job.spec.image):
            job.observer({"event": "stage", "stage": "build"})
            job.engine.build(job.spec.image, on_line=_on_line(job))
        return replace(job, spec=replace(job.spec, image=replace(job.spec.image, built=True)))
    if not job.engine.has(job.spec.image):
        job.observer({"event": "stage", "stage": "build"})
    image = environments.make(job.need, engine=job.engine, home=job.home, observer=job.observer)
    for note in image.notes:
        job.observer({"event": "warning", "message": note})
    return replace(job, spec=replace(job.spec, image=image))


def train(project: str | Path | Job, **settings: Any) -> RunResult:
    """Train the project as it is written (pass 1), or return what had been trained.

    Raises:
        TrainingError: the script failed; the run is kept.
    """
    job = _job(project, **settings)
    with contextlib.ExitStack() as asking:
        return _train(job, lambda: asking.enter_context(_asking(job, "train")))


def _asking(job: Job, verb: watching.Verb) -> contextlib.AbstractContextManager[None]:
    return watching.asking(job.run_dir, verb, job.settings.chosen())


def _train(job: Job, begin: Callable[[], None]) -> RunResult:
    """As `train`; `begin` is called once the run exists."""
    _check_data(job)
    job = _with_environment(job)
    job.observer({"event": "stage", "stage": "train"})
    rundir.write_spec(job.run_dir, job.spec)
    rundir.remember(job.run_dir, home=job.home)
    begin()
    if job.detection is not None:
        durable.write_json(job.run_dir / "detection.json", job.detection.to_json())
    if training.finished(job.run_dir, 1) is None:
        (job.run_dir / "training.json").unlink(missing_ok=True)
        _step(job, "started")
    with alarm.telling(job.spec, settings=job.settings.plain(), home=job.home, observer=job.observer) as observer:
        for number in range(environments.REPAIRS + 1):
            spec = rundir.write_spec(job.run_dir, job.spec)
            result = training.train(
                spec, engine=job.engine, run_dir=job.run_dir, restarts=job.settings["restarts"], home=job.home,
                idle_minutes=job.settings["idle_minutes"], taking_over=job.taking_over and number == 0,
                observer=observer, stopped=job.stopped,
            )  # fmt: skip
            repaired = _repaired(job, result) if number < environments.REPAIRS else None
            if repaired is None:
                break
            job = repaired
    try:
        durable.write_json(job.run_dir / "training.json", result.to_json())
    except OSError:
        if result.state == "finished":
            raise
    if result.state != "finished":
        raise _training_error(result)
    return result


def _repaired(job: Job, result: RunResult) -> Job | None:
    """The job in an environment that has what its training failed to import; None where that is not known."""
    failure = result.failure
    if job.need is None or failure is None or failure.kind != "import":
        return None
    image = environments.repair(job.need, failure.message, image=job.spec.image, home=job.home)
    if image is None:
        return None
    note = {"event": "decision", "do": "repair", "why": image.notes[-1], "time": round(time.time(), 3)}
    rundir.append(job.run_dir / training.ATTEMPTS, note)
    job.observer(note)
    job.engine.build(image, on_line=_on_line(job))
    return replace(job, spec=replace(job.spec, image=replace(image, built=True)))


def _check_data(job: Job) -> None:
    from mlops_lib import inputs

    if job.detection is None or training.finished(job.run_dir, 1) is not None:
        return
    given = [mount.target for mount in job.spec.mounts]
    for missing in inputs.missing(job.detection, given=given):
        if missing.certain:
            raise TrainingError(
                f"it reads {missing.path!r}, which is not there", where=missing.where,
                remedy=f"Push the file with the project, or give it with --mount FILE:{missing.path}.",
            )  # fmt: skip
        job.observer({"event": "warning", "message": f"{missing.where}: {missing.path!r} is not there"})


REMEDIES = {
    "import": "Declare the package in requirements.txt, a program or a library of the system in apt.txt.",
    "oom": "Raise --memory, or make batches smaller.",
    "disk": "Make room there and run it again: it goes on from its checkpoint.",
    "nan": "Lower the learning rate, scale the inputs, or look for missing values in the data; the run is kept.",
    "network": "See that what it needs can be reached (the setting `network`), and run it again: it goes on.",
    "hang": "See where it waits (the log's end); run it again and it goes on. The setting idle_minutes allows more.",
    "crash": "The log's end may say more; run it again and it goes on from its checkpoint.",
}


_DIVISION = (
    "Python 2 divided whole numbers into whole numbers: write // for the / that gives this number; the run is kept."
)
HINTS = (
    ("'float' object cannot be interpreted as an integer", _DIVISION),
    ("slice indices must be integers", _DIVISION),
    ("only integers, slices (`:`), ellipsis (`...`)", _DIVISION),
    ("list indices must be integers or slices, not float", _DIVISION),
    (
        "inhomogeneous shape",
        "Rows of different lengths are no array since numpy 1.24: write np.array(…, dtype=object).",
    ),
    ("cannot import name", "Write what it is called now, or name the version that has it in requirements.txt."),
)
"""What a failure says, and what to change: where old code meets the Python and libraries of today."""


def _training_error(result: RunResult) -> TrainingError:
    failure = result.failure
    if failure is None:
        return TrainingError(
            "the training was stopped", where=result.run_dir, remedy="Run it again: it goes on from its checkpoint."
        )
    remedy = REMEDIES.get(failure.kind, "Mend the script; the run is kept.")
    remedy = next((hint for said, hint in HINTS if said in failure.message), remedy)
    if "FileNotFoundError" in failure.message and failure.kind != "import":
        remedy = "Push the file with the project, or give it with --mount FILE:PATH, PATH as the script names it."
    return TrainingError(failure.message, where=failure.where or result.run_dir, remedy=remedy, log=failure.log)


def judge(project: str | Path | Job, **settings: Any) -> Verdict:
    """Judge the run's model against its bar.

    Raises:
        UsageError: the run has not finished.
    """
    job = _job(project, **settings)
    if training.finished(job.run_dir, 1) is None:
        raise UsageError("there is no finished training", where=str(job.run_dir), remedy="`mlops train` first.")
    found = tuning.read(job.run_dir)
    before = rundir.read_record(job.run_dir / "verdict.json", Verdict)
    verdict = gate.judge(
        job.run_dir, target=job.settings["target"], metric=job.settings["metric"], mode=job.settings["mode"],
        strict=job.settings["strict"], beats=job.settings["beats"],
        champion=_rival(job, before), selection="" if found is None or not found.trials else found.selection,
    )  # fmt: skip
    if found is not None and found.stopped == "refused" and verdict.verdict == "rejected":
        verdict = replace(verdict, reasons=(*verdict.reasons, *(f"not searched: {note}" for note in found.notes)))
    rejected = 0 if found is None else tuning.rejections(job.run_dir)
    if rejected:
        again = f"judged {rejected + 1} times: the search went on when the gate had rejected its winner"
        verdict = replace(verdict, reasons=(*verdict.reasons, again))
    if before is not None and before != verdict:
        rundir.append(job.run_dir / "verdicts.jsonl", before.to_json())
    durable.write_json(job.run_dir / "verdict.json", verdict.to_json())
    job.observer({"event": "verdict", "verdict": verdict.to_json()})
    return verdict


def _rival(job: Job, before: Verdict | None) -> ModelVersion | None:
    """The champion that the run has to compare with; of this run's own making, the one it had replaced."""
    champion = registry.champion(job.spec.name, home=job.home)
    if champion is None or champion.run != job.spec.digest:
        return champion
    return None if before is None or before.champion is None else replace(champion, value=before.champion)


def search(project: str | Path | Job, **settings: Any) -> SearchResult:
    """Tweak a rejected model until it meets the bar (pass 2).

    Raises:
        UsageError: the model was not rejected.
        SearchError, TrainingError: the search failed.
    """
    job = _job(project, **settings)
    verdict = rundir.read_record(job.run_dir / "verdict.json", Verdict) or judge(job)
    if verdict.verdict != "rejected":
        found = tuning.read(job.run_dir)
        if found is not None:
            return found
        raise UsageError(
            f"the model is {verdict.verdict}: there is nothing to search", where=str(job.run_dir),
            remedy="Give a higher --target to search all the same.",
        )  # fmt: skip
    with _asking(job, "search"):
        return _search(job, verdict)


def _search(job: Job, verdict: Verdict) -> SearchResult:
    job = _with_environment(job)
    job.observer({"event": "stage", "stage": "search"})
    if not verdict.selection:
        _step(job, "fell short", verdict=verdict)
    if job.detection is not None and job.origin is None:
        job, verdict, tried = _retrain(job, verdict)
        if verdict.verdict != "rejected":
            return tried
    with alarm.telling(job.spec, settings=job.settings.plain(), home=job.home, observer=job.observer) as observer:
        found = tuning.search(
            job.spec, verdict, engine=job.engine, run_dir=job.run_dir, trials=job.settings["trials"],
            minutes=job.settings["minutes"], limits=job.settings["search"], workers=job.settings["workers"],
            listen=job.settings["listen"], shared=job.settings["shared"],
            on=job.settings["on"], restarts=job.settings["restarts"],
            home=job.home, idle_minutes=job.settings["idle_minutes"], taking_over=job.taking_over, observer=observer,
            stopped=job.stopped,
        )  # fmt: skip
    _suggest(job)
    score = found.score if found.winner else None
    if score is not None and (score >= verdict.target if verdict.mode == "max" else score <= verdict.target):
        _step(job, "recovered", search=found)
    return found


def work(project: str | Path | Job, **settings: Any) -> RunResult:
    """Try candidates for the search of the same project's run on another machine, until it is over.

    Raises:
        UsageError: the shared files are not named or cannot be reached.
        TrainingError: the script failed here.
    """
    from mlops_lib import joining

    job = _with_environment(_job(project, **settings))
    job.observer({"event": "stage", "stage": "work"})
    return joining.work(
        job.spec, engine=job.engine, url=job.settings["shared"], run_dir=job.run_dir, home=job.home,
        restarts=job.settings["restarts"], idle_minutes=job.settings["idle_minutes"], observer=job.observer,
        stopped=job.stopped,
    )  # fmt: skip


def _retrain(job: Job, verdict: Verdict) -> tuple[Job, Verdict, SearchResult]:
    """Where the script takes its tweak as an argument: train it with further values, and go on as the best."""
    attempts = [retraining.Attempt.of(job.run_dir, job.spec.args, verdict)]
    jobs, notes = {job.spec.args: job}, []
    for args in retraining.values(Path(job.spec.project), job.spec.entry, job.spec.args, count=job.settings["retrain"]):
        other = with_args(job, args)
        try:
            train(other)
        except TrainingError as error:
            notes.append(f"with the argument {args[0]} the script fails: {error}")
            break
        jobs[args] = other
        attempts.append(retraining.Attempt.of(other.run_dir, args, judge(other)))
        if attempts[-1].verdict.verdict == "accepted":
            break
        if attempts[-1].is_same(attempts[-2]):
            notes.append("the argument has no effect: the architecture, its training and its number stay the same")
            break
    for note in notes:
        job.observer({"event": "warning", "message": note})
    if len(attempts) > 1:
        retraining.remember(job.run_dir, attempts)
    chosen = retraining.best(attempts)
    return jobs[chosen.args], chosen.verdict, retraining.as_search(attempts, notes=notes)


def _suggest(job: Job) -> None:
    """Write the winner as a patch of the project; a project that is not here any more gets none."""
    from mlops_lib import patching

    if Path(job.spec.project).is_dir():
        patching.suggest(job.run_dir, project=Path(job.spec.project))


def register(project: str | Path | Job, **settings: Any) -> ModelVersion:
    """Make an accepted model a version in the registry.

    Raises:
        UsageError: it was not accepted.
    """
    job = _job(project, **settings)
    verdict = rundir.read_record(job.run_dir / "verdict.json", Verdict)
    if verdict is None or verdict.verdict != "accepted":
        raise UsageError(
            "only an accepted model is registered", where=str(job.run_dir), remedy="`mlops judge` says what it lacks."
        )
    from mlops_lib import tracking

    job.observer({"event": "stage", "stage": "register"})
    version = registry.register(job.run_dir, job.spec, verdict, home=job.home)
    durable.write_json(job.run_dir / "registered.json", version.to_json())
    if tracking.is_wanted():
        report(job)
        _pictures(job)
    tracking.try_to_log(job.run_dir, job.spec, version, home=job.home, observer=job.observer)
    return version


def report(project: str | Path | Job, *, artifacts: str = "", **settings: Any) -> Path:
    """Write the run's report; returns the HTML file.

    Args:
        project: the project or run.
        artifacts: also gather what a build server keeps in this folder.
        settings: as everywhere.
    """
    from mlops_lib import reporting

    job = _job(project, **settings)
    if not job.run_dir.is_dir():
        raise UsageError("there is no such run yet", where=str(job.run_dir), remedy="`mlops train` first.")
    job.observer({"event": "stage", "stage": "report"})
    page = reporting.report(job.run_dir)
    if artifacts:
        from mlops_lib import artifacts as gathered

        gathered.gather(job.run_dir, Path(artifacts))
    return page


def notify(project: str | Path | Job, **settings: Any) -> list[notification.Delivery]:
    """Tell people how the run ended, on every configured channel, if that is a change.

    Args:
        project: the project or run.
        settings: as everywhere.
    """
    job = _job(project, **settings)
    verdict, result = _outcome(job)
    if verdict is None and result is None:
        return []
    job.observer({"event": "stage", "stage": "notify"})
    version = None
    if verdict is not None and verdict.verdict == "accepted":
        version = registry.of_run(job.spec.name, job.spec.digest, home=job.home)
    _reported(job)
    begun = job.run_dir / STEPS_TOLD
    message = notification.compose(
        spec=job.spec, verdict=verdict, result=result, search=tuning.read(job.run_dir),
        champion=_champion_before(job, version), version=version, links=_links(job, version),
        pictures=_pictures(job) if job.run_dir.is_dir() else [], attachments=_attachments(job),
        begun=begun.exists(), **_circumstances(job),
    )  # fmt: skip
    plain = job.settings.plain()
    deliveries = notification.flush(plain, home=job.home)
    if message is not None:
        deliveries += notification.notify(message, settings=plain, home=job.home)
    outcome = verdict or result
    assert outcome is not None
    notification.remember(job.spec.name, outcome, home=job.home, commit=job.spec.commit)
    begun.unlink(missing_ok=True)
    return deliveries


def notify_of_build(project: str | Path, **settings: Any) -> list[notification.Delivery]:
    """Tell people of a build that ended before it was known what there is to train; nothing outside of a build.

    Args:
        project: the project.
        settings: as everywhere; of those only `name` and `notify` count, for the others may be what is wrong.
    """
    stage, place = builds.broken(), Path(project).expanduser().absolute()
    if stage is None:
        return []
    resolved = config.resolve(None, {key: settings[key] for key in ("name", "notify") if key in settings})
    spec = unprepared(place, resolved)
    green, url = notification.last_accepted(spec.name, home=resolved.home), resolved["link_url"]
    result = _failed(stage, run_dir="")
    message = notification.compose(
        spec=spec, result=result, previous=notification.recall(spec.name, home=resolved.home),
        author=rundir.author(place), commits=rundir.commits_since(place, green), when=resolved["notify"],
        links=[Link(label="build", url=url)] if url else [],
    )  # fmt: skip
    notification.remember(spec.name, result, home=resolved.home, commit=spec.commit)
    return [] if message is None else notification.notify(message, settings=resolved.plain(), home=resolved.home)


def _failed(stage: builds.Stage, *, run_dir: str) -> RunResult:
    failure = Failure(kind="stage", message=stage.what or f"exit {stage.exit}", where=builds.STAGES[stage.verb])
    return RunResult(run_dir=run_dir, state="failed", exit_code=stage.exit, failure=failure)


def _outcome(job: Job) -> tuple[Verdict | None, RunResult | None]:
    """How the run stands; in a build that ended at another stage than the training, that."""
    stage = builds.broken()
    if stage is not None:
        return None, _failed(stage, run_dir=str(job.run_dir))
    verdict = rundir.read_record(job.run_dir / "verdict.json", Verdict)
    return verdict, rundir.read_record(job.run_dir / "training.json", RunResult)


def _champion_before(job: Job, version: ModelVersion | None) -> ModelVersion | None:
    """The champion that the run's model had to compare with, never of its own making."""
    champion = registry.champion(job.spec.name, home=job.home)
    own = version or (champion if champion is not None and champion.run == job.spec.digest else None)
    return champion if own is None else registry.champion_before(own, home=job.home)


STANDING = ("verdict.json", "training.json", "registered.json")
"""Files of a run directory that say how the run stands."""


def _reported(job: Job) -> None:
    """See that there is a report, and that it tells of how the run stands: it goes with what people are told."""
    page = job.run_dir / "report.html"
    told = [path.stat().st_mtime for name in STANDING if (path := job.run_dir / name).is_file()]
    if told and not (page.is_file() and page.stat().st_mtime >= max(told)):
        report(job)


STEPS_TOLD = "steps-told"
"""In a run directory: people were told of a step of the run, and wait for its end."""
STEP_PATIENCE = notification.Patience(attempts=2, limit_s=5.0, timeout_s=3.0)
"""A training does not wait longer than this for somebody to be told that it goes on."""


def _circumstances(job: Job) -> dict[str, Any]:
    """What every message about the run may need: who, since when, and how the project stood."""
    project = Path(job.spec.project)
    green = notification.last_accepted(job.spec.name, home=job.home)
    return {
        "previous": notification.recall(job.spec.name, home=job.home), "author": rundir.author(project),
        "commits": rundir.commits_since(project, green), "when": job.settings["notify"],
    }  # fmt: skip


def _links(job: Job, version: ModelVersion | None = None) -> list[Link]:
    places = {
        "report": (job.run_dir / "report.html", builds.page("index.html")),
        "patch": (job.run_dir / "suggested.patch", builds.page("suggested.patch")),
    }
    if version is not None:
        places["model"] = (Path(version.model), builds.page(Path(version.model).name))
    links = [Link(label=name, url=url or str(at)) for name, (at, url) in places.items() if at.is_file()]
    if job.settings["link_url"]:
        links.append(Link(label="build", url=job.settings["link_url"]))
    return links


def _pictures(job: Job) -> list[str]:
    from mlops_lib import reporting

    drawn = reporting.curve_png(job.run_dir, job.run_dir / "curves.png")
    return [] if drawn is None else [str(drawn)]


def _attachments(job: Job) -> list[str]:
    page = job.run_dir / "report.html"
    return [str(page)] if page.is_file() else []


def _step(job: Job, what: notification.Step, **known: Any) -> None:
    """Tell channels that show a run's messages together that it has come so far."""
    try:
        message = notification.step(what, spec=job.spec, links=_links(job), **known, **_circumstances(job))
        if message is None:
            return
        plain = job.settings.plain()
        if notification.notify(message, settings=plain, home=job.home, patience=STEP_PATIENCE):
            (job.run_dir / STEPS_TOLD).touch()
    except (NotificationError, UsageError, OSError) as error:
        job.observer({"event": "warning", "message": f"nobody was told: {error}"})


def try_channels(**settings: Any) -> list[notification.Delivery]:
    """Send one message to every configured channel.

    Raises:
        UsageError: no channel is configured.
    """
    plain = {**config.resolve(None, settings).plain(), "notify": "always"}
    home = config.resolve(None, settings).home
    deliveries = notification.notify(notification.sample(f"{time.time_ns():x}"), settings=plain, home=home)
    if not deliveries:
        raise UsageError(
            "no channel is configured", where="mlops notify --test",
            remedy=f"Set one of {', '.join(config.SECRETS)}; docs/notifications.md says how.",
        )  # fmt: skip
    return deliveries


def flush(project: str | Path | Job, **settings: Any) -> list[notification.Delivery]:
    """Send what earlier commands could not deliver; fails nothing."""
    job = _job(project, **settings)
    return _post(job.settings, job.observer)


def _post(settings: config.Settings, observer: Observer) -> list[notification.Delivery]:
    try:
        return notification.flush(settings.plain(), home=settings.home, patience=STEP_PATIENCE)
    except (NotificationError, UsageError, OSError) as error:
        observer({"event": "warning", "message": f"waiting messages stay where they are: {error}"})
        return []


def stop(project: str | Path | Job, **settings: Any) -> int:
    """Stop the run's containers; the run stays resumable. Returns how many were running."""
    job = _job(project, **settings)
    return training.stop(job.run_dir, job.spec, engine=job.engine) if job.run_dir.is_dir() else 0


SETTLED_S = 20.0
"""A run at rest for so long between two stages has nobody who goes on with it."""
FLUSH_S = 60.0
"""How often a watch sends what could not be delivered before."""


def watch(
    project: str | Path | Job | None = None,
    *,
    until_done: bool = True,
    observer: Observer = silent,
    stopped: training.Stop | None = None,
    **settings: Any,
) -> RunResult | None:
    """Watch a run, which may not exist yet, or all runs of a home, and go on with those whose program died.

    Ends when told to, or with `until_done` when there is nothing left to do. What it had taken over goes on in its
    container, for the next watchdog to take over.

    Args:
        project: the project or run; None for all runs of the home.
        until_done: end when the run has been answered; else go on for the next time it is started.
        observer: gets the decisions; a job's own is used where there is one.
        stopped: set by whoever wants this to end; a job's own is used where there is one.
        settings: as everywhere.

    Returns:
        How the run's training ended; None for a home, or where it has not.
    """
    if project is None:
        resolved = config.resolve(None, settings)
        watched = watching.Watch(lambda: rundir.known(resolved.home), take_over=_take_over, observer=observer)
        _keep_watch(
            watched, stopped or training.Stop(), lambda pending: until_done and not pending,
            post=lambda: _post(resolved, observer),
        )  # fmt: skip
        return None
    job = _job(project, observer=observer, stopped=stopped, **settings)
    run_dir = job.run_dir.resolve()
    watched = watching.Watch(lambda: [run_dir], take_over=_take_over, observer=job.observer)
    resting = time.monotonic()

    def done(pending: list[Path]) -> bool:
        nonlocal resting
        if pending or rundir.is_driven(run_dir):
            resting = time.monotonic()
        return until_done and (_is_settled(run_dir) or (run_dir.is_dir() and time.monotonic() - resting > SETTLED_S))

    _keep_watch(watched, job.stopped, done, post=lambda: _post(job.settings, job.observer))
    return watching.result(run_dir)


def _keep_watch(
    watched: watching.Watch, stopped: training.Stop, done: Callable[[list[Path]], bool], *, post: Callable[[], object]
) -> None:
    stopped.attended = True  # a signal ends the watch in order
    posted = time.monotonic() - FLUSH_S - 1.0
    try:
        while not stopped.is_set():
            if time.monotonic() - posted > FLUSH_S:
                post()
                posted = time.monotonic()
            pending = watched.look()
            if not watched.at_work and done(pending):
                return
            stopped.wait(watching.LOOK_S)
    finally:
        watched.let_go()


def _is_settled(run_dir: Path) -> bool:
    """Whether nobody has anything more to do for the run: it is judged, and searched where that was called for."""
    if watching.asked(run_dir) is not None or rundir.is_driven(run_dir) or training.finished(run_dir, 1) is None:
        return False
    verdict = rundir.read_record(run_dir / "verdict.json", Verdict)
    return verdict is not None and (verdict.verdict != "rejected" or tuning.read(run_dir) is not None)


def _take_over(run_dir: Path, asked: watching.Asked, observer: Observer, stopped: training.Stop) -> None:
    """Go on with what was asked of a run."""

    def named(event: dict[str, Any]) -> None:
        if event.get("event") not in ("decision", "exit", "attempt"):  # these are read from the run's own record
            observer({**event, "run_dir": str(run_dir)})

    job = _prepared_anew(run_dir, observer=named, stopped=stopped, settings=asked.settings)
    {"run": run, "train": train, "search": search}[asked.verb](replace(job, taking_over=True))


def _prepared_anew(
    run_dir: Path, *, observer: Observer, stopped: training.Stop, settings: Mapping[str, Any]
) -> Job:  # fmt: skip
    """The job as it was prepared first, where its project is still as it was; else what the run directory says of it."""
    known: dict[str, Any] = {"observer": observer, "stopped": stopped}
    spec = rundir.read_record(run_dir / "spec.json", RunSpec)
    if spec is not None and Path(spec.project).is_dir():
        with contextlib.suppress(MlopsError):
            job = prepare(spec.project, **known, **{**settings, "entry": spec.entry})
            if job.spec.digest == spec.digest and job.run_dir.resolve() == run_dir:
                return job
    return prepare(run_dir, **known, **settings)


def run(project: str | Path | Job, **settings: Any) -> PipelineResult:
    """The whole chain: detect, build, train, judge, search if the bar is missed, register, report, notify.

    Raises:
        TrainingError, SearchError: the script or the search failed; it is reported and people are told first.
    """
    job = _job(project, **settings)
    with contextlib.ExitStack() as asking:
        return _run(job, lambda: asking.enter_context(_asking(job, "run")))


def _run(job: Job, begin: Callable[[], None]) -> PipelineResult:
    began = time.monotonic()
    try:
        job, verdict, found = _decided(job, begin)
    except (TrainingError, SearchError):
        if job.run_dir.is_dir():
            report(job)
            _tell(job)
        raise
    model = _model(job.run_dir)
    version = register(job) if verdict.verdict == "accepted" and model is not None else None
    result = _result(job, verdict, found, version, seconds=time.monotonic() - began)
    durable.write_json(job.run_dir / "result.json", result.to_json())
    report(job)
    _tell(job)
    return result


def _decided(job: Job, begin: Callable[[], None]) -> tuple[Job, Verdict, SearchResult | None]:
    """Train and judge; where the bar is missed, search and judge again. The job may go on with other arguments."""
    _train(job, begin)
    verdict = judge(job)
    if verdict.verdict == "rejected" and job.settings["trials"] > 0:
        _search(job, verdict)
        job = job if job.detection is None else continued(job)
        verdict = judge(job)
        while tuning.goes_on(job.run_dir, verdict):
            _search(job, verdict)
            verdict = judge(job)
    return job, verdict, tuning.read(job.run_dir)


def _model(run_dir: Path) -> Path | None:
    """The model file that the runner claims to have saved."""
    places = (run_dir / "inside" / name for name in ("model.keras", "model.joblib"))
    return next((place for place in places if place.is_file() and not place.is_symlink()), None)


def _result(
    job: Job, verdict: Verdict, found: SearchResult | None, version: ModelVersion | None, *, seconds: float
) -> PipelineResult:
    model = _model(job.run_dir)
    suggested = [job.run_dir / name for name in ("suggested.patch", "best_model.py")]
    patch = next((place for place in suggested if place.is_file()), None)
    reasons = verdict.reasons
    if verdict.verdict == "accepted" and model is None:
        reasons = (*reasons, "nothing is registered: the script's model could not be saved, its outputs are kept")
    retrained = 0 if job.origin is None else retraining.attempts_of(job.origin)
    if retrained:
        reasons = (
            *reasons,
            f"trained with the argument {job.spec.args[0]}: the best of {retrained + 1} on the judged examples",
        )
    place = None if model is None else str(model)
    return PipelineResult(
        verdict=verdict.verdict, metric=verdict.metric, value=verdict.value, interval=verdict.interval,
        target=verdict.target, examples=verdict.examples,
        trials=retrained + (0 if found is None else sum(t.number > 0 for t in found.trials)),
        restarts=training.count_restarts(job.run_dir), model=place if version is None else version.model,
        report=str(job.run_dir / "report.html"),
        patch=None if patch is None else str(patch), run_dir=str(job.run_dir),
        seconds=round(seconds, 3), version=None if version is None else version.version, reasons=reasons,
    )  # fmt: skip


def _tell(job: Job) -> None:
    """A failed notification never fails a training: it stays in the spool and the next command sends it."""
    try:
        notify(job)
    except (NotificationError, UsageError, OSError) as error:
        job.observer({"event": "warning", "message": f"nobody was told: {error}"})
