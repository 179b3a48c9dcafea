"""Operations on a model's symbolic tensors that only Keras 2 supports.

A script that needs them runs on Keras 2.
"""

import ast
from typing import Dict, List, Optional, Set, Tuple

BACKEND = ("gradients", "get_session")
"""Functions of `keras.backend` that only graphs have."""
LAYERS = ("LocallyConnected1D", "LocallyConnected2D")


def use(tree: ast.AST) -> Optional[Tuple[str, int]]:
    """Return the first construct of a source that needs a Keras of graphs, with its line.

    None if there is none.
    """
    visited = _Seen()
    visited.visit(tree)
    for name, line in visited.losses:
        symbolic_arguments = visited.functions.get(name, set()) & visited.tensors
        if symbolic_arguments:
            visited.found.append(
                (
                    f"the loss {name} uses {sorted(symbolic_arguments)[0]}, a tensor of the model",
                    line,
                )
            )
    return min(visited.found, key=lambda item: item[1], default=None)


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
            item.id
            for target in node.targets
            for item in (target.elts if isinstance(target, ast.Tuple) else [target])
            if isinstance(item, ast.Name)
        }
        if isinstance(node.value, ast.Attribute) and node.value.attr == "backend":
            self.backends |= names
        elif isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Call):
            self.tensors |= names

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A function that may be a loss."""
        own = {argument.arg for argument in node.args.args}
        used_names = {
            item.id
            for item in ast.walk(node)
            if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Load)
        }
        set_here = {
            item.id
            for item in ast.walk(node)
            if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store)
        }
        self.functions[node.name] = used_names - own - set_here
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
            self.losses += [(item.id, node.lineno) for item in losses if isinstance(item, ast.Name)]


def _is_backend(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "backend"
