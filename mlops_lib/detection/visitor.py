"""Walk a syntax tree and gather its facts.

Names are followed through imports, aliases, assignments, attributes of `self`, what local functions
return and what local classes derive from, so that `RNN = layers.LSTM` or `build().fit(x, y)` mean
what they mean to Python.
"""

from __future__ import annotations

import ast
import os
import re
import sys

from mlops_lib.detection import patterns, source
from mlops_lib.detection.data_access import READERS, WRITERS, is_data
from mlops_lib.detection.facts import Call, Facts, Import, Shape
from mlops_lib.detection.symbols import LAYER, MODEL, of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

CHAIN_LIMIT = 60
"""Links of a name that are followed; generated code can have thousands."""


def gather(tree: ast.Module, local_names: Mapping[str, str] | None = None) -> Facts:
    """Walk a tree.

    Args:
        tree: the module.
        local_names: what names of local modules stand for, such as `net.build()`.
    """
    local_names = local_names or {}
    first = _Visitor(local_names, {})
    first.run(tree)
    if not first.unresolved & set(first.names):
        return first.facts
    # Something was used above its definition: now all names are known.
    second = _Visitor(
        local_names, {name: first.names[name] for name in first.unresolved & set(first.names)}
    )
    second.run(tree)
    return second.facts


