"""Settings: their declaration, the origin of each value, and who may set it.

Order: argument, `MLOPS_*` variable, the operator's file (`MLOPS_CONFIG`, default
`~/.config/mlops/mlops.toml`), the project's `mlops.toml` (or `[tool.mlops]` in its pyproject.toml),
default. The project being trained is a stranger (a pull request can change its mlops.toml): a value
that could loosen the cage is refused there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlops_lib.errors import RefusedFileError, UsageError
from mlops_lib.project import files, toml, trust

Kind = Literal["text", "number", "integer", "flag", "list", "bytes", "table"]


@dataclass(frozen=True)
class Setting:
    """The declaration of one setting."""

    key: str
    kind: Kind
    default: Any
    help: str
    operator: bool = False
    """Whether only the operator may set it; it is refused from the project's own files."""
    choices: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return "MLOPS_" + self.key.upper()


SETTINGS = (
    Setting("entry", "text", "", "the script or notebook that trains, relative to the project"),
    Setting(
        "name",
        "text",
        "",
        "the model's name in the registry; the project folder's name unless given",
        True,
    ),
    Setting("args", "list", (), "arguments for the script"),
    Setting("input", "list", (), "answers for the script's input() calls, in order"),
    Setting("target", "number", 0.8, "the bar: the value the metric must reach"),
    Setting(
        "metric",
        "text",
        "",
        "the metric the bar is about; found in the script's own evaluation unless given",
    ),
    Setting(
        "mode", "text", "auto", "whether the metric should grow", choices=("auto", "max", "min")
    ),
    Setting(
        "strict", "flag", False, "ask the interval's lower end, not the point, to reach the bar"
    ),
    Setting(
        "beats", "text", "", "also ask the model to be better than this", choices=("", "champion")
    ),
    Setting(
        "metric_pattern",
        "text",
        "",
        "regular expression with one group: the number in what the script prints",
    ),
    Setting("metrics_file", "text", "", "file the script writes its number or numbers (JSON) to"),
    Setting("trials", "integer", 12, "search budget: trials; 0 means no search"),
    Setting("minutes", "number", 30.0, "search budget: minutes of training"),
    Setting(
        "workers",
        "integer",
        1,
        "containers or processes that a search tries its candidates in at once",
        True,
    ),
    Setting(
        "on",
        "text",
        "",
        "Ray cluster that the workers are on: ray://HOST:PORT, HOST:PORT, or auto",
        operator=True,
    ),
    Setting(
        "search",
        "table",
        {},
        "what the search may change: edits, without (kinds of edits), epochs, parameters (at most)",
    ),
    Setting(
        "past_searches",
        "flag",
        True,
        "whether what helped earlier searches of this home decides which trials come first",
    ),
    Setting(
        "retrain",
        "integer",
        5,
        "times a script that takes its tweak as an argument is trained with further values",
    ),
    Setting(
        "steps",
        "flag",
        True,
        "whether dvc.yaml, MLproject, Makefile and CI files say what runs around the entry, and how",
    ),
    Setting("seed", "integer", 1, "seed of everything random that the script does not seed itself"),
    Setting(
        "seeds",
        "integer",
        1,
        "trainings with as many seeds: their mean is judged, the first one's file is kept",
    ),
    Setting(
        "restarts",
        "integer",
        5,
        "restarts of a broken training before giving up; refills with progress",
    ),
    Setting(
        "idle_minutes",
        "number",
        120.0,
        "how long a script may do nothing at all where it makes no steps",
    ),
    Setting(
        "backend",
        "text",
        "auto",
        "where trainings run",
        operator=True,
        choices=("auto", "docker", "process"),
    ),
    Setting(
        "run_dir", "text", "", "the run's own directory; under home unless given", operator=True
    ),
    Setting(
        "home",
        "text",
        "~/.mlops",
        "folder of runs, registry, environments and caches",
        operator=True,
    ),
    Setting("mount", "list", (), "read-only data for the script, as SOURCE:TARGET", operator=True),
    Setting(
        "memory", "bytes", 0, "memory limit of a training, such as 4g; 0 for none", operator=True
    ),
    Setting("cpus", "number", 0.0, "processor limit of a training; 0 for none", operator=True),
    Setting("pids", "integer", 4096, "process limit of a training", operator=True),
    Setting(
        "network",
        "text",
        "isolated",
        "network of a training: isolated, none, or one of the engine's",
        operator=True,
    ),
    Setting(
        "trust",
        "text",
        trust.BRANCH,
        "who pushed: branch, or the name of a change (a pull request)",
        operator=True,
    ),
    Setting(
        "gpus",
        "text",
        "auto",
        "whether trainings get the GPUs there are",
        True,
        ("auto", "none", "all"),
    ),
    Setting(
        "base_image",
        "text",
        "python:3.11-slim",
        "the image that environments are built on",
        operator=True,
    ),
    Setting(
        "torch_index",
        "text",
        "",
        "index of PyTorch's own builds (cpu, cuXXX), such as a mirror of its /whl",
        operator=True,
    ),
    Setting(
        "notify",
        "text",
        "change",
        "when notifications are sent",
        True,
        ("change", "always", "never"),
    ),
    Setting("mail_to", "list", (), "who gets mail", operator=True),
    Setting("mail_author", "list", (), "domains whose commit authors get mail too", operator=True),
    Setting(
        "slack_channel", "text", "", "id of the Slack channel that the bot writes to", operator=True
    ),
    Setting("slack_url", "text", "https://slack.com/api", "Slack's web API", operator=True),
    Setting("mail_from", "text", "", "the sender of mail", operator=True),
    Setting(
        "link_url", "text", "", "page of the build that runs this, for notifications", operator=True
    ),
)
"""Every setting. Secrets are not among them; they are read from the environment on use."""

