"""The `mlops` command: one verb a stage. Results on stdout, everything else on stderr.

Exit codes: 0 answered, and accepted where a verdict is asked for · 1 our own bug · 2 bad configuration or usage ·
3 detection · 4 image · 5 the training failed · 6 rejected · 7 engine · 8 search · 9 notification · 10 undecided.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mlops_lib import __version__, config
from mlops_lib.errors import EXIT_BUG, EXIT_REJECTED, EXIT_UNDECIDED, MlopsError, UsageError
from mlops_lib.verbs import ACTIONS, EXAMPLES, OWN

VERBS = {
    "run": "the whole chain: detect, build, train, judge, search if needed, register, report, notify",
    "detect": "what the code is and what it needs, with evidence",
    "build": "make the environment (image or virtual environment)",
    "train": "run the script as it is written, resumable",
    "judge": "the verdict on the trained model",
    "search": "tweak a rejected model until it meets the bar",
    "work": "try candidates for the search of this project's run on another machine, until it is over",
    "register": "make an accepted model a version in the registry",
    "report": "write the HTML report",
    "notify": "tell people how the run ended",
    "watch": "watch a run, or all of them, and go on with those whose program died",
    "stop": "stop a run's containers; the run stays resumable",
    "images": "list the environments kept on this machine, or remove what no run needs",
    "runs": "list the runs",
    "show": "one run: what was asked and how it stands",
    "compare": "two runs side by side",
    "registry": "registered models: list them, name the champion, roll it back, remove old versions",
    "replay": "make a registered model again from its lineage, and say whether it is identical",
    "config": "every setting, its value and where it comes from",
    "doctor": "what is missing on this machine and how to mend it",
    "init": "write a Jenkinsfile and an mlops.toml into a project",
    "completion": "print the completion script for a shell",
}
WITHOUT_PROJECT = {"images", "runs", "doctor", "compare", "registry", "replay", "completion"}
OPTIONS = {
    "until_done", "artifacts", "print_dockerfile", "test", "verb", "open", "markdown", "tensorboard", "runs", "state",
    "action", "model", "version", "alias", "shell", "keep", "quiet",
    "with_code", "prune",
}  # fmt: skip
"""Keys of MLOPS_PARAMS that are options of a verb, not settings."""
PIPELINE = ("label", "hours", "poll", "worker_label")
"""Keys of MLOPS_PARAMS that the Jenkins pipeline itself reads: known here, so that a slip of one is refused."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    given = parse(sys.argv[1:] if arguments is None else arguments)
    as_json = given.pop("json")
    if "MLOPS_BUILD" in os.environ:
        return _noted(given, as_json=as_json)
    return _main(given, as_json=as_json)


def _noted(given: dict[str, Any], *, as_json: bool) -> int:
    """A build server's stage: how it ended is kept for the build's test report."""
    import time

    from mlops_lib import builds

    verb, began = given["verb"], time.monotonic()
    _WRONG.clear()
    code = _main(given, as_json=as_json)
    builds.note(verb, exit_code=code, seconds=time.monotonic() - began, what="; ".join(_WRONG))
    return code


_WRONG: list[str] = []
"""What was wrong with the verb."""


def _main(given: dict[str, Any], *, as_json: bool) -> int:
    try:
        return _dispatch(given, as_json=as_json)
    except MlopsError as error:
        return failed(error, as_json=as_json)
    except KeyboardInterrupt:
        sys.stderr.write("mlops: interrupted; what was done is kept\n")
        return _interrupted()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in MACHINE:
            return _bug(as_json=as_json)
        return failed(_machine_error(error), as_json=as_json)
    except Exception:  # noqa: BLE001 - the last resort: a bug of ours, reported as one
        return _bug(as_json=as_json)


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """The words of a command as the verb, its options and settings; None for what was not given."""
    words = list(arguments)
    return vars(_parser(words).parse_args(words))


MACHINE = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE,
    errno.ENAMETOOLONG, errno.ENOTDIR,
}  # fmt: skip
"""What the machine refuses is no bug of ours."""


