"""The cell magic `%%mlops`: improve the model that a cell trains."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mlops_lib.errors import UsageError

if TYPE_CHECKING:
    pass

MEASURES = ("evaluate", "score")


_USAGE = (
    "%%mlops [--target 0.9] [--metric accuracy] [--trials 12] [--minutes 30] [--seed 1] [--result"
    " NAME]"
)


_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "target": float,
    "metric": str,
    "trials": int,
    "minutes": float,
    "seed": int,
    "result": str,
}


def load(shell: Any) -> None:
    """Register `%%mlops` with this IPython."""

    def mlops(line: str, cell: str) -> Any:
        return improve_cell(shell, line, cell)

    mlops.__doc__ = (
        "Run a cell that trains a model, and improve the model until it meets the bar.\n\n   "
        f" {_USAGE}"
    )
    shell.register_magic_function(mlops, magic_kind="cell")


def improve_cell(shell: Any, line: str, cell: str) -> Any:
    """Run a cell, then improve the last model it fitted, in place.

    Every name of the model refers to the better one afterwards. The metric and data by which the
    cell evaluates or scores the model after its fit decide, or else the fit's own validation data.

    Returns:
        The `Improvement`, which is also bound to the name in `--result`; None if the cell failed.

    Raises:
        UsageError: the line is wrong, or the cell fits no model on targets.
    """
    from mlops_lib.tuning.in_memory import improve

    options = _options(line)
    name = options.pop("result", "")
    witness = _Witness()
    shell.user_ns["__mlops_call__"] = witness
    shell.ast_transformers.append(_Calls())
    try:
        execution = shell.run_cell(cell)
    finally:
        shell.ast_transformers.pop()
        shell.user_ns.pop("__mlops_call__", None)
    if not execution.success:
        return None
    if witness.fitted is None:
        raise UsageError(
            "the cell fits no model on targets",
            where="%%mlops",
            remedy="Let it call model.fit(x, y, …).",
        )
    model, x, y, validation = witness.fitted
    improvement = improve(
        model, x, y, validation_data=witness.measured or validation, in_place=True, **options
    )
    if name:
        shell.user_ns[name] = improvement
    return improvement


def _options(line: str) -> dict[str, Any]:
    words = shlex.split(line.replace("=", " "))
    options = {}
    while words:
        flag = words.pop(0)
        convert = _OPTIONS.get(flag.removeprefix("--"))
        if not flag.startswith("--") or convert is None or not words:
            raise UsageError(f"{flag!r} is not understood", where="%%mlops", remedy=_USAGE)
        try:
            options[flag[2:]] = convert(words.pop(0))
        except ValueError as error:
            raise UsageError(str(error), where=f"%%mlops {flag}", remedy=_USAGE) from None
    return options


class _Calls(ast.NodeTransformer):
    """Rewrites `model.fit(…)` to `__mlops_call__(model, "fit", …)`, and so on."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        called = node.func
        if not isinstance(called, ast.Attribute) or called.attr not in ("fit", *MEASURES):
            return node
        witness = ast.copy_location(ast.Name("__mlops_call__", ast.Load()), node)
        method = ast.copy_location(ast.Constant(called.attr), node)
        return ast.copy_location(
            ast.Call(witness, [called.value, method, *node.args], node.keywords), node
        )


class _Witness:
    """Records the last fitted model, its data, and its evaluations after that."""

    def __init__(self) -> None:
        self.fitted: tuple[Any, Any, Any, Any] | None = None
        self.measured: tuple[Any, Any] | None = None

    def __call__(self, owner: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        result = getattr(owner, method)(*args, **kwargs)
        x = args[0] if args else kwargs.get("x", kwargs.get("X"))
        y = args[1] if len(args) > 1 else kwargs.get("y")
        if (
            method == "fit"
            and y is not None
            and (hasattr(owner, "predict") or hasattr(owner, "compile"))
        ):
            self.fitted = (owner, x, y, kwargs.get("validation_data"))
            self.measured = None
        elif (
            method in MEASURES
            and self.fitted is not None
            and owner is self.fitted[0]
            and y is not None
        ):
            self.measured = (x, y)
        return result
