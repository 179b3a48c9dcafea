"""A scikit-learn winner as changes to the constructors in the developer's source."""

from __future__ import annotations

import contextlib
import keyword
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlops_lib.patching.notebooks import open_source
from mlops_lib.patching.source import Source, called_name, with_arguments
from mlops_lib.patching.winner_record import MODULE, TooCleverError, Winner, checked, literal
from mlops_lib.project import fingerprint

SOURCES_LIMIT = 1000
NOT_SOURCE = {".git", ".venv", "venv", "tests", "__pycache__", "node_modules", ".ipynb_checkpoints"}
Described = Mapping[str, Any]
"""An estimator: class, module, parameters that are not its defaults, steps as pairs of name and
estimator.
"""


def changed(winner: Winner, *, project: Path, entry: str = "") -> dict[str, str]:
    """Return the changed files, by their names in the project.

    Args:
        winner: what the search found.
        project: the project's folder.
        entry: the script that was trained. Only it and the modules it imports can have made the
            estimator; "" looks at every file.

    Raises:
        TooCleverError: not exactly one line makes an estimator that changes.
    """
    before = winner.estimator.get("before")
    after = winner.estimator.get("after")
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        raise TooCleverError("it does not say what changed")
    sources = dict(_sources(project, entry))
    touched: set[str] = set()
    for old, new in _differences(before, after):
        name, call = _constructor(sources, _text(old, "class"))
        touched.add(name)
        _replace(sources[name], call, old, new)
    return {name: sources[name].changed() for name in touched}


def _sources(project: Path, entry: str) -> Iterator[tuple[str, Source]]:
    every = _reachable(project, entry) if entry else sorted(fingerprint.project_files(project))
    scripts = [
        name
        for name in every
        if name.endswith((".py", ".ipynb")) and not NOT_SOURCE & set(Path(name).parts)
    ]
    for name in scripts[:SOURCES_LIMIT]:
        with contextlib.suppress(
            TooCleverError
        ):  # another file of the project, perhaps of an older Python
            yield name, open_source(project, name)


def _reachable(project: Path, entry: str) -> list[str]:
    """Return the names of the entry and of the project's modules that it imports."""
    from mlops_lib.detection.files import Files

    files = Files(str(project))
    script = files.file(str(project / entry))
    return [os.path.relpath(one.path, project) for one in (script, *script.reachable())]


def _differences(before: Described, after: Described) -> Iterator[tuple[Described, Described]]:
    within = dict(before.get("inner") or {})
    now = dict(after.get("inner") or {})
    if within.keys() == now.keys() and before.get("class") == after.get("class"):
        for name in within:
            yield from _differences(within[name], now[name])
        before, after = {**before, "inner": {}}, {**after, "inner": {}}
    old = before.get("steps") or []
    new = after.get("steps") or []
    if old and [name for name, _ in old] == [name for name, _ in new]:
        for (_, one), (_, other) in zip(old, new, strict=True):
            yield from _differences(one, other)
    elif dict(before) != dict(after):
        yield before, after


def _constructor(sources: Mapping[str, Source], kind: str) -> tuple[str, Any]:
    found = []
    for name, source in sources.items():
        found += [(name, one) for one in source.nodes(source.cst.Call) if called_name(one) == kind]
    if len(found) != 1:
        raise TooCleverError(f"{len(found)} places make a {kind}")
    return found[0]


def _replace(source: Source, call: Any, old: Described, new: Described) -> None:
    if old.get("class") == new.get("class"):
        given = dict(old["parameters"])
        wanted = dict(new["parameters"])
        settings: dict[str, str | None] = {
            n: literal(v) for n, v in wanted.items() if n not in given or given[n] != v
        }
        settings.update({name: None for name in given if name not in wanted})
        order = [checked(name) for name in old.get("order") or ()]
        source.change(call, lambda made: with_arguments(source, made, settings, order))
        return
    imports: dict[str, str] = {}
    text = constructor(new, imports)
    source.change(call, lambda made: source.cst.parse_expression(text))
    _import(source, imports)


def constructor(made: Described, imports: dict[str, str]) -> str:
    """An estimator as source code; the names it needs are added to `imports`, with their modules.

    Raises:
        TooCleverError: it is no estimator of a package that can be named.
    """
    kind = _text(made, "class")
    module = str(made.get("module") or "")
    steps = made.get("steps") or []
    if not MODULE.match(module) or any(keyword.iskeyword(part) for part in module.split(".")):
        raise TooCleverError(f"{kind} comes from nowhere")
    if steps:
        imports["make_pipeline"] = "sklearn.pipeline"
        return f"make_pipeline({', '.join(constructor(one, imports) for _, one in steps)})"
    imports[kind] = module
    given = [
        f"{checked(n)}={constructor(one, imports)}"
        for n, one in dict(made.get("inner") or {}).items()
    ]
    given += [f"{checked(n)}={literal(v)}" for n, v in made["parameters"].items()]
    return f"{kind}({', '.join(given)})"


def script(winner: Winner, *, reason: str) -> str:
    """A module with `build_model()`, which makes the estimator, unfitted.

    Args:
        winner: what the search found.
        reason: why there is no patch.

    Raises:
        TooCleverError: it cannot be written as code.
    """
    imports: dict[str, str] = {}
    after = winner.estimator.get("after")
    if not isinstance(after, Mapping):
        raise TooCleverError("it does not say what changed")
    made = constructor(after, imports)
    lines = [
        f"from {module} import {name}"
        for name, module in sorted(imports.items(), key=lambda pair: pair[::-1])
    ]
    return (
        f'"""The estimator that the search found.\n\nNot a patch of the script, because {reason}.\n"""\n\n'
        + "\n".join(lines)
        + f'\n\n\ndef build_model():\n    """A fresh, unfitted estimator."""\n    return {made}\n'
    )


def _text(made: Described, key: str) -> str:
    try:
        return checked(made.get(key))
    except ValueError as error:
        raise TooCleverError(str(error)) from error


def _import(source: Source, imports: Mapping[str, str]) -> None:
    cst = source.cst
    text = source.module.code
    missing = {
        n: m
        for n, m in imports.items()
        if not re.search(rf"^from {re.escape(m)} import .*\b{n}\b", text, re.MULTILINE)
    }
    lines = [
        source.around(one, cst.SimpleStatementLine)
        for one in source.nodes((cst.Import, cst.ImportFrom))
    ]
    tops = [one for one in lines if isinstance(source.parent(one), cst.Module)]
    near = [one for one in tops if "sklearn" in source.code(one)] or tops
    if not near:
        raise TooCleverError("the source imports nothing")
    made = [
        cst.parse_statement(f"from {module} import {name}")
        for name, module in sorted(missing.items(), key=lambda p: p[::-1])
    ]
    if made:
        source.change(near[-1], lambda updated: cst.FlattenSentinel([updated, *made]))
