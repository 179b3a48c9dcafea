"""The runner's record of the winner, validated."""

from __future__ import annotations

import keyword
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}\Z")
MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,6}\Z")


class UnpatchableError(Exception):
    """The source cannot be changed reliably; the message gives the reason."""


@dataclass(frozen=True)
class Site:
    """A call in the project's source: lines from 1, columns (in bytes) from 0."""

    file: str
    line: int
    column: int | None = None
    end_line: int | None = None
    end_column: int | None = None

    @classmethod
    def read(cls, claim: Any) -> Site | None:
        """Return the site that a claim describes, or None."""
        if not isinstance(claim, Mapping) or not isinstance(claim.get("file"), str):
            return None
        numbers = [claim.get(name) for name in ("line", "column", "end_line", "end_column")]
        positions = [
            n if isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 1 << 31 else None
            for n in numbers
        ]
        return None if positions[0] is None else cls(claim["file"], positions[0], *positions[1:])


@dataclass(frozen=True)
class Layer:
    """A layer of the architecture before or after the search."""

    kind: str
    name: str
    arguments: Mapping[str, Any]
    parameters: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    site: Site | None = None
    has_code: bool = True
    """Whether it can be written as code."""
    layers: tuple[Layer, ...] = ()
    """Its layers, if it is a nested model."""

    @classmethod
    def read(cls, claim: Any, *, depth: int = 4) -> Layer:
        """Return the layer that a claim describes.

        Raises:
            ValueError: the claim is invalid.
        """
        if not isinstance(claim, Mapping) or not isinstance(claim.get("arguments"), Mapping):
            raise ValueError("not a layer")
        return cls(
            identifier(claim.get("class")),
            str(claim.get("name")),
            {identifier(name): value for name, value in claim["arguments"].items()},
            tuple(identifier(name) for name in claim.get("parameters") or ()),
            tuple(str(name) for name in claim.get("inputs") or ()),
            Site.read(claim.get("site")),
            claim.get("known") is True,
            tuple(
                cls.read(inner, depth=depth - 1)
                for inner in (claim.get("layers") or () if depth else ())
            ),
        )


@dataclass(frozen=True)
class Winner:
    """`inside/search/winner.json`."""

    framework: str
    before: tuple[Layer, ...] = ()
    after: tuple[Layer, ...] = ()
    sequential: bool = True
    recipe: Mapping[str, Any] = field(default_factory=dict)
    learning_rate: float = 0.0
    batch_size: int = 0
    steps: int = 1
    fit_arguments: Mapping[str, Any] = field(default_factory=dict)
    class_weight: Mapping[int, float] | None = None
    fit: Site | None = None
    compile: Site | None = None
    estimator: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, claim: Any) -> Winner:
        """Return the winner that a claim describes.

        Raises:
            ValueError: the claim is invalid.
        """
        if not isinstance(claim, Mapping):
            raise ValueError("not an object")
        if claim.get("framework") in ("sklearn", "pytorch"):
            return cls(str(claim["framework"]), estimator=dict(claim))
        sites = claim.get("sites") or {}
        weights = claim.get("class_weight")
        try:
            return cls(
                "keras",
                tuple(map(Layer.read, claim["before"])),
                tuple(map(Layer.read, claim["after"])),
                bool(claim.get("sequential")),
                dict(claim.get("recipe") or {}),
                float(claim.get("learning_rate") or 0.0),
                int(claim.get("batch_size") or 0),
                max(int(claim.get("steps") or 1), 1),
                dict(claim.get("given") or {}),
                None
                if weights is None
                else {int(k): round(float(v), 4) for k, v in weights.items()},
                Site.read(sites.get("fit")),
                Site.read(sites.get("compile")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a winner: {error}") from error


def identifier(name: Any) -> str:
    """Return a name that may be written into source code.

    Raises:
        ValueError: it is no plain identifier.
    """
    if not isinstance(name, str) or not NAME.match(name) or keyword.iskeyword(name):
        raise ValueError(f"not a name: {name!r}")
    return name


def literal(value: Any, *, keras: str = "keras", exact: bool = False) -> str:
    """Return a claimed value as source code: a literal, or an object of Keras.

    Args:
        value: JSON.
        keras: the package's name in the source.
        exact: whether a number keeps double precision; Keras' own are of single precision.

    Raises:
        UnpatchableError: it is neither.
    """
    if isinstance(value, float):
        return _number(value, exact=exact)
    if value is None or isinstance(value, (bool, int, str)):
        return (
            '"' + value + '"'
            if isinstance(value, str) and re.fullmatch(r"[\w ]*", value)
            else repr(value)
        )
    if isinstance(value, (list, tuple)):
        inner = ", ".join(literal(item, keras=keras, exact=exact) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, Mapping) and "class_name" in value:
        return _object(value, keras)
    if isinstance(value, Mapping) and not value:
        return "{}"
    raise UnpatchableError("a setting cannot be written as code")


def _number(value: float, *, exact: bool) -> str:
    """Return the shortest text that gives exactly the same number.

    A rounded setting would be a different setting.
    """
    if not math.isfinite(value):
        return f'float("{value}")'
    if not exact and abs(value) < 3e38 and _single(value) == value:
        # Keras stores single precision: 0.001 arrives as 0.0010000000474974513.
        shortest = next(
            candidate
            for n in range(1, 10)
            if _single(candidate := float(f"{value:.{n}g}")) == value
        )
        return _decimal(repr(shortest))
    return _decimal(repr(value))


def _single(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])


def _decimal(text: str) -> str:
    return text if set(text) & set(".e") else f"{text}.0"


def _object(value: Mapping[str, Any], keras: str) -> str:
    module = str(value.get("module") or "")
    config = value.get("config")
    if (
        not MODULE.match(module)
        or module.split(".")[0] != "keras"
        or not isinstance(config, Mapping)
    ):
        raise UnpatchableError("a setting is an object of the project's own")
    try:
        arguments = ", ".join(
            f"{identifier(k)}={literal(v, keras=keras)}" for k, v in config.items() if v is not None
        )
        return f"{keras}{module[5:]}.{identifier(value['class_name'])}({arguments})"
    except ValueError as error:
        raise UnpatchableError(str(error)) from error
