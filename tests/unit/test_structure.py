"""What CONTRIBUTING.md says of the package's structure: which way imports go, and that the runner
is an island.
"""

from __future__ import annotations

import ast
import graphlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from mlops_lib.runner import protocol

PACKAGE = Path(__file__).parents[2] / "mlops_lib"
MODULES = {
    path.relative_to(PACKAGE.parent)
    .with_suffix("")
    .as_posix()
    .replace("/", ".")
    .removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
LAYERS = (
    (
        "formatting",
        "atomic",
        "file_lock",
        "retry",
        "catalog",
        "events",
        "intervals",
        "settings_arguments",
    ),
    ("errors", "event_log", "display"),
    ("records", "project", "run_lock"),
    ("config", "run_directory"),
    ("detection", "gate"),
    ("patching", "notification", "reporting"),
    ("environments", "registry"),
    ("engine",),
    ("provisioning", "training"),
    ("ci", "tuning"),
    ("pipeline",),
    ("monitoring",),
    ("cli",),
)
"""Each may import what is before it, in its functions too."""


def _imported(module: str, *, lazily: bool) -> Iterator[str]:
    """The modules that one names: when it is imported, and `lazily` in its functions too."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    nodes = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = (
                package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            )
            place = ".".join([*parts, *([node.module] if node.module else [])])
            named = (f"{place}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else place for name in named)
        if lazily or not isinstance(node, (ast.FunctionDef, ast.Lambda)):
            test = (
                node.test.id if isinstance(node, ast.If) and isinstance(node.test, ast.Name) else ""
            )
            nodes += [] if test == "TYPE_CHECKING" else ast.iter_child_nodes(node)


def _part(module: str) -> str:
    """The module or package right under mlops_lib."""
    return module.split(".")[1] if "." in module else ""


def _parts_imported() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        named = {
            _part(name)
            for name in _imported(module, lazily=True)
            if name.split(".")[0] == "mlops_lib"
        }
        graph.setdefault(_part(module), set()).update(named - {_part(module), ""})
    return graph


def test_imports_make_no_circle() -> None:
    graph = _parts_imported()
    order = tuple(graphlib.TopologicalSorter(graph).static_order())  # raises on a circle
    assert set(order) == set(graph)


def test_imports_go_one_way() -> None:
    at = {part: number for number, layer in enumerate(LAYERS) for part in layer}
    graph = _parts_imported()
    assert set(at) <= set(graph), "a layer's module is gone"
    upwards = [
        f"{part} imports {other}"
        for part in at
        for other in graph[part] & set(at)
        if at[other] > at[part] or (at[other] == at[part] and at[part] > 0)
    ]
    assert upwards == []


def test_the_runner_imports_nothing_from_outside() -> None:
    inside = {module for module in MODULES if _part(module) == "runner"}
    assert len(inside) > 1
    reached = {
        (module, name)
        for module in inside
        for name in _imported(module, lazily=True)
        if name.split(".")[0] == "mlops_lib" and name not in inside and name != "mlops_lib"
    }
    assert reached == set()


def test_nothing_third_party_is_imported_before_it_is_used() -> None:
    known = sys.stdlib_module_names | {"mlops_lib"}
    early = {
        (module, name)
        for module in MODULES
        if _part(module) != "runner"
        for name in _imported(module, lazily=False)
        if name.split(".")[0] not in known
    }
    assert early == set()


def test_the_runner_loads_no_framework_before_the_script() -> None:
    """Neither when it starts nor for its hooks: the script decides what is loaded, and in which
    order.
    """
    loaded, pending = set(), [("mlops_lib.runner.__main__", True)]
    early = set()
    while pending:
        module, lazily = pending.pop()
        if module in loaded:
            continue
        loaded.add(module)
        for name in _imported(module, lazily=lazily):
            if name in MODULES:
                pending.append((name, False))
            elif name.split(".")[0] not in sys.stdlib_module_names | {"mlops_lib"}:
                early.add((module, name))
    early = {(module, name) for module, name in early if module != "mlops_lib.runner.__main__"}
    assert len(loaded) > 100
    assert early == set()


PROTOCOL = "mlops_lib.runner.protocol"
IN_THE_SCRIPTS_PROCESS = "mlops_lib.tuning.in_memory"
"""It searches in the caller's own process, as the runner does in a container, and is the runner's
other user.
"""


def test_outside_only_the_protocol_of_the_runner_is_imported() -> None:
    reached = {
        (module, name)
        for module in MODULES
        if _part(module) != "runner" and not module.startswith(IN_THE_SCRIPTS_PROCESS)
        for name in _imported(module, lazily=True)
        if name.split(".")[:2] == ["mlops_lib", "runner"] and name != PROTOCOL
    }
    assert reached == set()


def test_the_protocol_imports_the_standard_library_only() -> None:
    assert {
        name.split(".")[0] for name in _imported(PROTOCOL, lazily=True)
    } <= sys.stdlib_module_names


def test_what_both_worlds_agree_on_is_written_down_once() -> None:
    """File names of the run directory and lists of metrics stand in the protocol and nowhere else."""
    names = {
        value
        for key, value in vars(protocol).items()
        if key.isupper() and isinstance(value, str) and "." in value and not key.startswith("_")
    }
    assert {"verdict.json", "metrics.json", "events.jsonl"} <= names
    copies = [
        (module, node.lineno, node.value)
        for module, path in MODULES.items()
        if module != PROTOCOL
        for node in _strings(ast.parse(path.read_text(encoding="utf-8")))
        if node.value in names
        and (module, node.value) != ("mlops_lib.runner.metrics.evaluations", "metrics.json")
    ]
    assert copies == []
    lists = [
        (module, number)
        for module, path in MODULES.items()
        if module != PROTOCOL and _part(module) != "detection" and ".compat" not in module
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"LOWER_IS_BETTER|\bACCURACIES\b ?=|PROPORTIONS ?=|UNIT_RANGE ?=", line)
    ]
    assert lists == []


KINDS = {*protocol.RUNNER_EVENTS, *protocol.HOST_EVENTS, *protocol.OBSERVED_EVENTS}
READS_EVENTS = {"mlops_lib.events", "mlops_lib.event_log"}
"""Modules of the host that turn JSON into events; all others match their classes."""


def test_event_and_decision_kinds_are_named_by_their_constants() -> None:
    bare = [
        (module, node.lineno, name)
        for module, path in MODULES.items()
        if _part(module) != "engine" and module != PROTOCOL  # Docker has events of its own
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for key, values in _keyed(node)
        for name in values & (KINDS if key == "event" else set(protocol.DECISIONS))
    ]
    assert bare == []


def test_the_host_matches_events_by_their_classes() -> None:
    by_name = [
        (module, node.lineno, ast.unparse(node))
        for module, path in MODULES.items()
        if _part(module) not in ("runner", "engine") and module not in READS_EVENTS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if _reads_key(node, "event")
    ]
    assert by_name == []


def _reads_key(node: ast.AST, key: str) -> bool:
    """Whether a node is `value["key"]` or `value.get("key")`."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        return isinstance(node.slice, ast.Constant) and node.slice.value == key
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "get"
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value == key
    )


def _keyed(node: ast.AST) -> Iterator[tuple[str, set[str]]]:
    """The strings that an event's `event` or `do` is set to or compared with, or that a journal
    writes.
    """
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value in ("event", "do"):
                yield str(key.value), {one.value for one in _strings(value)}
    if isinstance(node, ast.Compare):
        compared = {one.value for right in node.comparators for one in _strings(right)}
        yield from ((key, compared) for key in ("event", "do") if _mentions(node.left, key))
    if isinstance(node, ast.Call):
        yield from (
            (keyword.arg, {one.value for one in _strings(keyword.value)})
            for keyword in node.keywords
            if keyword.arg in ("event", "do")
        )
        if re.search(r"journal\.write$|^self\.write$", ast.unparse(node.func)) and node.args:
            yield "event", {one.value for one in _strings(node.args[0])}


def _mentions(node: ast.expr, key: str) -> bool:
    return any(one.value == key for one in _strings(node)) or (
        isinstance(node, ast.Attribute) and node.attr == key
    )


def _strings(tree: ast.AST) -> Iterator[ast.Constant]:
    """The string constants of a module that are no docstrings."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node