KNOWN = {setting.key: setting for setting in SETTINGS}
SECRETS = (
    "MLOPS_SLACK_TOKEN",
    "MLOPS_SLACK_WEBHOOK",
    "MLOPS_SMTP_URL",
    "MLOPS_WEBHOOK_URL",
    "MLOPS_WEBHOOK_SECRET",
    "MLOPS_APPRISE_URLS",
)
PROJECT_LIMIT = 256_000
"""Bytes of a project's settings file."""
NEARLY = 0.85
"""Similarity from which on an unknown `MLOPS_*` variable is considered a misspelt setting. Any
other may belong to another program.
"""


@dataclass(frozen=True)
class Value:
    """A setting's value and its origin."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Settings:
    """All settings of one command, resolved."""

    values: Mapping[str, Value]

    def __getitem__(self, key: str) -> Any:
        return self.values[key].value

    @property
    def home(self) -> Path:
        """Folder of mlops' own files."""
        return Path(self["home"]).expanduser().absolute()

    def plain(self) -> dict[str, Any]:
        """Return all values by key."""
        return {key: value.value for key, value in self.values.items()}

    def chosen(self) -> dict[str, Any]:
        """Return the values that were set, by key; defaults are left out.

        Given as arguments, they resolve to these settings again.
        """
        return {key: value.value for key, value in self.values.items() if value.origin != "default"}


