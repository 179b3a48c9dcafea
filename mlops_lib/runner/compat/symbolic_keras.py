"""What Keras 2 could do with the tensors of a model before it ran, and Keras 3 cannot: then the
script gets Keras 2.
"""

import ast
from typing import Dict, List, Optional, Set, Tuple

BACKEND = ("gradients", "get_session")
"""Functions of `keras.backend` that only graphs have."""
LAYERS = ("LocallyConnected1D", "LocallyConnected2D")


def use(tree: ast.AST) -> Optional[Tuple[str, int]]:
    """The first thing in a source that only a Keras of graphs can do, and its line; None if there
    is none.
    """
    seen = _Seen()
    seen.visit(tree)
    for name, line in seen.losses:
        held = seen.functions.get(name, set()) & seen.tensors
        if held:
            seen.found.append(
                (f"the loss {name} uses {sorted(held)[0]}, a tensor of the model", line)
            )
    return min(seen.found, key=lambda one: one[1], default=None)


class _Seen(ast.NodeVisitor):
    def __init__(self) -> None:
        self.backends: Set[str] = set()
        self.found: List[Tuple[str, int]] = []
        self.tensors: Set[str] = set()
        """Names of what layers gave."""
        self.functions: Dict[str, Set[str]] = {}
        """Function to the names it uses that are not its own."""
        self.losses: List[Tuple[str, int]] = []

    def visit_Import(self, node: ast.Import) -> None:
        """`import keras.backend as K`."""
        self.backends |= {
            alias.asname
            for alias in node.names
            if alias.asname and alias.name.endswith("keras.backend")
        }

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from keras import backend as K`, `from keras.layers import LocallyConnected2D`."""
        parts = (node.module or "").split(".")
        for alias in node.names:
            if parts[-1] == "keras" and alias.name == "backend":
                self.backends.add(alias.asname or alias.name)
            elif "keras" in parts and alias.name in LAYERS:
                self.found.append((f"{alias.name} is Keras 2's", node.lineno))

    def visit_Assign(self, node: ast.Assign) -> None:
        """`x = Dense(8)(x)`, `K = keras.backend`."""
        self.generic_visit(node)
        names = {
            one.id
            for target in node.targets
            for one in (target.elts if isinstance(target, ast.Tuple) else [target])
            if isinstance(one, ast.Name)
        }
        if isinstance(node.value, ast.Attribute) and node.value.attr == "backend":
            self.backends |= names
        elif isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Call):
            self.tensors |= names

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A function that may be a loss."""
        own = {argument.arg for argument in node.args.args}
        used = {
            one.id
            for one in ast.walk(node)
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)
        }
        set_here = {
            one.id
            for one in ast.walk(node)
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
        }
        self.functions[node.name] = used - own - set_here
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """`K.gradients(…)`, `model.compile(loss=…)`, `model.add_loss(…)`."""
        self.generic_visit(node)
        called = node.func
        if not isinstance(called, ast.Attribute):
            return
        owner = called.value.id if isinstance(called.value, ast.Name) else ""
        if called.attr in BACKEND and (owner in self.backends or _is_backend(called.value)):
            self.found.append((f"K.{called.attr} works on a graph", node.lineno))
        elif called.attr == "add_loss" and (
            owner not in ("self", "") or any(k.arg == "inputs" for k in node.keywords)
        ):
            self.found.append(("add_loss of a tensor of the model", node.lineno))
        elif called.attr == "compile":
            losses = [k.value for k in node.keywords if k.arg == "loss"]
            self.losses += [(one.id, node.lineno) for one in losses if isinstance(one, ast.Name)]


def _is_backend(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "backend"
