"""Predicates on single syntax nodes that need no resolved names."""

from __future__ import annotations

import ast

from mlops_lib.lazy_regex import lazy_regex

_INSTALLED = lazy_regex(
    r"(?i)(^|_)(is_)?(available|installed|importable)$|^find_spec$|^_?(has|have)_"
)


MOST_STEPS_UP = 4
"""More steps up from a file than this lead out of any project."""


def catches_import(handler: ast.ExceptHandler) -> bool:
    """Return whether a handler catches the failure of an import."""
    if handler.type is None:
        return True
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    caught = {t.id if isinstance(t, ast.Name) else getattr(t, "attr", "") for t in types}
    return bool(caught & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def ends_program(handler: ast.ExceptHandler) -> bool:
    """Return whether a handler ends by raising or by leaving the program."""
    last = handler.body[-1]
    if isinstance(last, ast.Raise):
        return True
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call):
        called = last.value.func
        name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
        return name in ("exit", "quit", "_exit", "abort")
    return False


def is_simple(node: ast.AST) -> bool:
    """Return whether an expression is a name, an attribute or a condition."""
    return isinstance(node, (ast.Name, ast.Attribute, ast.Compare, ast.BoolOp))


def asks_for_package(test: ast.expr) -> bool:
    """Return whether a condition tests for a package: `is_rich_available()`, `HAS_GPU`."""
    while isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test = test.operand
    if isinstance(test, ast.BoolOp):
        return any(asks_for_package(one) for one in test.values)
    if isinstance(test, ast.Compare):
        test = test.left
    callee = test.func if isinstance(test, ast.Call) else test
    name = callee.id if isinstance(callee, ast.Name) else getattr(callee, "attr", "")
    return _INSTALLED.search(name) is not None


def bound_name(node: ast.expr) -> str:
    """Return the name that a target binds, `self.x` included, "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    ):
        return "self." + node.attr
    return ""


def literal(node: ast.AST) -> str:
    """Return the text that a node is, "" for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def folder_above(node: ast.AST) -> str:
    """Return a folder computed from `__file__` as relative steps up, "" for anything else.

    Example:
        >>> import ast
        >>> folder_above(ast.parse("Path(__file__).parent.parent"))
        '..'
    """
    parts = list(ast.walk(node))
    if not any(isinstance(part, ast.Name) and part.id == "__file__" for part in parts):
        return ""
    # The first step leads from the file to its own folder.
    steps = sum(map(_steps_up, parts)) - 1
    return "/".join([".."] * max(0, min(steps, MOST_STEPS_UP))) or "."


def _steps_up(node: ast.AST) -> int:
    """Return how many folders higher a part of a path expression leads."""
    if isinstance(node, (ast.Name, ast.Attribute)):
        name = node.id if isinstance(node, ast.Name) else node.attr
        return int(name in ("dirname", "parent"))
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute):
        index = node.slice.value if isinstance(node.slice, ast.Constant) else None
        is_parents = node.value.attr == "parents" and isinstance(index, int)
        return index + 1 if is_parents and isinstance(index, int) else 0
    segments = literal(node).strip("/").split("/")
    return len(segments) if set(segments) == {".."} else 0


def excerpt(node: ast.AST) -> str:
    """Return the beginning of the source of a node."""
    return ast.unparse(node)[:60]


def is_transposed(node: ast.AST) -> bool:
    """Return whether an expression is the transpose of another: `x.T`."""
    return isinstance(node, ast.Attribute) and node.attr in ("T", "mT")


def is_negative_product(node: ast.AST) -> bool:
    """Return whether an expression is a product with a negated factor: `rate * -slope`."""
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mult):
        return False
    return any(
        isinstance(side, ast.UnaryOp) and isinstance(side.op, ast.USub)
        for side in (node.left, node.right)
    )


def is_difference(node: ast.BinOp) -> bool:
    """Return whether two calls of one function are subtracted: `f(x + h) - f(x - h)`."""
    if not (
        isinstance(node.op, ast.Sub)
        and isinstance(node.left, ast.Call)
        and isinstance(node.right, ast.Call)
    ):
        return False
    return ast.dump(node.left.func) == ast.dump(node.right.func)
