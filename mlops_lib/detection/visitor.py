"""Walk a syntax tree and gather its facts.

Names are followed through imports, aliases, assignments, attributes of `self`, what local functions
return and what local classes derive from, so that `RNN = layers.LSTM` or `build().fit(x, y)` mean
what they mean to Python: `NameResolver`. `ImportCollector`, `CallNotes` and `Shaper` note what they
recognise; the visitor leads them through the tree and knows where it is.
"""

from __future__ import annotations

import ast
import sys

from mlops_lib.detection import patterns, source
from mlops_lib.detection.call_notes import CallNotes
from mlops_lib.detection.facts import Call, Facts, Shape
from mlops_lib.detection.imports import ImportCollector, may_fail
from mlops_lib.detection.name_resolution import CHAIN_LIMIT, NameResolver
from mlops_lib.detection.syntax import (
    asks_for_package,
    excerpt,
    is_difference,
    is_negative_product,
    is_simple,
    is_transposed,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_VISITED: tuple[type[ast.AST], ...] = (
    ast.Import,
    ast.ImportFrom,
    ast.Try,
    ast.If,
    ast.Assign,
    ast.AnnAssign,
    ast.ClassDef,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Return,
    ast.Call,
    ast.Subscript,
    ast.Attribute,
    ast.With,
    ast.BinOp,
    ast.For,
    ast.AugAssign,
    ast.ListComp,
    ast.GeneratorExp,
    ast.NamedExpr,
    ast.JoinedStr,
    ast.Dict,
    ast.List,
    ast.Tuple,
)
"""Nodes that say something themselves; of the others only the children are visited."""
_GROWING = ("append", "add", "extend", "insert", "add_module", "append_layer", "setattr")
"""Methods that put another layer to those there are."""
_CELL_MAGICS = ("time", "timeit", "capture", "prun")
"""Magics that run their cell."""
_FIRST_METHODS = ("__init__", "build", "setup")
"""Methods that store the attributes that others use; they are visited first."""


def gather(tree: ast.Module, local_names: Mapping[str, str] | None = None) -> Facts:
    """Walk a tree.

    Args:
        tree: the module.
        local_names: what names of local modules stand for, such as `net.build()`.
    """
    local_names = local_names or {}
    first = _Visitor(local_names, {})
    first.run(tree)
    used_above = first.resolver.unresolved & set(first.resolver.names)
    if not used_above:
        return first.facts
    # Something was used above its definition: now all names are known.
    second = _Visitor(local_names, {name: first.resolver.names[name] for name in used_above})
    second.run(tree)
    return second.facts


class _Visitor:
    def __init__(self, local_names: Mapping[str, str], seed: dict[str, str]) -> None:
        self.facts = Facts()
        self.resolver = NameResolver(local_names, seed)
        self.imports = ImportCollector(self.facts, self.resolver)
        self.notes = CallNotes(self.facts, self.resolver, self.imports)
        self.shaper = patterns.Shaper(self.resolver.name)
        self.scope = ""
        """The functions around, joined with dots."""
        self.of_class = ""
        self.multiplied: dict[str, list[int]] = {}
        """Maps a network's class to the lines of its own matrix products."""
        self.instances: dict[str, list[int]] = {}
        """Maps bare callees within a class to their lines."""
        self.repeating = 0
        """Number of enclosing loops over layers."""
        self.frozen: set[str] = set()
        """Networks whose weights are held fixed: `discriminator.trainable = False`."""
        self.trained: dict[str, int] = {}
        """Networks that are compiled or fitted themselves, with the line."""
        self.draws_noise = False
        self._visits: dict[type[ast.AST], Any] = {
            node: getattr(self, "_" + node.__name__.lower()) for node in _VISITED
        }
        if sys.version_info >= (3, 11):
            self._visits[ast.TryStar] = self._try

    def run(self, tree: ast.Module) -> None:
        """Visit a module; what lies deeper than Python's own recursion is left unseen."""
        for statement in tree.body:
            try:
                self.visit(statement)
            except RecursionError:
                continue
        self.facts.shapes += self.shaper.leave("", 1)
        self.facts.shapes += self.shaper.across_functions()
        self.imports.finish()
        self._note_adversaries()
        self._note_products()
        resolver = self.resolver
        self.facts.undefined = [
            call
            for call in self.facts.calls
            if call.name in resolver.unresolved and call.name not in resolver.defined
        ]
        self.facts.exports = {
            name: value
            for name, value in resolver.names.items()
            if value.strip("?") and "." not in name and value.partition("(")[0] != name
        }

    def _note_adversaries(self) -> None:
        """Note a network with fixed weights that judges what another one makes of noise."""
        if not self.draws_noise:
            return
        for network in sorted(self.frozen & set(self.trained)):
            saw = f"{network}.trainable = False"
            self.facts.shapes.append(Shape("adversarial", self.trained[network], saw))
            break

    def _note_products(self) -> None:
        """Note layers written by hand, at the place that puts them into a network."""
        for name, lines in self.multiplied.items():
            origin = self.instances.get(name, [])
            self.facts.shapes += [
                Shape("product", line, "… @ …") for line in (origin if origin[1:] else lines)
            ]

    def visit(self, node: ast.AST) -> None:
        """Visit one node and its children."""
        visit = self._visits.get(type(node))
        if visit is not None:
            visit(node)
        else:
            self.inside(node)

    def inside(self, node: ast.AST) -> None:
        """Visit the children of a node."""
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, list):
                for item in value:
                    if isinstance(item, ast.AST):
                        self.visit(item)
            elif isinstance(value, ast.AST):
                self.visit(value)

    def all(self, nodes: Iterable[ast.AST]) -> None:
        """Visit several nodes in order."""
        for node in nodes:
            self.visit(node)

    # imports

    def _import(self, node: ast.Import) -> None:
        self.imports.plain(node)

    def _importfrom(self, node: ast.ImportFrom) -> None:
        self.imports.members(node)

    def _try(self, node: ast.Try) -> None:
        guards = may_fail(node)
        imports = self.facts.imports
        self.imports.guard += guards
        before = len(imports)
        self.all(node.body)
        between = len(imports)
        self.all(node.handlers)
        self.imports.guard -= guards
        self.imports.pair(imports[before:between], imports[between:])
        self.all(node.orelse)
        self.all(node.finalbody)

    def _if(self, node: ast.If) -> None:
        test = ast.dump(node.test) if is_simple(node.test) else ""
        if "TYPE_CHECKING" in test:
            self.imports.guard += 1
            self.all(node.body)
            self.imports.guard -= 1
            self.all(node.orelse)
            return
        if asks_for_package(node.test):
            self.imports.guard += 1
            self.inside(node)
            self.imports.guard -= 1
            return
        if "__name__" in test and "__main__" in test:
            self.facts.has_main = True
        self.inside(node)

    # names

    def _assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        self.all(target for target in node.targets if not isinstance(target, ast.Name))
        for target in node.targets:
            self.resolver.bind(target, node.value)
        self.shaper.assigned(node)
        for target in node.targets:
            is_trainable = isinstance(target, ast.Attribute) and target.attr == "trainable"
            if is_trainable and isinstance(node.value, ast.Constant) and node.value.value is False:
                self.frozen.add(excerpt(target.value))  # type: ignore[attr-defined]
        self.notes.assigned(node)

    def _augassign(self, node: ast.AugAssign) -> None:
        if isinstance(node.op, ast.Sub) and isinstance(node.value, ast.BinOp):
            self.facts.descends = True
        if isinstance(node.op, ast.Add) and is_negative_product(node.value):
            self.facts.descends = True
        growing = isinstance(node.op, ast.Add) and isinstance(node.value, (ast.List, ast.Tuple))
        self.repeating += growing and bool(self.shaper.turns)
        self.inside(node)
        self.repeating -= growing and bool(self.shaper.turns)

    def _joinedstr(self, node: ast.JoinedStr) -> None:
        self.imports.composed.add(self.resolver.beginning(node))
        self.inside(node)

    def _listcomp(self, node: ast.ListComp | ast.GeneratorExp) -> None:
        self.repeating += 1
        self.inside(node)
        self.repeating -= 1

    _generatorexp = _listcomp

    def _annassign(self, node: ast.AnnAssign) -> None:
        self.inside(node)
        if node.value is not None:
            self.resolver.bind(node.target, node.value)
        self.resolver.annotate(node.target, node.annotation)

    def _namedexpr(self, node: ast.NamedExpr) -> None:
        self.inside(node)
        self.resolver.bind(node.target, node.value)

    def _with(self, node: ast.With) -> None:
        for item in node.items:
            self.visit(item.context_expr)
            if item.optional_vars is not None:
                self.resolver.bind(item.optional_vars, item.context_expr)
        self.all(node.body)

    def _for(self, node: ast.For) -> None:
        if isinstance(node.target, ast.Name):
            self.resolver.names[node.target.id] = "?"
        around = self.shaper.turns
        self.shaper.turns = around | {
            one.id for one in ast.walk(node.target) if isinstance(one, ast.Name)
        }
        self.inside(node)
        self.shaper.turns = around

    def _classdef(self, node: ast.ClassDef) -> None:
        self.all(node.decorator_list)
        self.all(keyword.value for keyword in node.keywords)
        derived = ""
        for base in node.bases:
            name = self.resolver.name(base)
            if name:
                self.facts.bases.append(Call(name, node.lineno, scope=node.name))
                if not derived or derived == "object":
                    derived = name
            self.visit(base)
        self.resolver.derive(node.name, derived)
        outer = self.resolver.enter_class(derived or node.name)
        of_class, self.of_class = self.of_class, node.name
        # Methods use what __init__ stored, wherever it stands.
        for method in sorted(
            node.body, key=lambda member: getattr(member, "name", "") not in _FIRST_METHODS
        ):
            self.visit(method)
        self.resolver.leave_class(outer)
        self.of_class = of_class

    def _functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.resolver.defined.add(node.name)
        self.all(node.decorator_list)
        self.all(
            default
            for default in [*node.args.defaults, *node.args.kw_defaults]
            if default is not None
        )
        scope = self.scope
        outer = self.resolver.enter_function([*node.args.args, *node.args.kwonlyargs])
        self.scope = f"{scope}.{node.name}" if scope else node.name
        self.shaper.enter(argument.arg for argument in node.args.args)
        self.all(node.body)
        self._close_function(node)
        self.scope = scope
        self.resolver.leave_function(node, outer, nested=bool(scope))
        for decorator in node.decorator_list:
            self.resolver.name(decorator)

    def _close_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Note the structure of a whole function."""
        self.shaper.function(node)
        owner = self.resolver.owner
        is_pass = "." in owner and node.name in ("forward", "call", "__call__")
        if is_pass or (owner and node.name.startswith(("forward_and", "inverse_and"))):
            self.shaper.method(node)
        self.facts.shapes += self.shaper.leave(self.scope, node.lineno)

    _asyncfunctiondef = _functiondef

    def _return(self, node: ast.Return) -> None:
        self.inside(node)
        if node.value is not None:
            self.resolver.returns.append(self.resolver.name(node.value))

    def _attribute(self, node: ast.Attribute) -> None:
        name = self.resolver.name(node)
        if name and "()" not in name and not name.startswith("self."):
            self.facts.mentions.append(Call(name, node.lineno, scope=self.scope))
        base: ast.AST = node
        while isinstance(base, ast.Attribute):
            base = base.value
        if not isinstance(base, ast.Name):
            self.visit(base)

    # calls

    def _call(self, node: ast.Call) -> None:
        name = self.resolver.name(node.func)
        if not name:
            self.inside(node)
            return
        keywords = tuple(keyword.arg for keyword in node.keywords if keyword.arg)
        first = self.resolver.text(node.args[0]) if node.args else ""
        if name.startswith("subprocess.") and node.args and isinstance(node.args[0], ast.List):
            first = " ".join(filter(None, map(self.resolver.text, node.args[0].elts)))
        if not first and not node.args:
            policy = next((word.value for word in node.keywords if word.arg == "policy"), None)
            first = self.resolver.text(policy) if policy is not None else ""
        call = Call(
            name,
            node.lineno,
            keywords,
            first,
            self.scope,
            self.of_class,
            self.repeating > 0 or self._takes_turns(node),
        )
        self.facts.calls.append(call)
        if self.of_class and isinstance(node.func, ast.Name):
            self.instances.setdefault(node.func.id, []).append(node.lineno)
        self.shaper.called(node, call)
        self._note(call, node)
        self._callee(node.func)
        growing = call.leaf in _GROWING and bool(self.shaper.turns)
        self.repeating += growing
        for argument in node.args:
            self._argument(argument)
        for keyword in node.keywords:
            self._argument(keyword.value)
        self.repeating -= growing

    def _callee(self, func: ast.expr) -> None:
        """Visit the object of a call; it may be the result of another call."""
        if isinstance(func, ast.Attribute):
            base: ast.AST = func.value
            for _ in range(CHAIN_LIMIT):
                if not isinstance(base, ast.Attribute):
                    break
                base = base.value
            if not isinstance(base, ast.Name):
                self.visit(base)
        elif not isinstance(func, ast.Name):
            applied = isinstance(func, ast.Call) and bool(self.shaper.turns)
            self.repeating += applied  # x = Dense(64)(x), in a loop
            self.visit(func)
            self.repeating -= applied

    def _takes_turns(self, node: ast.Call) -> bool:
        """Return whether a call uses the variable of its loop: `Dense(size)` for sizes."""
        turns = self.shaper.turns
        return bool(turns) and any(
            isinstance(argument, ast.Name) and argument.id in turns for argument in node.args
        )

    def _argument(self, node: ast.expr) -> None:
        self._handed(node)
        self.visit(node)

    def _handed(self, node: ast.expr | None) -> None:
        """Note a class that is passed as an argument: `build_fn=Net`, `{"svm": SVC}`."""
        if isinstance(node, ast.Name):
            name = self.resolver.names.get(node.id, "")
            if "." in name and "()" not in name:
                self.facts.mentions.append(Call(name, node.lineno, scope=self.scope))

    def _dict(self, node: ast.Dict) -> None:
        for value in node.values:
            self._handed(value)
        self.inside(node)

    def _list(self, node: ast.List | ast.Tuple) -> None:
        for item in node.elts:
            self._handed(item)
        self.inside(node)

    _tuple = _list

    def _note(self, call: Call, node: ast.Call) -> None:
        leaf = call.leaf
        self.notes.note(call, node)
        if leaf == "run_cell_magic" and len(node.args) == 3 and call.first in _CELL_MAGICS:
            self._exported(node)
        if leaf in ("compile", "fit", "train_on_batch") and isinstance(node.func, ast.Attribute):
            self.trained.setdefault(excerpt(node.func.value), node.lineno)
        elif leaf in patterns.NOISE:
            self.draws_noise = True

    def _exported(self, node: ast.Call) -> None:
        """Visit a cell under a magic, which an exported notebook holds as a text."""
        for statement in source.parse(self.resolver.text(node.args[2])).tree.body:
            self.visit(ast.increment_lineno(statement, node.lineno - 1))

    def _subscript(self, node: ast.Subscript) -> None:
        self.shaper.looked_up(node)
        self.notes.looked_up(node)
        self.inside(node)

    def _binop(self, node: ast.BinOp) -> None:
        self.shaper.combined(node)
        if isinstance(node.op, ast.MatMult) and "." in self.resolver.owner:
            self.multiplied.setdefault(self.of_class, []).append(node.lineno)
        elif isinstance(node.op, ast.MatMult) and not is_transposed(node.left):
            self.facts.multiplied.append((self.scope, node.lineno))
        if (
            isinstance(node.op, ast.Sub)
            and isinstance(node.right, ast.BinOp)
            and isinstance(node.right.op, ast.Mult)
        ):
            self.facts.descends = True
        if isinstance(node.op, ast.Add) and (
            is_negative_product(node.left) or is_negative_product(node.right)
        ):
            self.facts.descends = True
        descends = self.facts.descends
        self.inside(node)
        if is_difference(node):
            self.facts.descends = descends