def _machine_error(error: OSError) -> MlopsError:
    return UsageError(
        f"the machine refuses: {error.strerror}", where=str(error.filename or ""),
        remedy="Make room or mend the permissions there and start again: the run goes on.",
    )  # fmt: skip


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlops", description="Push ML code, get a model that meets its bar.",
        epilog="Example: mlops run model_repo/digits_cnn --target 0.9", allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"mlops {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, text in VERBS.items():
        one = verbs.add_parser(
            verb, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False, usage=_usage(verb),
            epilog="examples:\n" + "\n".join(f"  {line}" for line in EXAMPLES.get(verb, ())),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        _add_own(one, verb)
        # Start-up counts: only the verb that is asked for gets its options.
        if verb in words:
            settings = one.add_argument_group(
                "settings", "What is not given here comes from elsewhere: `mlops config`."
            )
            for setting in config.SETTINGS:
                _add(settings, setting)
    return parser


def _usage(verb: str) -> str:
    """The verb with what it is about; its options and forty settings are listed below it."""
    own = [how for names, how in OWN.get(verb, ()) if not names[0].startswith("-")]
    words = [f"[{how['metavar']}]" if how.get("nargs") == "?" else how.get("metavar", "ACTION") for how in own]
    project = "[PROJECT|RUN]" if verb in ("watch", "config") else "PROJECT|RUN"
    about = words or ([] if verb in WITHOUT_PROJECT else [project])
    return " ".join(["mlops", verb, *(2 * about if verb == "compare" else about), "[options]"])


def _add_own(one: argparse.ArgumentParser, verb: str) -> None:
    """What only this verb takes."""
    if verb not in WITHOUT_PROJECT:
        one.add_argument("project", nargs="?", metavar="PROJECT|RUN", help="folder, script, notebook or run directory")
    one.add_argument("--json", action="store_true", help="print one JSON record")
    for names, how in OWN.get(verb, ()):
        one.add_argument(*names, **how)


def _add(parser: argparse._ActionsContainer, setting: config.Setting) -> None:
    flag = "--" + setting.key.replace("_", "-")
    if setting.kind == "flag":
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=setting.help)
    elif setting.key == "mount":
        parser.add_argument(flag, action="append", metavar="SRC:DST", help=setting.help)
    else:
        default = "" if setting.default in ("", (), {}) else f" (default: {setting.default})"
        parser.add_argument(flag, metavar=setting.kind.upper(), help=f"{setting.help}{default}".replace("%", "%%"))


def _dispatch(given: dict[str, Any], *, as_json: bool) -> int:
    verb = given.pop("verb")
    merged = {**_parameters(), **{key: value for key, value in given.items() if value is not None}}
    project = merged.pop("project", None)
    options = {key: merged.pop(key) for key in list(merged) if key in OPTIONS}
    for key in PIPELINE:
        merged.pop(key, None)
    unknown = [key for key in merged if key not in config.KNOWN]
    if unknown:
        raise config.unknown(unknown[0], where="argument", also=PIPELINE)
    if verb not in WITHOUT_PROJECT | {"config", "watch"} and not project and not options.get("test"):
        raise UsageError("no project given", where=f"mlops {verb}", remedy=f"mlops {verb} PROJECT")
    return _HANDLERS[verb](project, merged, options, as_json)


def _parameters() -> dict[str, Any]:
    return {key.replace("-", "_"): value for key, value in config.parameters().items() if value not in (None, "")}


def failed(error: MlopsError, *, as_json: bool) -> int:
    """Say what went wrong; returns the exit code."""
    log = getattr(error, "log", "")
    if log:
        from mlops_lib.live import printable

        sys.stderr.write(printable(log).rstrip("\n") + "\n\n")
    sys.stderr.write(f"mlops: {error}\n")
    _WRONG.append(str(error))
    if as_json:
        fields = {"what": error.what, "where": error.where, "remedy": error.remedy}
        _print({"schema": 1, "exit": error.exit_code, "error": fields})
    return error.exit_code


