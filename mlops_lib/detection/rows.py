"""The catalog's rows, read without a TOML parser where they are as plain as they should be."""

from __future__ import annotations

import ast

from mlops_lib.catalog import CATALOG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def rows() -> tuple[dict[str, Any], ...]:
    """Return the rows of containers/catalog.toml."""
    with open(CATALOG, encoding="utf-8") as stream:
        text = stream.read()
    table = plain(text)
    if table is None:
        from mlops_lib.project import toml

        table = toml.parse(text)["environment"]
    return tuple(table)


def plain(text: str) -> list[dict[str, Any]] | None:
    """Return the rows if they hold only texts, lists of texts and tables of texts, else None."""
    table: list[dict[str, Any]] = []
    key = ""
    value = ""
    for line in text.split("\n"):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line == "[[environment]]":
            table.append({})
            continue
        if not value:
            key, _, line = (part.strip() for part in line.partition("="))
        value += line
        if value.count("[") > value.count("]") or value.count("{") > value.count("}"):
            continue
        read = _value(value)
        if read is None or not table:
            return None
        table[-1][key] = read
        value = ""
    return None if value else table


def _value(text: str) -> object:
    if text.startswith("{") and text.endswith("}"):
        pairs = {}
        for pair in filter(None, (pair.strip() for pair in text[1:-1].split(","))):
            name, equals, expression = (part.strip() for part in pair.partition("="))
            literal = _literal(expression)
            if not equals or not isinstance(literal, str):
                return None
            pairs[name.strip('"')] = literal
        return pairs
    read = _literal(text)
    texts = read if isinstance(read, list) else [read]
    return read if all(isinstance(one, str) for one in texts) else None


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