def resolve(
    project: Path | None = None,
    given: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Return every setting's value with its origin."""
    values = {setting.key: Value(setting.default, "default") for setting in SETTINGS}
    if project is not None:
        files.require_in_checkout(project)
        for path, table in _project_tables(project):
            _take(values, table, where=str(path), from_project=True)
    operator = Path(environ.get("MLOPS_CONFIG") or "~/.config/mlops/mlops.toml").expanduser()
    if operator.is_file():
        _take(values, _read_toml(operator), where=str(operator))
    elif environ.get("MLOPS_CONFIG"):
        raise UsageError(
            "no such file", where=f"MLOPS_CONFIG={operator}", remedy="Fix or unset MLOPS_CONFIG."
        )
    _refuse_slips(environ)
    for setting in SETTINGS:
        if environ.get(setting.variable):
            value = _convert(setting, environ[setting.variable], where=setting.variable)
            values[setting.key] = Value(value, setting.variable)
    if not values["link_url"].value and environ.get("BUILD_URL"):
        values["link_url"] = Value(environ["BUILD_URL"], "BUILD_URL")
    level, variable = trust.level_of(environ)
    if variable and values["trust"].origin != "MLOPS_TRUST":
        values["trust"] = Value(level, variable)
    arguments = {key: value for key, value in (given or {}).items() if value is not None}
    _take(values, arguments, where="argument")
    if not trust.is_level(values["trust"].value):
        raise UsageError(
            f"trust is {values['trust'].value!r}",
            where=values["trust"].origin,
            remedy="Give branch, or the name of a change: letters, digits, dots and dashes.",
        )
    return Settings(values)


def parameters(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the settings in `MLOPS_PARAMS`, a JSON object, which rank as arguments.

    Jenkins passes its parameters this way.

    Raises:
        UsageError: it is no JSON object.
    """
    text = environ.get("MLOPS_PARAMS", "").strip()
    if not text:
        return {}
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"not JSON: {error}", where="MLOPS_PARAMS", remedy="Give a JSON object of settings."
        ) from None
    if not isinstance(parsed, dict):
        raise UsageError(
            "not a JSON object", where="MLOPS_PARAMS", remedy="Give a JSON object of settings."
        )
    return {str(key): value for key, value in parsed.items()}


def _project_tables(project: Path) -> list[tuple[Path, dict[str, Any]]]:
    own = _pushed_toml(project, "mlops.toml")
    if own is not None:
        return [(project / "mlops.toml", own)]
    tools = (_pushed_toml(project, "pyproject.toml") or {}).get("tool")
    table = tools.get("mlops") if isinstance(tools, dict) else None
    return [(project / "pyproject.toml", table)] if isinstance(table, dict) else []


def _pushed_toml(project: Path, name: str) -> dict[str, Any] | None:
    """Return a TOML file of the project, or None if it has none."""
    try:
        content = files.read(name, root=project, limit=PROJECT_LIMIT)
    except RefusedFileError as refused:
        if refused.reason == "missing" and not (project / name).is_symlink():
            return None
        raise UsageError(refused.what, where=str(project / name), remedy=refused.remedy) from None
    return _parsed(content, path=project / name)


def _read_toml(path: Path) -> dict[str, Any]:
    """Return the operator's own TOML file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot be read: {error.strerror}", where=str(path), remedy="Fix the file permissions."
        ) from None
    return _parsed(content, path=path)


def _parsed(content: bytes, *, path: Path) -> dict[str, Any]:
    try:
        return toml.parse(content.decode("utf-8"))
    except ValueError as error:  # not TOML, or not UTF-8
        raise UsageError(f"not TOML: {error}", where=str(path), remedy="Fix the file.") from None


def _take(
    values: dict[str, Value], table: Mapping[str, Any], *, where: str, from_project: bool = False
) -> None:
    for key, value in table.items():
        setting = KNOWN.get(key)
        if setting is None:
            raise unknown(key, where=_line(where, key))
        if from_project and setting.operator:
            raise UsageError(
                f"{key!r} may not be set by the project that is trained",
                where=_line(where, key),
                remedy=f"Give it as an argument, as {setting.variable} or in the operator's file (MLOPS_CONFIG).",
            )
        values[key] = Value(_convert(setting, value, where=_line(where, key)), where)


def _refuse_slips(environ: Mapping[str, str]) -> None:
    """Refuse a misspelt variable, which would otherwise be silently without effect."""
    import difflib

    ours = (
        {setting.variable for setting in SETTINGS} | set(SECRETS) | {"MLOPS_CONFIG", "MLOPS_PARAMS"}
    )
    for name in environ:
        if name == "MLOPS_LISTEN":  # MLOPS_SHARED means something else in a worker's container
            raise unknown("listen", where=name)
        if name.startswith("MLOPS_") and name not in ours:
            close = difflib.get_close_matches(name, ours, n=1, cutoff=NEARLY)
            if close:
                raise UsageError(
                    "unknown variable", where=name, remedy=f"Did you mean {close[0]}? Or unset it."
                )


def _line(where: str, key: str) -> str:
    """Return `file:line` of a key; the place itself if it is not a file."""
    path = Path(where)
    try:
        lines = files.read_text(path.name, root=path.parent).splitlines()
    except RefusedFileError:
        return where
    number = next(
        (i for i, line in enumerate(lines, 1) if line.split("=")[0].strip().strip("\"'") == key), 0
    )
    return f"{where}:{number}" if number else where


REMOVED = dict.fromkeys(
    ("listen", "shared"),
    "Workers on other machines are a Ray cluster's now: give `on` (docs/scale.md).",
)
"""Former settings, with the remedy for those who still give them."""


def unknown(key: str, *, where: str, also: Iterable[str] = ()) -> UsageError:
    """Return the error about an unknown key, with the nearest known one as remedy.

    Args:
        key: the key.
        where: its place.
        also: further keys that are known there.
    """
    remedy = REMOVED.get(key) or _nearest(key, also)
    return UsageError(f"unknown setting {key!r}", where=where, remedy=remedy)


def _nearest(key: str, also: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(key, [*KNOWN, *also], n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}? `mlops config` lists all settings."
    return "`mlops config` lists all settings."


def _convert(setting: Setting, value: Any, *, where: str) -> Any:
    converted = _CONVERTERS[setting.kind](value)
    if converted is None or (setting.choices and converted not in setting.choices):
        allowed = (
            "one of " + ", ".join(repr(c) for c in setting.choices if c)
            if setting.choices
            else _WANTED[setting.kind]
        )
        raise UsageError(
            f"{setting.key} is {repr(value)[:200]}", where=where, remedy=f"Give {allowed}."
        )
    return converted


_WANTED = {
    "text": "a text",
    "number": "a finite number",
    "integer": "a whole number from 0",
    "flag": "true or false",
    "list": "a list of texts",
    "bytes": "a size such as 512m or 4g",
    "table": "a table with edits, without (lists of texts), epochs, parameters (whole numbers)",
}


def _text(value: Any) -> str | None:
    return (
        str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if abs(number) != float("inf") and number == number else None


def _integer(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number == int(number) and number >= 0 else None


def _flag(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(
        str(value).lower()
    )


def _list(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        import shlex

        try:
            items = json.loads(value) if value.lstrip().startswith("[") else shlex.split(value)
        except ValueError:
            return None
        return _list(items)
    if not isinstance(value, (list, tuple)):
        return None
    return tuple(str(item) for item in value)


def _bytes(value: Any) -> int | None:
    text = str(value).strip().lower().removesuffix("b").removesuffix("i")
    factor = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}.get(text[-1:], 1)
    number = _number(text.rstrip("kmgt"))
    return int(number * factor) if number is not None and number >= 0 else None


def _table(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not isinstance(value, Mapping) or set(value) - {"edits", "without", "epochs", "parameters"}:
        return None
    table: dict[str, Any] = {}
    for key, item in value.items():
        converted = _list(item) if key in ("edits", "without") else _integer(item)
        if converted is None:
            return None
        table[key] = list(converted) if isinstance(converted, tuple) else converted
    return table


_CONVERTERS: Mapping[str, Any] = {
    "text": _text,
    "number": _number,
    "integer": _integer,
    "flag": _flag,
    "list": _list,
    "bytes": _bytes,
    "table": _table,
}
