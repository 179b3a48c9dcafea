"""A scikit-learn winner as changes to the constructors in the developer's source."""

from __future__ import annotations

import contextlib
import keyword
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlops_lib.detection.files import Files
from mlops_lib.patching.notebooks import open_source
from mlops_lib.patching.source import Source, called_name, with_arguments
from mlops_lib.patching.winner_record import MODULE, UnpatchableError, Winner, identifier, literal
from mlops_lib.project import fingerprint

SOURCES_LIMIT = 1000
NOT_SOURCE = {".git", ".venv", "venv", "tests", "__pycache__", "node_modules", ".ipynb_checkpoints"}
EstimatorClaim = Mapping[str, Any]
"""An estimator: class, module, non-default parameters, steps as (name, estimator)."""


def patched_files(winner: Winner, *, project: Path, entry: str = "") -> dict[str, str]:
    """Return the patched files, by their names in the project.

    Args:
        winner: the search's winner.
        project: the project's folder.
        entry: the script that was trained. Only it and the modules it imports can have built the
            estimator; "" searches every file.

    Raises:
        UnpatchableError: not exactly one line builds an estimator that changes.
    """
    before = winner.estimator.get("before")
    after = winner.estimator.get("after")
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        raise UnpatchableError("it does not say what changed")
    sources = dict(_sources(project, entry))
    touched: set[str] = set()
    for old, new in _differences(before, after):
        name, call = _constructor(sources, _text(old, "class"))
        touched.add(name)
        _replace(sources[name], call, old, new)
    return {name: sources[name].patched_text() for name in touched}


def _sources(project: Path, entry: str) -> Iterator[tuple[str, Source]]:
    names = _reachable(project, entry) if entry else sorted(fingerprint.project_files(project))
    scripts = [
        name
        for name in names
        if name.endswith((".py", ".ipynb")) and not NOT_SOURCE & set(Path(name).parts)
    ]
    for name in scripts[:SOURCES_LIMIT]:
        with contextlib.suppress(
            UnpatchableError
        ):  # another file of the project, perhaps of an older Python
            yield name, open_source(project, name)


def _reachable(project: Path, entry: str) -> list[str]:
    """Return the names of the entry and of the project's modules that it imports."""
    files = Files(str(project))
    script = files.file(str(project / entry))
    return [os.path.relpath(module.path, project) for module in (script, *script.reachable())]


def _differences(
    before: EstimatorClaim, after: EstimatorClaim
) -> Iterator[tuple[EstimatorClaim, EstimatorClaim]]:
    within = dict(before.get("inner") or {})
    now = dict(after.get("inner") or {})
    if within.keys() == now.keys() and before.get("class") == after.get("class"):
        for name in within:
            yield from _differences(within[name], now[name])
        before, after = {**before, "inner": {}}, {**after, "inner": {}}
    old = before.get("steps") or []
    new = after.get("steps") or []
    if old and [name for name, _ in old] == [name for name, _ in new]:
        for (_, old_step), (_, new_step) in zip(old, new, strict=True):
            yield from _differences(old_step, new_step)
    elif dict(before) != dict(after):
        yield before, after


def _constructor(sources: Mapping[str, Source], kind: str) -> tuple[str, Any]:
    calls = []
    for name, source in sources.items():
        calls += [
            (name, call) for call in source.nodes(source.cst.Call) if called_name(call) == kind
        ]
    # With two calls of the class, nothing shows which of them built the estimator.
    if len(calls) != 1:
        raise UnpatchableError(f"{len(calls)} places make a {kind}")
    return calls[0]


def _replace(source: Source, call: Any, old: EstimatorClaim, new: EstimatorClaim) -> None:
    if old.get("class") == new.get("class"):
        old_parameters = dict(old["parameters"])
        new_parameters = dict(new["parameters"])
        settings: dict[str, str | None] = {
            n: literal(v, exact=True)
            for n, v in new_parameters.items()
            if n not in old_parameters or old_parameters[n] != v
        }
        settings.update({name: None for name in old_parameters if name not in new_parameters})
        order = [identifier(name) for name in old.get("order") or ()]
        source.change(call, lambda updated: with_arguments(source, updated, settings, order))
        return
    imports: dict[str, str] = {}
    text = constructor(new, imports)
    source.change(call, lambda updated: source.cst.parse_expression(text))
    _import(source, imports)


