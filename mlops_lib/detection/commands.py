"""Read the commands that run a project: dvc.yaml, MLproject, Makefile and CI files.

They say which arguments the training takes, and which scripts run before it (prepare, featurize)
and after it (evaluate). They are read, never executed here: a step is run in the container, by the
runner, as the entry itself is. Only Python scripts, modules and notebooks of the project become
steps.
"""

from __future__ import annotations

import os
import re
import shlex

from mlops_lib.errors import RefusedFileError
from mlops_lib.lazy_regex import lazy_regex
from mlops_lib.project import files as pushed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

LIMIT = 256_000
"""Bytes of a file with commands."""
MOST_STAGES = 200
MOST_STEPS = 12
LAST_DUTIES = lazy_regex(
    r"(^|[_\W])(eval|evaluate|evaluation|metrics?|score|scoring|test|test_model|validate)([_\W]|$)",
    re.I,
)
"""Names of scripts that measure a trained model."""
NO_STEPS = lazy_regex(
    r"(^|[_\W])(setup|conftest|test_.+|.+_test|tests|deploy|serve|server|api|app|upload|push|notify|mail|publish|release"
    r"|lint|docs?|clean|install|download_model|register)([_\W]|$)",
    re.I,
)
"""Names of scripts that neither prepare a training nor measure it."""
TRAINING = ("train", "training", "fit", "train_model", "train-model", "model", "main", "run")
"""Names of stages and targets that train."""
_WRAPPERS = (
    ("uv", "run"),
    ("poetry", "run"),
    ("pipenv", "run"),
    ("pdm", "run"),
    ("rye", "run"),
    ("hatch", "run"),
)
_PYTHON = lazy_regex(r"(?:.*/)?(?:python[\d.]*|ipython[\d.]*)\Z")
_ASSIGNMENT = lazy_regex(r"[A-Za-z_]\w*=")
_REFERENCE = lazy_regex(r"\$\{\{?\s*([\w.\[\]]+)\s*\}?\}|\$\((\w+)\)|\{(\w+)\}")
_MAKE_VARIABLE = lazy_regex(r"^([\w.]+)\s*(?::|\?|\+)?=\s*(.*)$")
_MAKE_TARGET = lazy_regex(r"^([^\s:=#][^:=]*):(?!=)\s*([^#;]*)(?:;(.*))?$")


class Command:
    """A script of the project, run with arguments.

    Attributes:
        script: the script or notebook, relative to the project.
        args: its arguments.
        folder: the folder in the project that it runs in, "" for the project's own.
        where: the file that says so, and the line.
    """

    __slots__ = ("args", "folder", "script", "where")

    def __init__(
        self, script: str, args: Sequence[str], where: tuple[str, int], folder: str = ""
    ) -> None:
        self.script = script
        self.args = tuple(args)
        self.where = where
        self.folder = "" if folder == os.curdir else folder

    def to_json(self) -> dict[str, Any]:
        """Return it as the record `Step`."""
        source = f"{self.where[0]}:{self.where[1]}"
        return {
            "script": self.script,
            "args": list(self.args),
            "folder": self.folder,
            "said_by": source,
        }


