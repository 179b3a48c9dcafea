"""`detection.syntax`: questions about single nodes."""

from __future__ import annotations

import ast

import pytest

from mlops_lib.detection import syntax


def expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def handler(body: str, kind: str = "ImportError") -> ast.ExceptHandler:
    statement = ast.parse(f"try:\n    pass\nexcept {kind}:\n    {body}\n").body[0]
    assert isinstance(statement, ast.Try)
    return statement.handlers[0]


@pytest.mark.parametrize("kind", ["", "ImportError", "(OSError, ModuleNotFoundError)", "Exception"])
def test_a_handler_catches_a_missing_package(kind: str) -> None:
    assert syntax.catches_import(handler("pass", kind))


def test_a_handler_of_other_errors_does_not() -> None:
    assert not syntax.catches_import(handler("pass", "ValueError"))


@pytest.mark.parametrize("body", ["raise", "sys.exit(1)", "print('x'); exit()", "os._exit(2)"])
def test_a_handler_ends_the_program(body: str) -> None:
    assert syntax.ends_program(handler(body))
    assert not syntax.ends_program(handler("x = None"))


@pytest.mark.parametrize(
    "text",
    [
        "is_rich_available()",
        "HAS_GPU",
        "_has_wandb",
        "not tb_installed",
        "find_spec('x') is not None",
        "a and is_torch_available()",
    ],
)
def test_a_condition_asks_for_a_package(text: str) -> None:
    assert syntax.asks_for_package(expression(text))


@pytest.mark.parametrize("text", ["args.available_gpus", "x > 3", "hash", "shas(x)"])
def test_another_condition_does_not(text: str) -> None:
    assert not syntax.asks_for_package(expression(text))


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("os.path.dirname(__file__)", "."),
        ("os.path.dirname(os.path.dirname(__file__))", ".."),
        ("Path(__file__).parent.parent.parent", "../.."),
        ("os.path.join(os.path.dirname(__file__), '..')", ".."),
        ("os.path.join(dirname(__file__), '../..')", "../.."),
        ("Path(__file__).resolve().parents[1]", ".."),
        ("os.getcwd()", ""),
    ],
)
def test_a_folder_above_a_file(text: str, folder: str) -> None:
    assert syntax.folder_above(expression(text)) == folder


def test_a_derivative_by_differences_and_a_step_downhill() -> None:
    difference = expression("f(x + h) - f(x - h)")
    assert isinstance(difference, ast.BinOp)
    assert syntax.is_difference(difference)
    other = expression("f(x) - g(x)")
    assert isinstance(other, ast.BinOp)
    assert not syntax.is_difference(other)
    assert syntax.is_negative_product(expression("rate * -slope"))
    assert not syntax.is_negative_product(expression("rate * slope"))


def test_names_that_a_target_binds() -> None:
    assert syntax.bound_name(expression("x")) == "x"
    assert syntax.bound_name(expression("self.net")) == "self.net"
    assert syntax.bound_name(expression("other.net")) == ""
    assert syntax.bound_name(expression("x[0]")) == ""