def _bug(*, as_json: bool) -> int:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="mlops-bug-", suffix=".txt", delete=False) as stream:
        stream.write(traceback.format_exc())
    kind, value, _ = sys.exc_info()
    what = f"a bug of ours: {kind.__name__ if kind else ''}: {value}"
    sys.stderr.write(f"mlops: {what}\n  remedy: please report it with {stream.name}; the run is kept\n")
    _WRONG.append(what)
    if as_json:
        _print({"schema": 1, "exit": EXIT_BUG, "error": {"what": what, "where": stream.name, "remedy": "report it"}})
    return EXIT_BUG


def _print(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _detect(project: str, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from pathlib import Path

    from mlops_lib.detection import detect
    from mlops_lib.detection.command import told

    place = Path(project).expanduser()
    resolved = config.resolve(place if place.is_dir() else None, settings)
    found = detect(project, entry=resolved["entry"] or None)
    if as_json:
        _print(found.to_json())
        return 0
    sys.stdout.write(told(found.to_json()))
    return 0


def _job(project: str, settings: dict[str, Any], *, quiet: bool = False) -> Any:
    """A job whose run is stopped, and kept, when this program is asked to end."""
    from mlops_lib import live
    from mlops_lib.job import prepare

    stopped = _stopped_by_signal()
    return prepare(project, observer=live.observer(quiet=quiet), stopped=stopped, **settings)


def _stopped_by_signal() -> Any:
    from mlops_lib.training import Stop

    stopped = Stop()

    def end(number: int, frame: Any) -> None:
        _ASKED.append(number)
        stopped.ask()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    return stopped


_ASKED: list[int] = []
"""Signals that asked for the end."""


def _interrupted() -> int:
    return 128 + (_ASKED[0] if _ASKED else signal.SIGINT)


def _staged(call: Callable[[Any], Any]) -> Callable[[str, dict[str, Any], dict[str, Any], bool], int]:
    """A verb that works on a job and answers with a record."""

    def handler(project: str, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
        from mlops_lib import communication
        from mlops_lib.training import Interrupted

        job = _job(project, settings, quiet=bool(options.pop("quiet", False)))
        try:
            answer = call(job, **options)
        except Interrupted:
            job.observer.close()
            sys.stderr.write(f"mlops: stopped; the run is kept and goes on when started again: {job.run_dir}\n")
            if as_json:
                _print({"schema": 1, "stopped": True, "run_dir": str(job.run_dir)})
            return _interrupted()
        finally:
            job.observer.close()
        communication.flush(job)
        return _answer(answer, as_json=as_json)

    return handler


def _answer(answer: Any, *, as_json: bool) -> int:
    record = answer.to_json() if hasattr(answer, "to_json") else answer
    if as_json:
        _print(record)
    else:
        _show(record)
    verdict = record.get("verdict") if isinstance(record, dict) else None
    return {"rejected": EXIT_REJECTED, "undecided": EXIT_UNDECIDED}.get(str(verdict), 0)


def _show(record: Any) -> None:
    if isinstance(record, dict) and "verdict" in record:
        interval = record.get("interval")
        shown = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
        value = record.get("value")
        number = f"{value:.4g}{shown}" if isinstance(value, float) else "no number"
        sys.stdout.write(
            f"{record['verdict']}: {record.get('metric') or 'metric'} {number}, bar {record['target']:g}\n"
        )
        for reason in record.get("reasons") or ():
            sys.stdout.write(f"  {reason}\n")
    elif not isinstance(record, dict):
        sys.stdout.write(f"{record}\n")
        return
    for key in ("run_dir", "model", "report", "patch", "tag", "path", "state", "stopped", "winner", "score"):
        if record.get(key) is not None:
            sys.stdout.write(f"  {key:8} {record[key]}\n")


def _stage(name: str) -> Callable[..., Any]:
    def call(job: Any, **options: Any) -> Any:
        from mlops_lib import pipeline

        return getattr(pipeline, name)(job, **options)

    return call


def _build(job: Any, *, print_dockerfile: bool = False, with_code: bool = False) -> Any:
    from mlops_lib import images, pipeline
    from mlops_lib.engine import baking

    if print_dockerfile:
        return baking.dockerfile(job.spec) if with_code else images.shown(job.spec.image)
    return pipeline.build(job, with_code=with_code)


def _report(project: str, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    try:
        return _staged(_write_report)(project, settings, options, as_json)
    except MlopsError:
        if options.get("artifacts"):  # a build that failed before there was a run has a test report all the same
            from pathlib import Path

            from mlops_lib import artifacts

            artifacts.gather(None, Path(options["artifacts"]))
        raise


def _write_report(
    job: Any, *, artifacts: str = "", open: bool = False, markdown: bool = False, tensorboard: str = ""
) -> Any:
    from pathlib import Path

    from mlops_lib import communication, reporting

    if markdown:
        if not job.run_dir.is_dir():
            raise UsageError("there is no such run yet", where=str(job.run_dir), remedy="`mlops train` first.")
        return reporting.markdown(job.run_dir).rstrip("\n")
    page = communication.report(job, artifacts=artifacts)
    if tensorboard:
        reporting.tensorboard(job.run_dir, Path(tensorboard))
    if open:
        import webbrowser

        webbrowser.open(page.as_uri())
    return {"schema": 1, "report": str(page)}


def _judge(job: Any) -> Any:
    from mlops_lib import builds, pipeline

    verdict = pipeline.judge(job)
    return {**verdict.to_json(), **builds.about(verdict, job.spec, trials=job.settings["trials"])}


def _notified(project: str, settings: dict[str, Any]) -> list[Any]:
    from mlops_lib import builds, communication

    try:
        job = _job(project, settings)
    except MlopsError:
        if builds.broken() is None:
            raise
        return communication.notify_of_build(project, **settings)
    try:
        return communication.notify(job)
    finally:
        job.observer.close()


def _notify(project: str, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib import communication, notification

    deliveries = communication.try_channels(**settings) if options.get("test") else _notified(project, settings)
    if as_json:
        _print({"schema": 1, "deliveries": [one.to_json() for one in deliveries]})
    for one in deliveries if not as_json else ():
        again = " (may stand there twice)" if one.uncertain else ""
        sys.stdout.write(f"{one.channel:10} {one.state}{again}{': ' + one.reason if one.reason else ''}\n")
    try:
        notification.check(deliveries)
    except MlopsError as error:
        return failed(error, as_json=False)
    return 0


def _stop(job: Any) -> Any:
    from mlops_lib import pipeline

    return {"schema": 1, "stopped": pipeline.stop(job), "run_dir": str(job.run_dir)}


def _watch(project: str | None, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib import live, watchkeeping

    observer = live.watcher(as_json=as_json)
    until_done = bool(options.get("until_done"))
    stopped = _stopped_by_signal()
    try:
        result = watchkeeping.watch(project, until_done=until_done, observer=observer, stopped=stopped, **settings)
    finally:
        observer.close()
    if as_json:
        _print({
            "schema": 1, "run_dir": None if result is None else result.run_dir,
            "state": None if result is None else result.state, "restarts": None if result is None else result.restarts,
        })  # fmt: skip
    return _interrupted() if stopped.is_set() else 0


def _show_run(project: str, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib import rundir
    from mlops_lib.records import RunResult, Verdict

    job = _job(project, settings, quiet=True)
    if not as_json:
        sys.stdout.write(_described(job))
        return 0
    verdict = rundir.read_record(job.run_dir / "verdict.json", Verdict)
    result = rundir.read_record(job.run_dir / "training.json", RunResult)
    _print({
        "schema": 1, "run_dir": str(job.run_dir), "exists": job.run_dir.is_dir(), "spec": job.spec.to_json(),
        "state": None if result is None else result.state, "judged": None if verdict is None else verdict.to_json(),
    })  # fmt: skip
    return 0


def _described(job: Any) -> str:
    """A run for a person at a terminal."""
    from mlops_lib.live import printable
    from mlops_lib.reporting import story
    from mlops_lib.reporting.view import read_run

    if not job.run_dir.is_dir():
        return f"{job.spec.name}: no run yet; it would be {job.run_dir}\n"
    view = read_run(job.run_dir)
    rows = [*story.facts(view), *story.lineage(view), ("Run directory", str(job.run_dir))]
    if (job.run_dir / "report.html").is_file():
        rows.append(("Report", str(job.run_dir / "report.html")))
    lines = [f"{view.name}: {story.BADGES[view.state].lower()}", f"  {story.headline(view)}"]
    lines += [f"  {label:14} {value}" for label, value in rows]
    return printable("\n".join(lines)) + "\n"


def _runs(project: Any, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib import inspection

    state = options.get("state", "")
    if state and state not in inspection.STATES:
        raise UsageError(f"no state {state!r}", where="--state", remedy=f"Give one of {', '.join(inspection.STATES)}.")
    found = inspection.runs(config.resolve(None, settings).home, state=state, name=settings.get("name", ""))
    if as_json:
        _print({"schema": 1, "runs": [one.to_json() for one in found]})
    for one in found if not as_json else ():
        value = "-" if one.value is None else f"{one.value:.4g}"
        sys.stdout.write(f"{one.name:24} {one.state:10} {value:>8}  {one.run_dir}\n")
    return 0


def _compare(project: Any, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib import inspection
    from mlops_lib.live import printable

    places = [_job(place, settings, quiet=True).run_dir for place in options.get("runs", ())]
    for place in places:
        if not place.is_dir():
            raise UsageError("there is no such run yet", where=str(place), remedy="`mlops runs` lists those there are.")
    found = inspection.compare(*places)
    if as_json:
        _print(found.to_json())
        return 0
    width = min(48, max((len(row.first) for row in found.rows), default=0))
    for row in found.rows:
        sign = " " if row.same else "*"
        sys.stdout.write(
            printable(f"{sign} {row.what:16} {row.first:{width}}  {'' if row.same else row.second}") + "\n"
        )
    for line in found.layers:
        sys.stdout.write(printable(f"  {line}") + "\n")
    return 0


def _warned(event: dict[str, Any]) -> None:
    sys.stderr.write(f"mlops: {event.get('message', '')}\n")


def _registry(project: Any, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib import registry, tracking

    home, action, name = config.resolve(None, settings).home, options["action"], options.get("model", "")
    which = options.get("version", "")
    if action != "list" and not name:
        raise UsageError("no model named", where=f"mlops registry {action}", remedy=f"mlops registry {action} NAME")
    if action == "list":
        found = [
            v for one in ([name] if name else registry.names(home=home)) for v in registry.versions(one, home=home)
        ]
    elif action == "rollback":
        found = [registry.rollback(name, home=home)]
    elif action == "gc":
        found = registry.collect_garbage(name, home=home, keep=options.get("keep", 5))
    elif action == "alias" and not (which and options.get("alias")):
        raise UsageError(
            "a version and an alias are needed",
            where="mlops registry alias",
            remedy="mlops registry alias NAME VERSION ALIAS",
        )
    else:
        found = [registry.version(name, which or registry.CHAMPION, home=home)]
        alias = registry.CHAMPION if action == "champion" else options["alias"]
        if which:
            found = [registry.set_alias(name, alias, found[0].version, home=home)]
    if action in ("rollback", "champion", "alias"):
        tracking.try_to_log_aliases(name, home=home, observer=_warned)
    if as_json:
        _print({"schema": 1, "action": action, "versions": [one.to_json() for one in found]})
        return 0
    if action == "gc":
        sys.stdout.write(f"removed {len(found)} version(s)\n")
    for one in found:
        names = [alias for alias, number in registry.aliases(one.name, home=home).items() if number == one.version]
        value = "-" if one.value is None else f"{one.metric} {one.value:.4g}"
        sys.stdout.write(f"{one.name:24} {one.version:>4}  {value:20} {', '.join(names):20} {one.model}\n")
    return 0


def _replay(project: Any, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib import live, replaying

    observer = live.observer(quiet=False)
    try:
        found = replaying.replay(options["version"], observer=observer, **settings)
    finally:
        observer.close()
    if as_json:
        _print(found.to_json())
        return 0
    sys.stdout.write(f"{found.name} version {found.version}: {found.answer}\n")
    for line in found.notes:
        sys.stdout.write(f"  {line}\n")
    sys.stdout.write(f"  run_dir  {found.run_dir}\n")
    return 0


def _completion(project: Any, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib import completion

    flags = {
        verb: ["--json", *(name for names, _ in OWN.get(verb, ()) for name in names if name.startswith("--"))]
        for verb in VERBS
    }
    for verb in flags:
        flags[verb] += ["--" + setting.key.replace("_", "-") for setting in config.SETTINGS]
    words = {"registry": ACTIONS, "completion": completion.SHELLS}
    sys.stdout.write(completion.script(options["shell"], verbs=VERBS, flags=flags, words=words))
    return 0


def _images(project: Any, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib import inventory
    from mlops_lib.engine import choose

    resolved = config.resolve(None, settings)
    engine = choose(resolved["backend"], home=str(resolved.home))
    kept, gone = inventory.take(engine, home=resolved.home, prune=bool(options.get("prune")))
    if as_json:
        _print({"schema": 1, "images": [one.to_json() for one in kept], "removed": [one.to_json() for one in gone]})
        return 0
    for one, word in [*((one, "") for one in kept), *((one, "removed ") for one in gone)]:
        sys.stdout.write(word + inventory.described(one) + "\n")
    return 0


def _config(project: str | None, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from pathlib import Path

    place = Path(project).expanduser() if project else None
    resolved = config.resolve(place if place is not None and place.is_dir() else None, settings)
    secrets = {name: "set (hidden)" if os.environ.get(name) else "not set" for name in config.SECRETS}
    if as_json:
        table = {key: {"value": value.value, "origin": value.origin} for key, value in resolved.values.items()}
        _print({"schema": 1, "settings": table, "secrets": secrets})
        return 0
    for setting in config.SETTINGS:
        value = resolved.values[setting.key]
        sys.stdout.write(f"{setting.key:15} {value.value!r:28} {value.origin:14} {setting.help}\n")
    for name, state in secrets.items():
        sys.stdout.write(f"{name:30} {state}\n")
    return 0


def _doctor(project: Any, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib import doctor

    findings = doctor.checks(home=config.resolve(None, settings).home)
    if as_json:
        _print({"schema": 1, "findings": [finding.to_json() for finding in findings]})
        return 0
    for finding in findings:
        sys.stdout.write(f"{finding.status:8} {finding.name}: {finding.finding}\n")
        if finding.remedy:
            sys.stdout.write(f"         remedy: {finding.remedy}\n")
    return 0


def _init(project: str, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from pathlib import Path

    folder = Path(project).expanduser()
    if not folder.is_dir():
        raise UsageError("no such folder", where=project, remedy="Give the folder of a project.")
    rows = [s for s in config.SETTINGS if not s.operator]
    toml = "# Settings of mlops for this project; `mlops config` shows all of them.\n\n" + "".join(
        f"# {s.help}\n# {s.key} = {json.dumps(list(s.default) if isinstance(s.default, tuple) else s.default)}\n\n"
        for s in rows
    )
    wanted = {folder / "Jenkinsfile": "@Library('mlops') _\n\nmlopsPipeline()\n", folder / "mlops.toml": toml}
    there = [path for path in wanted if path.exists()]
    if there:
        raise UsageError("it exists and is not overwritten", where=str(there[0]), remedy="Remove or rename it first.")
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    if as_json:
        _print({"schema": 1, "written": [str(path) for path in wanted]})
    else:
        sys.stdout.write("".join(f"wrote {path}\n" for path in wanted))
    return 0


_HANDLERS: dict[str, Callable[..., int]] = {
    "detect": _detect, "images": _images, "runs": _runs, "compare": _compare, "registry": _registry, "replay": _replay,
    "completion": _completion, "show": _show_run, "config": _config, "doctor": _doctor, "init": _init,
    "build": _staged(_build), "report": _report, "judge": _staged(_judge), "notify": _notify, "stop": _staged(_stop),
    "watch": _watch,
    **{name: _staged(_stage(name)) for name in ("run", "train", "search", "work", "register")},
}  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