class _Visitor:
    def __init__(self, local_names: Mapping[str, str], seed: dict[str, str]) -> None:
        self.facts = Facts()
        self.local_names = local_names
        self.names: dict[str, str] = dict(seed)
        self.texts: dict[str, str] = {}
        self.stars: list[str] = []
        self.attributes: dict[str, str] = {}
        self.returns: list[str] = []
        self.unresolved: set[str] = set()
        self.defined: set[str] = set()
        self.scope = ""
        self.owner = ""
        self.of_class = ""
        self.multiplied: dict[str, list[int]] = {}
        """Class of a network to the lines where it multiplies matrices itself."""
        self.instances: dict[str, list[int]] = {}
        """What is called by its bare name within a class, to the lines."""
        self.guard = 0
        self.composed: set[str] = set()
        """What composed texts begin with: `f"models.{name}"`."""
        self.imports_unknown = 0
        """The line of an import whose name is made elsewhere."""
        self.repeating = 0
        """How many loops over layers are around."""
        self.frozen: set[str] = set()
        """Networks whose weights are held fixed: `discriminator.trainable = False`."""
        self.trained: dict[str, int] = {}
        """Networks that are compiled or fitted themselves, with the line."""
        self.draws_noise = False
        self.shaper = patterns.Shaper(self.name)
        self._visits: dict[type[ast.AST], Any] = {
            node: getattr(self, "_" + node.__name__.lower())
            for node in (
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
        if self.imports_unknown:
            self.facts.dynamic += [
                (f"{one}*", "", self.imports_unknown)
                for one in sorted(self.composed)
                if _PACKAGE.fullmatch(one)
            ]
        for network in sorted(self.frozen & set(self.trained)):
            if self.draws_noise:  # it judges what another network makes of noise
                saw = f"{network}.trainable = False"
                self.facts.shapes.append(Shape("adversarial", self.trained[network], saw))
                break
        for (
            name,
            lines,
        ) in (
            self.multiplied.items()
        ):  # a layer written by hand counts where it is put into a network
            origin = self.instances.get(name, [])
            self.facts.shapes += [
                Shape("product", line, "… @ …") for line in (origin if origin[1:] else lines)
            ]
        self.facts.undefined = [
            call
            for call in self.facts.calls
            if call.name in self.unresolved and call.name not in self.defined
        ]
        self.facts.exports = {
            name: value
            for name, value in self.names.items()
            if value.strip("?") and "." not in name and value.partition("(")[0] != name
        }

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
        for alias in node.names:
            self._imported(alias.name, node, ())
            top = alias.name.partition(".")[0]
            self.names[alias.asname or top] = alias.name if alias.asname else top

    def _importfrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        names = tuple(alias.name for alias in node.names)
        if node.level:
            self.facts.relative.append((node.level, module, names, node.lineno))
        elif module == "__future__":
            return
        else:
            self._imported(module, node, names)
        origin = "." * node.level + module
        for alias in node.names:
            if alias.name == "*":
                self.stars.append(origin)
                prefix = origin + "."
                self.names.update(
                    {
                        k[len(prefix) :]: v
                        for k, v in self.local_names.items()
                        if k.startswith(prefix)
                    }
                )
            else:
                dotted = f"{origin}.{alias.name}" if module else f"{origin}{alias.name}"
                self.names[alias.asname or alias.name] = self.local_names.get(dotted, dotted)
                returned = self.local_names.get(dotted + "()")
                if returned:
                    self.names[(alias.asname or alias.name) + "()"] = returned

    def _imported(self, module: str, node: ast.stmt, names: tuple[str, ...]) -> None:
        nested = node.col_offset > 0
        self.facts.imports.append(
            Import(module, node.lineno, names, optional=self.guard > 0, nested=nested)
        )

    def _try(self, node: ast.Try) -> None:
        guarded = [h for h in node.handlers if _catches_import(h)]
        # An import whose failure ends the program is required, however politely it says so.
        ends = any(_ends_program(handler) for handler in guarded)
        self.guard += bool(guarded) and not ends
        before = len(self.facts.imports)
        self.all(node.body)
        between = len(self.facts.imports)
        self.all(node.handlers)
        self.guard -= bool(guarded) and not ends
        self._alternatives(self.facts.imports[before:between], self.facts.imports[between:])
        self.all(node.orelse)
        self.all(node.finalbody)

    def _alternatives(self, tried: list[Import], otherwise: list[Import]) -> None:
        """Mark imports that both branches share as required, and note pairs of alternatives."""
        tops = {imported.top for imported in tried}, {imported.top for imported in otherwise}
        for imported in [*tried, *otherwise]:
            if imported.top in tops[0] & tops[1]:
                imported.optional = self.guard > 0
        if tried and otherwise and not tops[0] & tops[1]:
            self.facts.alternatives.append((tried[0], otherwise[0]))

    def _if(self, node: ast.If) -> None:
        test = ast.dump(node.test) if _is_short(node.test) else ""
        if "TYPE_CHECKING" in test:
            self.guard += 1
            self.all(node.body)
            self.guard -= 1
            self.all(node.orelse)
            return
        if "__name__" in test and "__main__" in test:
            self.facts.has_main = True
        self.inside(node)

    # names

    def _assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        self.all(target for target in node.targets if not isinstance(target, ast.Name))
        for target in node.targets:
            self._bind(target, node.value)
        self.shaper.assigned(node)
        for target in node.targets:
            is_trainable = isinstance(target, ast.Attribute) and target.attr == "trainable"
            if is_trainable and isinstance(node.value, ast.Constant) and node.value.value is False:
                self.frozen.add(_short(target.value))  # type: ignore[attr-defined]
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for target in node.targets:
                if isinstance(target, ast.Subscript) and self.name(target.value) == "os.environ":
                    variable = _text(target.slice)
                    if variable:
                        self.facts.settings[variable] = node.value.value

    def _augassign(self, node: ast.AugAssign) -> None:
        if isinstance(node.op, ast.Sub) and isinstance(node.value, ast.BinOp):
            self.facts.descends = True
        if isinstance(node.op, ast.Add) and _is_negative(node.value):
            self.facts.descends = True
        growing = isinstance(node.op, ast.Add) and isinstance(node.value, (ast.List, ast.Tuple))
        self.repeating += growing and bool(self.shaper.turns)
        self.inside(node)
        self.repeating -= growing and bool(self.shaper.turns)

    def _joinedstr(self, node: ast.JoinedStr) -> None:
        self.composed.add(self._beginning(node))
        self.inside(node)

    def _listcomp(self, node: ast.ListComp | ast.GeneratorExp) -> None:
        self.repeating += 1
        self.inside(node)
        self.repeating -= 1

    _generatorexp = _listcomp

    def _annassign(self, node: ast.AnnAssign) -> None:
        self.inside(node)
        if node.value is not None:
            self._bind(node.target, node.value)
        origin = self._annotated(node.annotation)
        name = _target(node.target)
        table = self.attributes if name.startswith("self.") else self.names
        if name and origin and not of(Call(f"{table.get(name, '')}.fit", 0)).framework:
            table[name] = origin

    def _annotated(self, annotation: ast.expr | None) -> str:
        """Return what a variable holds whose annotation is a class of models: `trainer: Trainer`."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            name = self.names.get(annotation.value, "")
        else:
            name = self.name(annotation) if annotation is not None else ""
        if "." not in name or "()" in name or name.endswith((".Module", ".Sequential")):
            return ""
        return name + "()" if of(Call(name, 0)).part == MODEL else ""

    def _namedexpr(self, node: ast.NamedExpr) -> None:
        self.inside(node)
        self._bind(node.target, node.value)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts):
                for one, its in zip(target.elts, value.elts, strict=True):
                    self._bind(one, its)
            return
        name = _target(target)
        if not name:
            return
        self.defined.add(name)
        origin = self._module_by_name(value) or self.name(value)
        table = self.attributes if name.startswith("self.") else self.names
        if origin and origin != name:
            table[name] = origin
        elif (
            table is self.names
            and not isinstance(value, ast.Constant)
            and not table.get(name, ")").endswith(")")
        ):
            table.pop(name)  # a name that now holds something else no longer means what it meant
        text = self.text(value)
        if text:
            self.texts[name] = text

    def _beginning(self, node: ast.expr) -> str:
        """Return the literal text that a composed one begins with."""
        if isinstance(node, ast.JoinedStr):
            beginning = ""
            for value in node.values:
                part = value.value if isinstance(value, ast.FormattedValue) else value
                if not self.text(part):
                    break
                beginning += self.text(part)
            return beginning
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self.text(node.left) or self._beginning(node.left)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
            return self.text(node.left).partition("%")[0]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            is_format = node.func.attr == "format"
            return self.text(node.func.value).partition("{")[0] if is_format else ""
        return ""

    def _module_by_name(self, node: ast.expr) -> str:
        """Return the module that `importlib.import_module("zoo.net")` returns, "" for anything
        else.
        """
        if not isinstance(node, ast.Call) or not node.args:
            return ""
        is_import = self.name(node.func).rpartition(".")[2] in _DYNAMIC
        return self.text(node.args[0]) if is_import else ""

    def _with(self, node: ast.With) -> None:
        for item in node.items:
            self.visit(item.context_expr)
            if item.optional_vars is not None:
                self._bind(item.optional_vars, item.context_expr)
        self.all(node.body)

    def _for(self, node: ast.For) -> None:
        if isinstance(node.target, ast.Name):
            self.names[node.target.id] = "?"
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
            name = self.name(base)
            if name:
                self.facts.bases.append(Call(name, node.lineno, scope=node.name))
                if not derived or derived == "object":
                    derived = name
            self.visit(base)
        self.defined.add(node.name)
        if derived and derived != "object":
            self.names[node.name] = derived
        outer, self.attributes = self.attributes, dict(self.attributes) if self.owner else {}
        owner, self.owner = self.owner, derived or node.name
        of_class, self.of_class = self.of_class, node.name
        # Methods use what __init__ stored, wherever it stands.
        for method in sorted(
            node.body, key=lambda s: getattr(s, "name", "") not in ("__init__", "build", "setup")
        ):
            self.visit(method)
        self.attributes = outer
        self.owner = owner
        self.of_class = of_class

    def _functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.defined.add(node.name)
        self.all(node.decorator_list)
        self.all(
            default
            for default in [*node.args.defaults, *node.args.kw_defaults]
            if default is not None
        )
        names = self.names
        texts = self.texts
        returns = self.returns
        scope = self.scope
        self.names = dict(names)
        self.texts = dict(texts)
        self.returns = []
        for argument in [*node.args.args, *node.args.kwonlyargs]:
            origin = self._annotated(argument.annotation)
            self.names[argument.arg] = origin or "?"
            self.texts.pop(argument.arg, None)
        self.scope = f"{scope}.{node.name}" if scope else node.name
        self.shaper.enter(one.arg for one in node.args.args)
        self.all(node.body)
        self.shaper.function(node)
        is_pass = "." in self.owner and node.name in ("forward", "call", "__call__")
        if is_pass or (self.owner and node.name.startswith(("forward_and", "inverse_and"))):
            self.shaper.method(node)
        self.facts.shapes += self.shaper.leave(self.scope, node.lineno)
        origin = next((r for r in self.returns if r), "")
        declared = {n for s in node.body if isinstance(s, ast.Global) for n in s.names}
        exported = {name: self.names[name] for name in declared & set(self.names)}
        self.names = names
        self.texts = texts
        self.returns = returns
        self.scope = scope
        self.names.update(exported)
        if self.owner and not scope:
            if origin:
                self.attributes[f"self.{node.name}()"] = origin
        elif origin:
            self.names[node.name + "()"] = origin
        for decorator in node.decorator_list:
            self.name(decorator)

    _asyncfunctiondef = _functiondef

    def _return(self, node: ast.Return) -> None:
        self.inside(node)
        if node.value is not None:
            self.returns.append(self.name(node.value))

    def _attribute(self, node: ast.Attribute) -> None:
        name = self.name(node)
        if name and "()" not in name and not name.startswith("self."):
            self.facts.mentions.append(Call(name, node.lineno, scope=self.scope))
        base: ast.AST = node
        while isinstance(base, ast.Attribute):
            base = base.value
        if not isinstance(base, ast.Name):
            self.visit(base)

    def name(self, node: ast.AST) -> str:
        """Return the dotted name of an expression, resolved through imports and assignments, or ""."""
        parts: list[str] = []
        for _ in range(CHAIN_LIMIT):
            if isinstance(node, ast.Attribute):
                parts.append(node.attr)
                node = node.value
            elif isinstance(node, ast.Call):
                parts.append("()")
                node = node.func
            elif isinstance(node, (ast.Await, ast.Starred)):
                node = node.value
            else:
                break
        if isinstance(node, ast.Name):
            root = node.id
        elif isinstance(node, ast.Subscript) and parts and not isinstance(node.value, ast.Constant):
            root = "?"
        else:
            return (
                "?." + ".".join(reversed(parts)).replace(".()", "()")
                if parts and parts != ["()"]
                else ""
            )
        return self._resolve(root, parts[::-1])

    def _resolve(self, root: str, parts: list[str]) -> str:
        """Join the links, looking up the longest known beginning at every step."""
        if root == "self" and parts:
            dotted = "self." + parts[0]
            parts = parts[1:]
            if parts and parts[0] == "()" and dotted + "()" in self.attributes:
                dotted, parts = self.attributes[dotted + "()"], parts[1:]
            elif dotted in self.attributes:
                dotted = self.attributes[dotted]
            elif self.owner and "." in self.owner:
                dotted = self.owner + "()." + dotted[5:]
        elif parts and parts[0] == "()" and root + "()" in self.names:
            dotted, parts = self.names[root + "()"], parts[1:]
        elif root in self.names:
            dotted = self.names[root]
        else:
            if root != "?":
                self.unresolved.add(root)
                if parts and parts[0] == "()":
                    self.unresolved.add(root + "()")
            dotted = self._starred(root)
        for part in parts:
            dotted = dotted + "()" if part == "()" else f"{dotted}.{part}"
            dotted = self.local_names.get(dotted, dotted)
        return dotted

    def _starred(self, root: str) -> str:
        """Resolve a name that may come from `from module import *`."""
        if not self.stars or root in _BUILTINS:
            return root
        if of(Call(f"keras.layers.{root}", 0)).part == LAYER:
            layers = next((module for module in self.stars if module.endswith("keras.layers")), "")
            if layers:
                return f"{layers}.{root}"
        for module in reversed(self.stars):
            if root[:1].isupper() or module.partition(".")[0] in (
                "pylab",
                "pycaret",
                "fastcore",
                "gensim",
                "numpy",
                "torch",
                "fastai",
                "tensorflow",
                "keras",
            ):
                return f"{module}.{root}"
        return root

    def text(self, node: ast.AST, depth: int = 0) -> str:
        """Return the literal text of an expression, "" if it has none."""
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else ""
        if isinstance(node, ast.Name):
            return self.texts.get(node.id, "")
        if depth > 8:
            return ""
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Div)):
            left = self.text(node.left, depth + 1)
            right = self.text(node.right, depth + 1)
            return (
                ""
                if not left or not right
                else left + ("/" if isinstance(node.op, ast.Div) else "") + right
            )
        if isinstance(node, ast.Call):
            called = self.name(node.func)
            if (
                called
                in ("os.path.join", "pathlib.Path", "Path", "os.path.expanduser", "os.path.abspath")
                and node.args
            ):
                parts = [self.text(argument, depth + 1) for argument in node.args]
                return os.path.join(*parts) if all(parts) else ""
        return ""

    # calls

    def _call(self, node: ast.Call) -> None:
        name = self.name(node.func)
        if not name:
            self.inside(node)
            return
        keywords = tuple(keyword.arg for keyword in node.keywords if keyword.arg)
        first = self.text(node.args[0]) if node.args else ""
        if name.startswith("subprocess.") and node.args and isinstance(node.args[0], ast.List):
            first = " ".join(filter(None, map(self.text, node.args[0].elts)))
        if not first and not node.args:
            policy = next((one.value for one in node.keywords if one.arg == "policy"), None)
            first = self.text(policy) if policy is not None else ""
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
        self._noted(call, node)
        # A method of what another call returned: that call counts too, and the arguments.
        if isinstance(node.func, ast.Attribute):
            base: ast.AST = node.func.value
            for _ in range(CHAIN_LIMIT):
                if not isinstance(base, ast.Attribute):
                    break
                base = base.value
            if not isinstance(base, ast.Name):
                self.visit(base)
        elif not isinstance(node.func, ast.Name):
            applied = isinstance(node.func, ast.Call) and bool(self.shaper.turns)
            self.repeating += applied  # x = Dense(64)(x), in a loop
            self.visit(node.func)
            self.repeating -= applied
        growing = call.leaf in _GROWING and bool(self.shaper.turns)
        self.repeating += growing
        for argument in node.args:
            self._argument(argument)
        for keyword in node.keywords:
            self._argument(keyword.value)
        self.repeating -= growing

    def _takes_turns(self, node: ast.Call) -> bool:
        """Return whether a call takes what the loop around it counts: `Dense(size)` for sizes."""
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
            name = self.names.get(node.id, "")
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

    def _noted(self, call: Call, node: ast.Call) -> None:
        leaf = call.leaf
        if call.name == "len" and node.args and self.name(node.args[0]) == "sys.argv":
            self.facts.counts_arguments = True
        elif leaf == "add_argument":
            self._option(node)
        elif (
            leaf == "run_cell_magic"
            and len(node.args) == 3
            and call.first in ("time", "timeit", "capture", "prun")
        ):
            self._exported(node)
        elif (
            leaf in ("putenv", "setdefault")
            and call.name in ("os.environ.setdefault", "os.putenv")
            and len(node.args) == 2
        ):
            value = self.text(node.args[1])
            if call.first and value:
                self.facts.settings[call.first] = value
        elif call.name in ("sys.path.append", "sys.path.insert"):
            added = self.text(node.args[-1]) if node.args else ""
            self.facts.paths_added.append(added or _parents(node.args[-1] if node.args else node))
        elif leaf in _DYNAMIC:
            self._imported_by_name(call, node)
        elif leaf == "partial" and node.args:
            name = self.name(node.args[0])
            if "." in name and "()" not in name:  # `@partial(jax.value_and_grad, …)`
                self.facts.mentions.append(Call(name, node.lineno, scope=self.scope))
        elif leaf in _CONFIGURED or call.name in _HYDRA:
            self._configured(call, node)
        if leaf in ("compile", "fit", "train_on_batch") and isinstance(node.func, ast.Attribute):
            self.trained.setdefault(_short(node.func.value), node.lineno)
        elif leaf in patterns.NOISE:
            self.draws_noise = True
        if leaf in READERS or leaf in WRITERS:
            self._data(call, node)

    def _configured(self, call: Call, node: ast.Call) -> None:
        """Note a call that reads a configuration, or makes what one names."""
        keywords = {one.arg: self.text(one.value) for one in node.keywords if one.arg}
        if call.name in _HYDRA:
            if keywords.get("config_name"):
                self.facts.config_roots.append(
                    (keywords.get("config_path", ""), keywords["config_name"])
                )
            self.facts.configured.append((call.name, node.lineno))
        elif call.name.endswith("OmegaConf.load"):
            if call.first.endswith((".yaml", ".yml")):
                self.facts.config_roots.append(os.path.split(call.first))
        elif "." in call.name:
            self.facts.configured.append((call.name, node.lineno))

    def _imported_by_name(self, call: Call, node: ast.Call) -> None:
        """Note a module that is imported by a literal name: `importlib.import_module("zoo.net")`."""
        beginning = self._beginning(node.args[0]) if node.args and not call.first else ""
        if _PACKAGE.fullmatch(beginning):  # f"models.{name}"
            self.facts.dynamic.append((beginning + "*", "", node.lineno))
            return
        if not call.first:
            self.imports_unknown = node.lineno
        level = len(call.first) - len(call.first.lstrip("."))
        module = call.first.lstrip(".")
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", module):
            return
        if level:
            self.facts.relative.append((level, module, ("*",), node.lineno))
        else:
            nested = node.col_offset > 0
            optional = self.guard > 0
            imported = Import(module, node.lineno, (), optional=optional, nested=nested)
            self.facts.imports.append(imported)
        self.facts.dynamic.append(("." * level + module, "", node.lineno))

    def _exported(self, node: ast.Call) -> None:
        """Visit a cell under a magic, which an exported notebook holds as a text."""
        for statement in source.parse(self.text(node.args[2])).tree.body:
            self.visit(ast.increment_lineno(statement, node.lineno - 1))

    def _subscript(self, node: ast.Subscript) -> None:
        self.shaper.looked_up(node)
        if self.name(node.value) == "sys.argv":
            index = node.slice
            if isinstance(index, ast.Constant) and isinstance(index.value, int) and index.value > 0:
                self.facts.argument_indices.add(index.value)
            elif isinstance(index, ast.Slice):
                self.facts.counts_arguments = True
        self.inside(node)

    def _binop(self, node: ast.BinOp) -> None:
        self.shaper.combined(node)
        if isinstance(node.op, ast.MatMult) and "." in self.owner:
            self.multiplied.setdefault(self.of_class, []).append(node.lineno)
        elif isinstance(node.op, ast.MatMult) and not _is_transposed(node.left):
            self.facts.multiplied.append((self.scope, node.lineno))
        if (
            isinstance(node.op, ast.Sub)
            and isinstance(node.right, ast.BinOp)
            and isinstance(node.right.op, ast.Mult)
        ):
            self.facts.descends = True
        if isinstance(node.op, ast.Add) and (_is_negative(node.left) or _is_negative(node.right)):
            self.facts.descends = True
        descends = self.facts.descends
        self.inside(node)
        if _is_difference(node):
            self.facts.descends = descends

    def _option(self, node: ast.Call) -> None:
        names = [
            a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
        ]
        keywords = {k.arg: k.value for k in node.keywords}
        needed = keywords.get("required")
        optional = keywords.get("nargs")
        if isinstance(needed, ast.Constant) and needed.value is True and names:
            self.facts.required_options += 2
        elif names and not names[0].startswith("-"):
            manages = isinstance(optional, ast.Constant) and optional.value in ("?", "*")
            self.facts.required_options += not manages

    def _data(self, call: Call, node: ast.Call) -> None:
        path = call.first
        if not path:
            keyword = next((k.value for k in node.keywords if k.arg in _PATH_KEYWORDS), None)
            path = self.text(keyword) if keyword is not None else ""
        if not path or "://" in path or not path.strip() or len(path) > 250 or "\n" in path:
            return
        modes = [
            self.text(a)
            for a in [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "mode")]
        ]
        if call.leaf in WRITERS or (
            call.leaf == "open" and any(set(mode) & set("wax") for mode in modes)
        ):
            self.facts.written.add(path)
        elif is_data(call.name):
            self.facts.data.append((path, call.line))


_PATH_KEYWORDS = (
    "filepath_or_buffer",
    "path",
    "file",
    "filename",
    "directory",
    "root",
    "io",
    "filepath",
    "fname",
)
_GROWING = ("append", "add", "extend", "insert", "add_module", "append_layer", "setattr")
"""Methods that put another layer to those there are."""
_PACKAGE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\.")
_DYNAMIC = ("import_module", "__import__")
_HYDRA = ("hydra.main", "hydra.compose", "hydra.initialize")
_CONFIGURED = ("instantiate", "LightningCLI", "instantiate_from_config", "load")
"""Functions of Hydra, and of Lightning, that make what a configuration names."""
_BUILTINS = frozenset(dir(__builtins__) if not isinstance(__builtins__, dict) else __builtins__)


def _catches_import(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    caught = {t.id if isinstance(t, ast.Name) else getattr(t, "attr", "") for t in types}
    return bool(caught & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def _ends_program(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    if isinstance(last, ast.Raise):
        return True
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call):
        called = last.value.func
        name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
        return name in ("exit", "quit", "_exit", "abort")
    return False


def _is_short(node: ast.AST) -> bool:
    return isinstance(node, (ast.Name, ast.Attribute, ast.Compare, ast.BoolOp))


def _target(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    ):
        return "self." + node.attr
    return ""


def _text(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _parents(node: ast.AST) -> str:
    """Return a folder computed from `__file__` as relative steps up, "" for anything else."""
    text = ast.dump(node)
    if "__file__" not in text:
        return ""
    steps = text.count("'dirname'") - 1 + text.count("'parent'") - 1 + text.count("'..'")
    return "/".join([".."] * max(0, min(steps, 4))) or "."


def _short(node: ast.AST) -> str:
    return ast.unparse(node)[:60]


def _is_transposed(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in ("T", "mT")


def _is_negative(node: ast.AST) -> bool:
    """Return whether an expression is a product with a factor of negative sign: `rate * -slope`."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mult):
        return False
    return any(
        isinstance(side, ast.UnaryOp) and isinstance(side.op, ast.USub)
        for side in (node.left, node.right)
    )


def _is_difference(node: ast.BinOp) -> bool:
    """`f(x + h) - f(x - h)`: what is subtracted in it is no step."""
    if not (
        isinstance(node.op, ast.Sub)
        and isinstance(node.left, ast.Call)
        and isinstance(node.right, ast.Call)
    ):
        return False
    return ast.dump(node.left.func) == ast.dump(node.right.func)
