"""The verbs that show or change what is kept: runs, models, environments, settings."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from mlops_lib import config
from mlops_lib.cli.answers import made_ready, print_json, say, say_line
from mlops_lib.cli.verbs import ACTIONS, OWN, VERBS
from mlops_lib.errors import UsageError
from mlops_lib.formatting import one_line
from mlops_lib.runner import protocol


def _show_run(
    project: str, settings: dict[str, Any], options: dict[str, Any], as_json: bool
) -> int:
    from mlops_lib import run_directory
    from mlops_lib.pipeline import origin
    from mlops_lib.records import RunResult, Verdict

    job = made_ready(project, settings, quiet=True)
    if not as_json:
        say(_described(job))
        return 0
    verdict = run_directory.read_record(job.run_dir / protocol.VERDICT, Verdict)
    result = run_directory.read_record(job.run_dir / protocol.TRAINING, RunResult)
    print_json(
        {
            "schema": 1,
            "run_dir": str(job.run_dir),
            "exists": job.run_dir.is_dir(),
            "spec": job.spec.to_json(),
            "state": None if result is None else result.state,
            "judged": None if verdict is None else verdict.to_json(),
            "new_because": list(origin.changes(job.run_dir, home=job.home)),
            "left_out": [] if (kept := origin.read(job.run_dir)) is None else list(kept.left_out),
        }
    )
    return 0


def _described(job: Any) -> str:
    """A run for a person at a terminal."""
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
    lines += [
        f"  {'New because' if number == 0 else '':14} {one}" for number, one in enumerate(changes)
    ]
    return "\n".join(map(one_line, lines)) + "\n"


def _runs(project: Any, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib.pipeline import runs

    state = options.get("state", "")
    if state and state not in runs.STATES:
        raise UsageError(
            f"no state {state!r}", where="--state", remedy=f"Give one of {', '.join(runs.STATES)}."
        )
    found = runs.runs(
        config.resolve(None, settings).home, state=state, name=settings.get("name", "")
    )
    if as_json:
        print_json({"schema": 1, "runs": [one.to_json() for one in found]})
    for one in found if not as_json else ():
        value = "-" if one.value is None else f"{one.value:.4g}"
        say_line(f"{one.name:24} {one.state:10} {value:>8}  {one.run_dir}")
    return 0


def _compare(project: Any, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib.pipeline import runs

    places = [made_ready(place, settings, quiet=True).run_dir for place in options.get("runs", ())]
    for place in places:
        if not place.is_dir():
            raise UsageError(
                "there is no such run yet",
                where=str(place),
                remedy="`mlops runs` lists those there are.",
            )
    found = runs.compare(*places)
    if as_json:
        print_json(found.to_json())
        return 0
    width = min(48, max((len(row.first) for row in found.rows), default=0))
    for row in found.rows:
        sign = " " if row.same else "*"
        say_line(f"{sign} {row.what:16} {row.first:{width}}  {'' if row.same else row.second}")
    for line in found.layers:
        say_line(f"  {line}")
    return 0


def _warned(event: dict[str, Any]) -> None:
    sys.stderr.write(f"mlops: {one_line(str(event.get('message', '')))}\n")


def _registry(
    project: Any, settings: dict[str, Any], options: dict[str, Any], as_json: bool
) -> int:
    from mlops_lib.registry import mlflow as mlflow_registry
    from mlops_lib.registry import model_store

    home = config.resolve(None, settings).home
    action = options["action"]
    name = options.get("model", "")
    which = options.get("version", "")
    if action != "list" and not name:
        raise UsageError(
            "no model named",
            where=f"mlops registry {action}",
            remedy=f"mlops registry {action} NAME",
        )
    if action == "list":
        found = [
            v
            for one in ([name] if name else model_store.names(home=home))
            for v in model_store.versions(one, home=home)
        ]
    elif action == "rollback":
        found = [model_store.rollback(name, home=home)]
    elif action == "gc":
        found = model_store.collect_garbage(name, home=home, keep=options.get("keep", 5))
    elif action == "alias" and not (which and options.get("alias")):
        raise UsageError(
            "a version and an alias are needed",
            where="mlops registry alias",
            remedy="mlops registry alias NAME VERSION ALIAS",
        )
    else:
        found = [model_store.version(name, which or model_store.CHAMPION, home=home)]
        alias = model_store.CHAMPION if action == "champion" else options["alias"]
        if which:
            found = [model_store.set_alias(name, alias, found[0].version, home=home)]
    if action in ("rollback", "champion", "alias"):
        mlflow_registry.try_to_log_aliases(name, home=home, observer=_warned)
    if as_json:
        print_json({"schema": 1, "action": action, "versions": [one.to_json() for one in found]})
        return 0
    if action == "gc":
        say_line(f"removed {len(found)} version(s)")
    for one in found:
        names = [
            alias
            for alias, number in model_store.aliases(one.name, home=home).items()
            if number == one.version
        ]
        value = "-" if one.value is None else f"{one.metric} {one.value:.4g}"
        say_line(f"{one.name:24} {one.version:>4}  {value:20} {', '.join(names):20} {one.model}")
    return 0


def _replay(project: Any, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib.display import terminal
    from mlops_lib.pipeline import replay

    observer = terminal.observer(quiet=False)
    try:
        found = replay.replay(options["version"], observer=observer, **settings)
    finally:
        observer.close()
    if as_json:
        print_json(found.to_json())
        return 0
    say_line(f"{found.name} version {found.version}: {found.answer}")
    for line in found.notes:
        say_line(f"  {line}")
    say_line(f"  run_dir  {found.run_dir}")
    return 0


def _completion(
    project: Any, settings: dict[str, Any], options: dict[str, Any], as_json: bool
) -> int:
    from mlops_lib.cli import completion

    flags = {
        verb: [
            "--json",
            *(name for names, _ in OWN.get(verb, ()) for name in names if name.startswith("--")),
        ]
        for verb in VERBS
    }
    for verb in flags:
        flags[verb] += ["--" + setting.key.replace("_", "-") for setting in config.SETTINGS]
    words = {"registry": ACTIONS, "completion": completion.SHELLS}
    sys.stdout.write(completion.script(options["shell"], verbs=VERBS, flags=flags, words=words))
    return 0


def _images(project: Any, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib.engine import choose
    from mlops_lib.provisioning import cache

    resolved = config.resolve(None, settings)
    engine = choose(resolved["backend"], home=str(resolved.home))
    kept, gone = cache.take(engine, home=resolved.home, prune=bool(options.get("prune")))
    if as_json:
        print_json(
            {
                "schema": 1,
                "images": [one.to_json() for one in kept],
                "removed": [one.to_json() for one in gone],
            }
        )
        return 0
    for one, word in [*((one, "") for one in kept), *((one, "removed ") for one in gone)]:
        say_line(word + cache.described(one))
    return 0


def _config(
    project: str | None, settings: dict[str, Any], options: dict[str, Any], as_json: bool
) -> int:
    from pathlib import Path

    place = Path(project).expanduser() if project else None
    resolved = config.resolve(place if place is not None and place.is_dir() else None, settings)
    secrets = {
        name: "set (hidden)" if os.environ.get(name) else "not set" for name in config.SECRETS
    }
    if as_json:
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


def _doctor(project: Any, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from mlops_lib.cli import doctor_checks

    findings = doctor_checks.checks(home=config.resolve(None, settings).home)
    if as_json:
        print_json({"schema": 1, "findings": [finding.to_json() for finding in findings]})
        return 0
    for finding in findings:
        say_line(f"{finding.status:8} {finding.name}: {finding.finding}")
        if finding.remedy:
            say_line(f"         remedy: {finding.remedy}")
    return 0


def _init(project: str, settings: dict[str, Any], options: dict[str, Any], as_json: bool) -> int:
    from pathlib import Path

    from mlops_lib.project import files, places

    folder = Path(project).expanduser()
    if not folder.is_dir():
        raise UsageError("no such folder", where=project, remedy="Give the folder of a project.")
    files.require_in_checkout(folder)
    rows = [s for s in config.SETTINGS if not s.operator]
    toml = "# Settings of mlops for this project; `mlops config` shows all of them.\n\n" + "".join(
        f"# {s.help}\n# {s.key} = {json.dumps(list(s.default) if isinstance(s.default, tuple) else s.default)}\n\n"
        for s in rows
    )
    wanted = {
        folder / "Jenkinsfile": "@Library('mlops') _\n\nmlopsPipeline()\n",
        folder / "mlops.toml": toml,
    }
    there = [path for path in wanted if os.path.lexists(path)]
    if there:
        raise UsageError(
            "it exists and is not overwritten",
            where=str(there[0]),
            remedy="Remove or rename it first.",
        )
    for path, text in wanted.items():
        places.create(path.name, text.encode(), root=folder)
    if as_json:
        print_json({"schema": 1, "written": [str(path) for path in wanted]})
    else:
        say("".join(f"wrote {one_line(str(path))}\n" for path in wanted))
    return 0


HANDLERS: dict[str, Callable[..., int]] = {
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
