"""The verbs about runs, models, environments, settings and this machine."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lib import config
from mlops_lib.cli.answers import (
    interrupted_exit_code,
    open_job,
    print_json,
    say,
    say_line,
    stop_on_signal,
)
from mlops_lib.errors import UsageError
from mlops_lib.formatting import one_line
from mlops_lib.runner import protocol

if TYPE_CHECKING:
    from mlops_lib.cli.command import Command, Handler, Options
    from mlops_lib.pipeline.job import Job
    from mlops_lib.records import ModelVersion


def _show_run(command: Command) -> int:
    from mlops_lib.pipeline import origin

    with open_job(command.project, command.settings, quiet=True) as job:
        pass  # only what the job knows is shown
    if not command.as_json:
        say(_describe(job))
        return 0
    files = origin.read(job.run_dir)
    verdict = job.directory.verdict
    result = job.directory.training
    print_json(
        {
            "schema": 1,
            "run_dir": str(job.run_dir),
            "exists": job.run_dir.is_dir(),
            "spec": job.spec.to_json(),
            "state": None if result is None else result.state,
            "judged": None if verdict is None else verdict.to_json(),
            "new_because": list(origin.changes(job.run_dir, home=job.home)),
            "left_out": [] if files is None else list(files.left_out),
        }
    )
    return 0


def _describe(job: Job) -> str:
    """Return the description of a run for a person at a terminal."""
    from mlops_lib.pipeline import origin
    from mlops_lib.reporting import sentences
    from mlops_lib.reporting.view import read_run

    if not job.run_dir.is_dir():
        return f"{job.spec.name}: no run yet; it would be {job.run_dir}\n"
    view = read_run(job.run_dir)
    changes = origin.changes(job.run_dir, home=job.home)
    rows = [*sentences.facts(view), *sentences.lineage(view), ("Run directory", str(job.run_dir))]
    if (job.run_dir / protocol.REPORT).is_file():
        rows.append(("Report", str(job.run_dir / protocol.REPORT)))
    lines = [
        f"{view.name}: {sentences.BADGES[view.state].lower()}",
        f"  {sentences.headline(view)}",
    ]
    lines += [f"  {label:14} {value}" for label, value in rows]
    labels = ["New because", *[""] * len(changes)]
    lines += [f"  {label:14} {change}" for label, change in zip(labels, changes, strict=False)]
    return "\n".join(map(one_line, lines)) + "\n"


def _runs(command: Command) -> int:
    from mlops_lib.pipeline import runs

    state = command.options.get("state", "")
    if state and state not in runs.STATES:
        raise UsageError(
            f"no state {state!r}", where="--state", remedy=f"Give one of {', '.join(runs.STATES)}."
        )
    home = config.resolve(None, command.settings).home
    rows = runs.runs(home, state=state, name=command.settings.get("name", ""))
    if command.as_json:
        print_json({"schema": 1, "runs": [row.to_json() for row in rows]})
        return 0
    for row in rows:
        value = "-" if row.value is None else f"{row.value:.4g}"
        say_line(f"{row.name:24} {row.state:10} {value:>8}  {row.run_dir}")
    return 0


def _compare(command: Command) -> int:
    from mlops_lib.pipeline import runs

    places = []
    for project in command.options.get("runs", ()):
        with open_job(project, command.settings, quiet=True) as job:
            places.append(job.run_dir)
    for place in places:
        if not place.is_dir():
            raise UsageError(
                "there is no such run yet",
                where=str(place),
                remedy="`mlops runs` lists the existing ones.",
            )
    comparison = runs.compare(*places)
    if command.as_json:
        print_json(comparison.to_json())
        return 0
    width = min(48, max((len(row.first) for row in comparison.rows), default=0))
    for row in comparison.rows:
        sign = " " if row.same else "*"
        say_line(f"{sign} {row.what:16} {row.first:{width}}  {'' if row.same else row.second}")
    for line in comparison.layers:
        say_line(f"  {line}")
    return 0


def _print_warning(event: dict[str, Any]) -> None:
    sys.stderr.write(f"mlops: {one_line(str(event.get('message', '')))}\n")


def _registry(command: Command) -> int:
    from mlops_lib.registry import mlflow as mlflow_registry

    home = config.resolve(None, command.settings).home
    action = command.options["action"]
    name = command.options.get("model", "")
    if action != "list" and not name:
        raise UsageError(
            "no model named",
            where=f"mlops registry {action}",
            remedy=f"mlops registry {action} NAME",
        )
    versions = _act_on_registry(action, name, command.options, home=home)
    if action in ("rollback", "champion", "alias"):
        mlflow_registry.try_to_log_aliases(name, home=home, observer=_print_warning)
    if command.as_json:
        records = [version.to_json() for version in versions]
        print_json({"schema": 1, "action": action, "versions": records})
        return 0
    if action == "gc":
        say_line(f"removed {len(versions)} version(s)")
    for version in versions:
        _show_version(version, home=home)
    return 0


def _act_on_registry(action: str, name: str, options: Options, *, home: Path) -> list[ModelVersion]:
    """Execute an action of `mlops registry`; return the versions that it is about."""
    from mlops_lib.registry import model_store

    if action == "list":
        names = [name] if name else model_store.names(home=home)
        return [version for name in names for version in model_store.versions(name, home=home)]
    if action == "rollback":
        return [model_store.rollback(name, home=home)]
    if action == "gc":
        return model_store.collect_garbage(name, home=home, keep=options.get("keep", 5))
    reference = options.get("version", "")
    if action == "alias" and not (reference and options.get("alias")):
        raise UsageError(
            "a version and an alias are needed",
            where="mlops registry alias",
            remedy="mlops registry alias NAME VERSION ALIAS",
        )
    version = model_store.version(name, reference or model_store.CHAMPION, home=home)
    if not reference:
        return [version]
    alias = model_store.CHAMPION if action == "champion" else options["alias"]
    return [model_store.set_alias(name, alias, version.version, home=home)]


def _show_version(version: ModelVersion, *, home: Path) -> None:
    from mlops_lib.registry import model_store

    numbers = model_store.aliases(version.name, home=home)
    aliases = ", ".join(alias for alias, number in numbers.items() if number == version.version)
    value = "-" if version.value is None else f"{version.metric} {version.value:.4g}"
    say_line(f"{version.name:24} {version.version:>4}  {value:20} {aliases:20} {version.model}")


def _replay(command: Command) -> int:
    from mlops_lib.display import terminal
    from mlops_lib.pipeline import replay

    with contextlib.closing(terminal.observer(quiet=False)) as view:
        result = replay.replay(command.options["version"], observer=view, **command.settings)
    if command.as_json:
        print_json(result.to_json())
        return 0
    say_line(f"{result.name} version {result.version}: {result.answer}")
    for note in result.notes:
        say_line(f"  {note}")
    say_line(f"  run_dir  {result.run_dir}")
    return 0


def _completion(command: Command) -> int:
    from mlops_lib.cli import completion

    sys.stdout.write(completion.script(command.options["shell"]))
    return 0


def _images(command: Command) -> int:
    from mlops_lib.engine import choose
    from mlops_lib.provisioning import cache

    resolved = config.resolve(None, command.settings)
    engine = choose(resolved["backend"], home=str(resolved.home))
    prune = bool(command.options.get("prune"))
    remaining, removed = cache.list_and_prune(engine, home=resolved.home, prune=prune)
    if command.as_json:
        print_json(
            {
                "schema": 1,
                "images": [image.to_json() for image in remaining],
                "removed": [image.to_json() for image in removed],
            }
        )
        return 0
    for image in remaining:
        say_line(cache.describe(image))
    for image in removed:
        say_line(f"removed {cache.describe(image)}")
    return 0


def _config(command: Command) -> int:
    place = Path(command.project).expanduser() if command.project else None
    has_folder = place is not None and place.is_dir()
    resolved = config.resolve(place if has_folder else None, command.settings)
    secrets = {
        name: "set (hidden)" if os.environ.get(name) else "not set" for name in config.SECRETS
    }
    if command.as_json:
        table = {
            key: {"value": value.value, "origin": value.origin}
            for key, value in resolved.values.items()
        }
        print_json({"schema": 1, "settings": table, "secrets": secrets})
        return 0
    for setting in config.SETTINGS:
        value = resolved.values[setting.key]
        say_line(f"{setting.key:15} {value.value!r:28} {value.origin:14} {setting.help}")
    for name, state in secrets.items():
        say_line(f"{name:30} {state}")
    return 0


def _cluster(command: Command) -> int:
    from mlops_lib.tuning import ray_node

    cluster = ray_node.new_cluster()
    if command.as_json:
        print_json({"schema": 1, **cluster})
    else:
        say(
            f"address {cluster['address']}\ntoken   {cluster['token']}\n"
            "Give both to `mlops search --on head://ADDRESS` here and `mlops work --on ADDRESS`"
            " elsewhere, the token as RAY_AUTH_TOKEN.\n"
        )
    return 0


def _work(command: Command) -> int:
    from mlops_lib.tuning import ray_node

    on = config.resolve(None, command.settings)["on"]
    stopped = stop_on_signal()
    with contextlib.suppress(KeyboardInterrupt):
        ray_node.join(on, stopped=stopped)
    if command.as_json:
        print_json({"schema": 1, "on": on, "state": "stopped" if stopped.is_set() else "over"})
    else:
        say_line("stopped" if stopped.is_set() else "the search is over")
    return interrupted_exit_code() if stopped.is_set() else 0


def _doctor(command: Command) -> int:
    from mlops_lib.cli import doctor_checks

    findings = doctor_checks.checks(home=config.resolve(None, command.settings).home)
    if command.as_json:
        print_json({"schema": 1, "findings": [finding.to_json() for finding in findings]})
        return 0
    for finding in findings:
        say_line(f"{finding.status:8} {finding.name}: {finding.finding}")
        if finding.remedy:
            say_line(f"         remedy: {finding.remedy}")
    return 0


def _init(command: Command) -> int:
    from mlops_lib.project import files, places

    folder = Path(command.project).expanduser()
    if not folder.is_dir():
        raise UsageError(
            "no such folder", where=command.project, remedy="Give the folder of a project."
        )
    files.require_in_checkout(folder)
    contents = {
        folder / "Jenkinsfile": "@Library('mlops') _\n\nmlopsPipeline()\n",
        folder / "mlops.toml": _settings_template(),
    }
    existing = [path for path in contents if os.path.lexists(path)]
    if existing:
        raise UsageError(
            "it exists and is not overwritten",
            where=str(existing[0]),
            remedy="Remove or rename it first.",
        )
    for path, text in contents.items():
        places.create(path.name, text.encode(), root=folder)
    if command.as_json:
        print_json({"schema": 1, "written": [str(path) for path in contents]})
    else:
        say("".join(f"wrote {one_line(str(path))}\n" for path in contents))
    return 0


def _settings_template() -> str:
    """Return an mlops.toml with every setting of a project, commented out."""
    lines = ["# Settings of mlops for this project; `mlops config` shows all of them.\n\n"]
    for setting in config.SETTINGS:
        if not setting.operator:
            default = setting.default
            value = json.dumps(list(default) if isinstance(default, tuple) else default)
            lines.append(f"# {setting.help}\n# {setting.key} = {value}\n\n")
    return "".join(lines)


HANDLERS: dict[str, Handler] = {
    "cluster": _cluster,
    "work": _work,
    "images": _images,
    "runs": _runs,
    "compare": _compare,
    "registry": _registry,
    "replay": _replay,
    "completion": _completion,
    "show": _show_run,
    "config": _config,
    "doctor": _doctor,
    "init": _init,
}