class Stage:
    """Commands that run together, and the stages that run before them.

    Attributes:
        name: the stage's or target's name.
        commands: what it runs.
        needs: names of the stages before it.
        makes: files and folders that it leaves.
    """

    __slots__ = ("commands", "makes", "name", "needs")

    def __init__(
        self,
        name: str,
        commands: list[Command],
        needs: Iterable[str] = (),
        makes: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.commands = commands
        self.needs = list(needs)
        self.makes = list(makes)


class Plan:
    """The commands around an entry.

    Attributes:
        entry: the project's own command for the entry.
        before: what runs before it, in order.
        after: what runs after it, in order.
    """

    __slots__ = ("after", "before", "entry")

    def __init__(
        self, entry: Command, before: Sequence[Command] = (), after: Sequence[Command] = ()
    ) -> None:
        self.entry = entry
        self.before = list(before)[-MOST_STEPS:]
        self.after = list(after)[:MOST_STEPS]


def plan(folder: str, entry: str) -> Plan | None:
    """Return how the project itself runs an entry, None if it does not say.

    Args:
        folder: the project's folder.
        entry: the script that trains, relative to it.
    """
    for stages in sources(folder):
        result = _around(stages, entry, folder)
        if result is not None:
            return result
    return None


def training(folder: str) -> dict[str, tuple[str, int]]:
    """Return the scripts that a stage or target named for training runs, with the file and line
    that say so.
    """
    result: dict[str, tuple[str, int]] = {}
    for stages in sources(folder):
        for stage in stages:
            if stage.name.lower() in TRAINING:
                result.update(
                    {one.script: one.where for one in stage.commands if one.script not in result}
                )
    return result


def sources(folder: str) -> Iterator[list[Stage]]:
    """Return the stages that each file of the project describes."""
    names = {name.lower(): name for name in pushed.names_in(folder, root=folder)}
    for lower, read in (
        ("dvc.yaml", _dvc),
        ("mlproject", _mlproject),
        ("makefile", _makefile),
        ("gnumakefile", _makefile),
    ):
        if lower in names:
            yield read(folder, names[lower])
    workflows = os.path.join(".github", "workflows")
    ci = [
        os.path.join(workflows, one) for one in sorted(pushed.names_in(workflows, root=folder))[:10]
    ]
    for name in [*ci, *(names[one] for one in (".gitlab-ci.yml",) if one in names)]:
        if name.endswith((".yml", ".yaml")):
            yield _workflow(folder, name)


def _around(stages: list[Stage], entry: str, folder: str) -> Plan | None:
    by_name = {stage.name: stage for stage in stages}
    for stage in stages:
        for number, command in enumerate(stage.commands):
            if command.script != entry:
                continue
            earlier = [
                one
                for name in _ancestors(stage.name, by_name)
                for one in _due(by_name[name], folder)
            ]
            later = [
                one
                for name in _descendants(stage.name, stages)
                for one in by_name[name].commands
                if _measures(one)
            ]
            before = [*earlier, *stage.commands[:number]]
            after = [*filter(_measures, stage.commands[number + 1 :]), *later]
            return Plan(command, _steps(before, entry), _steps(after, entry))
    return None


def _steps(commands: Iterable[Command], entry: str) -> list[Command]:
    selection = [one for one in commands if one.script != entry and not NO_STEPS.search(_stem(one))]
    return list({(one.script, one.args): one for one in selection}.values())


def _stem(command: Command) -> str:
    return os.path.splitext(os.path.basename(command.script))[0]


def _measures(command: Command) -> bool:
    return LAST_DUTIES.search(_stem(command)) is not None


def _due(stage: Stage, folder: str) -> list[Command]:
    """Return a stage's commands; none if its outputs were pushed."""
    if stage.makes and all(pushed.exists(one, root=folder) for one in stage.makes):
        return []
    return stage.commands


def _ancestors(name: str, by_name: Mapping[str, Stage]) -> list[str]:
    """Return the stages before one, each after those that it needs itself."""
    order: list[str] = []
    seen = {name}

    def visit(one: str) -> None:
        for needed in by_name[one].needs:
            if needed in by_name and needed not in seen:
                seen.add(needed)
                visit(needed)
                order.append(needed)

    visit(name)
    return order


def _descendants(name: str, stages: Sequence[Stage]) -> list[str]:
    """Return the stages that need one, directly or not, in the order of the file."""
    reached = {name}
    for _ in stages:
        reached.update(stage.name for stage in stages if not reached.isdisjoint(stage.needs))
    # `all: prepare train evaluate` puts those in an order that need nothing themselves.
    listed = [stage.needs for stage in stages if name in stage.needs and not stage.commands]
    reached.update(one for needs in listed for one in needs[needs.index(name) + 1 :])
    return [stage.name for stage in stages if stage.name in reached and stage.name != name]


def _text(folder: str, name: str) -> str:
    try:
        return pushed.read_text(name, root=folder, limit=LIMIT)
    except RefusedFileError:
        return ""


def _yaml(text: str) -> Any:
    """Return the content of a YAML file, None if it cannot be read; aliases are refused, they can
    grow without end.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("an alias")
            return super().compose_node(parent, index)

    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _line_of(text: str, part: str) -> int:
    """Return the line at which a command begins, even if YAML has folded it."""
    words = part.split()
    for many in (len(words), 2):
        match = re.search(r"\s+".join(map(re.escape, words[:many])), text) if words else None
        if match is not None:
            return text.count("\n", 0, match.start()) + 1
    return 1


def _mapping(value: Any) -> dict[str, Any]:
    return {str(key): one for key, one in value.items()} if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _paths(value: Any, base: str) -> list[str]:
    names = [next(iter(one), "") if isinstance(one, dict) else one for one in _listed(value)]
    return [
        os.path.normpath(os.path.join(base, one)) for one in names if isinstance(one, str) and one
    ]


def _dvc(folder: str, name: str) -> list[Stage]:
    text = _text(folder, name)
    content = _mapping(_yaml(text))
    parameters = _flat(_yaml(_text(folder, "params.yaml")))
    stages = []
    wants = {}
    for title, described in list(_mapping(content.get("stages")).items())[:MOST_STAGES]:
        one = _mapping(described)
        base = str(one.get("wdir") or "")
        lines = [line for line in _listed(one.get("cmd")) if isinstance(line, str)]
        result = [
            command
            for line in lines
            for command in read(
                _filled(line, parameters),
                folder,
                (name, _line_of(text, line[:80].splitlines()[0])),
                base,
            )
        ]
        makes = [
            path for kind in ("outs", "metrics", "plots") for path in _paths(one.get(kind), base)
        ]
        wants[title] = _paths(one.get("deps"), base)
        stages.append(Stage(title, result, makes=makes))
    for stage in stages:
        stage.needs = [
            other.name
            for other in stages
            if other is not stage and _feeds(other.makes, wants[stage.name])
        ]
        stage.makes = [path for path in stage.makes if not path.endswith((".json", ".png", ".svg"))]
    return stages


def _feeds(makes: Iterable[str], wants: Iterable[str]) -> bool:
    return any(
        output == need or need.startswith(output + os.sep) or output.startswith(need + os.sep)
        for output in makes
        for need in wants
    )


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Return nested parameters by their dotted names."""
    result: dict[str, str] = {}
    for key, one in _mapping(value).items():
        if isinstance(one, dict):
            result.update(_flat(one, f"{prefix}{key}."))
        elif isinstance(one, (str, int, float)):
            result[prefix + key] = str(one)
    return result


def _filled(line: str, values: Mapping[str, str]) -> str:
    """Return a command with the references that are known filled in."""
    return _REFERENCE.sub(
        lambda match: values.get(next(filter(None, match.groups())), match[0]), line
    )


def _mlproject(folder: str, name: str) -> list[Stage]:
    text = _text(folder, name)
    stages = []
    for title, described in list(_mapping(_mapping(_yaml(text)).get("entry_points")).items())[
        :MOST_STAGES
    ]:
        one = _mapping(described)
        defaults = {
            key: str(_mapping(parameter).get("default", "") if isinstance(parameter, dict) else "")
            for key, parameter in _mapping(one.get("parameters")).items()
        }
        line = str(one.get("command") or "")
        where = (name, _line_of(text, line[:80] or title))
        stages.append(
            Stage(
                title,
                list(read(_filled(line, {k: v for k, v in defaults.items() if v}), folder, where)),
            )
        )
    return stages


def _makefile(folder: str, name: str) -> list[Stage]:
    text = _text(folder, name)
    variables = {"PYTHON": "python", "PY": "python"}
    stages: dict[str, Stage] = {}
    current: list[Stage] = []
    for number, line in _logical_lines(text):
        if line.startswith("\t"):
            commands = list(
                read(_filled(line.strip().lstrip("@-+"), variables), folder, (name, number))
            )
            for stage in current:
                stage.commands += commands
            continue
        variable = _MAKE_VARIABLE.match(line)
        if variable is not None:
            variables[variable[1]] = _filled(variable[2].strip(), variables)
            continue
        target = _MAKE_TARGET.match(line)
        if target is None:
            current = current if not line.strip() else []
            continue
        titles = [one for one in _filled(target[1], variables).split() if not one.startswith(".")]
        needs = _filled(target[2], variables).split()
        current = []
        for title in titles[:MOST_STAGES]:
            stage = stages.setdefault(
                title, Stage(title, [], makes=[title] if "." in title or "/" in title else [])
            )
            stage.needs += needs
            if target[3]:
                stage.commands += read(
                    _filled(target[3].strip(), variables), folder, (name, number)
                )
            current.append(stage)
    return list(stages.values())


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Return lines with their numbers, continued ones joined."""
    whole = ""
    began = 0
    for number, line in enumerate(text.splitlines(), 1):
        whole, began = (line, number) if not whole else (whole + " " + line.strip(), began)
        if whole.endswith("\\"):
            whole = whole[:-1]
            continue
        yield began, whole
        whole = ""
    if whole:
        yield began, whole


def _workflow(folder: str, name: str) -> list[Stage]:
    """Return the jobs of a CI file."""
    text = _text(folder, name)
    content = _mapping(_yaml(text))
    jobs = _mapping(content.get("jobs")) or content
    stages = []
    for title, described in list(jobs.items())[:MOST_STAGES]:
        one = _mapping(described)
        steps = [step for step in _listed(one.get("steps")) if isinstance(step, dict)]
        lines = [
            (str(step.get("run") or ""), str(step.get("working-directory") or "")) for step in steps
        ]
        lines += [(str(line), "") for line in _listed(one.get("script"))]
        commands = [
            command
            for block, base in lines
            for line in _joined(block)
            for command in read(line, folder, (name, _line_of(text, line[:60])), base)
        ]
        stages.append(Stage(title, commands))
    return stages


def _joined(block: str) -> list[str]:
    return [
        line
        for _, line in _logical_lines(block)
        if line.strip() and not line.lstrip().startswith("#")
    ]


def read(line: str, folder: str, where: tuple[str, int], base: str = "") -> Iterator[Command]:
    """Return the scripts of the project that a shell line runs.

    Args:
        line: the line; several commands may be joined by `&&` or `;`.
        folder: the project's folder.
        where: the file and line that it comes from.
        base: the folder in the project that it runs in.
    """
    for part in re.split(r"&&|;|\n", line[:4000]):
        if "|" in part or "`" in part or "$" in part or "<" in part or ">" in part:
            part = re.split(r"\s[|<]|\s\d?>", part)[0]
        try:
            tokens = shlex.split(part, comments=True)
        except ValueError:
            continue
        if tokens[:1] == ["cd"] and len(tokens) == 2:
            base = os.path.normpath(os.path.join(base, tokens[1]))
            continue
        command = _command(tokens, folder, where, base)
        if command is not None:
            yield command


def _command(tokens: list[str], folder: str, where: tuple[str, int], base: str) -> Command | None:
    while tokens and (
        _ASSIGNMENT.match(tokens[0]) or tokens[0] in ("env", "time", "exec", "nohup", "set", "-e")
    ):
        tokens = tokens[1:]
    for wrapper in _WRAPPERS:
        if tuple(tokens[: len(wrapper)]) == wrapper:
            tokens = tokens[len(wrapper) :]
    if not tokens:
        return None
    program = tokens[0]
    rest = tokens[1:]
    if program.startswith("./") and program.endswith(".py"):
        program, rest = "python", [program, *rest]
    if not _PYTHON.match(program) and program not in ("papermill",):
        return None
    while rest and rest[0].startswith("-") and rest[0] != "-m":
        rest = rest[2 if rest[0] in ("-W", "-X") else 1 :]
    if not rest:
        return None
    if rest[0] == "-m":
        script = _module(rest[1], folder, base) if len(rest) > 1 else None
        args = rest[2:]
    else:
        script = _script(rest[0], folder, base)
        args = rest[1:]
    unknown = any("$" in one or "{{" in one for one in args)
    return None if script is None or unknown else Command(script, args, where, base)


def _script(name: str, folder: str, base: str) -> str | None:
    place = os.path.normpath(os.path.join(base, name))
    is_code = (
        place.endswith((".py", ".ipynb"))
        and not place.startswith("..")
        and not os.path.isabs(place)
    )
    return place if is_code and pushed.is_file(place, root=folder) else None


def _module(name: str, folder: str, base: str) -> str | None:
    if not re.fullmatch(r"\w+(\.\w+)*", name):
        return None
    path = name.replace(".", os.sep)
    tried = (f"{path}.py", os.path.join(path, "__main__.py"))
    result = (
        _script(one, folder, os.path.join(base, begin)) for begin in ("", "src") for one in tried
    )
    return next(filter(None, result), None)