def constructor(estimator: EstimatorClaim, imports: dict[str, str]) -> str:
    """Return an estimator as source code, and add the names it needs to `imports`.

    Raises:
        UnpatchableError: its package cannot be imported by name.
    """
    kind = _text(estimator, "class")
    module = str(estimator.get("module") or "")
    steps = estimator.get("steps") or []
    if not MODULE.match(module) or any(keyword.iskeyword(part) for part in module.split(".")):
        raise UnpatchableError(f"{kind} comes from nowhere")
    if steps:
        imports["make_pipeline"] = "sklearn.pipeline"
        return f"make_pipeline({', '.join(constructor(nested, imports) for _, nested in steps)})"
    imports[kind] = module
    arguments = [
        f"{identifier(n)}={_members(members, imports)}"
        for n, members in dict(estimator.get("members") or {}).items()
    ]
    arguments += [
        f"{identifier(n)}={constructor(nested, imports)}"
        for n, nested in dict(estimator.get("inner") or {}).items()
    ]
    arguments += [
        f"{identifier(n)}={_parameter(v, imports)}" for n, v in estimator["parameters"].items()
    ]
    return f"{kind}({', '.join(arguments)})"


def _members(members: Any, imports: dict[str, str]) -> str:
    """Return estimators with names, such as those of a vote, as source code."""
    pairs = [
        f"({literal(str(label))}, {constructor(nested, imports)})" for label, nested in members
    ]
    return f"[{', '.join(pairs)}]"


def _parameter(value: Any, imports: dict[str, str]) -> str:
    """Return a parameter as source code; a function is imported."""
    if not isinstance(value, Mapping) or set(value) != {"function"}:
        return literal(value, exact=True)
    module, name = value["function"]
    parts = str(name).split(".")
    if not MODULE.match(str(module)) or any(keyword.iskeyword(p) for p in str(module).split(".")):
        raise UnpatchableError("a function comes from nowhere")
    try:
        text = ".".join(identifier(part) for part in parts)
    except ValueError as error:
        raise UnpatchableError(str(error)) from error
    imports[parts[0]] = str(module)
    return text


def script(winner: Winner, *, reason: str) -> str:
    """Return a module with `build_model()`, which builds the estimator, unfitted.

    Args:
        winner: the search's winner.
        reason: why there is no patch.

    Raises:
        UnpatchableError: the estimator cannot be written as code.
    """
    imports: dict[str, str] = {}
    after = winner.estimator.get("after")
    if not isinstance(after, Mapping):
        raise UnpatchableError("it does not say what changed")
    expression = constructor(after, imports)
    lines = [
        f"from {module} import {name}"
        for name, module in sorted(imports.items(), key=lambda pair: pair[::-1])
    ]
    return (
        f'"""The estimator that the search found.\n\nNot a patch of the script, because {reason}.\n"""\n\n'
        + "\n".join(lines)
        + f'\n\n\ndef build_model():\n    """A fresh, unfitted estimator."""\n    return {expression}\n'
    )


def _text(estimator: EstimatorClaim, key: str) -> str:
    try:
        return identifier(estimator.get(key))
    except ValueError as error:
        raise UnpatchableError(str(error)) from error


def _import(source: Source, imports: Mapping[str, str]) -> None:
    cst = source.cst
    text = source.module.code
    new_names = {
        n: m
        for n, m in imports.items()
        if not re.search(rf"^from {re.escape(m)} import .*\b{n}\b", text, re.MULTILINE)
    }
    lines = [
        source.around(node, cst.SimpleStatementLine)
        for node in source.nodes((cst.Import, cst.ImportFrom))
    ]
    tops = [node for node in lines if isinstance(source.parent(node), cst.Module)]
    near = [node for node in tops if "sklearn" in source.code(node)] or tops
    if not near:
        raise UnpatchableError("the source imports nothing")
    statements = [
        cst.parse_statement(f"from {module} import {name}")
        for name, module in sorted(new_names.items(), key=lambda p: p[::-1])
    ]
    if statements:
        source.change(near[-1], lambda updated: cst.FlattenSentinel([updated, *statements]))
