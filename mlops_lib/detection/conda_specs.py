"""Convert versions of Poetry, Pipenv, Pixi and conda to those of the package index."""

from __future__ import annotations

import re

from mlops_lib.lazy_regex import lazy_regex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CLAUSE = lazy_regex(r"(===|==|~=|!=|<=|>=|<|>|\^|~|=)?\s*v?([A-Za-z0-9.*!]+)")


def requirement_of(name: str, value: Any, *, exact: bool) -> str:
    """Return the requirement that a tool's entry stands for.

    Args:
        name: the distribution.
        value: its versions, or a table with them.
        exact: whether a bare version means that release; a single `=` of conda's never does.

    Example:
        >>> requirement_of("pandas", {"version": "^2.1", "extras": ["excel"]}, exact=True)
        'pandas[excel]>=2.1,<3'
        >>> requirement_of("numpy", "=1.26=py311h64a7726_0", exact=False)
        'numpy==1.26.*'
    """
    table = value if isinstance(value, dict) else {}
    text = value if isinstance(value, str) else table.get("version", "*")
    listed = table.get("extras")
    extras = [one for one in listed if isinstance(one, str)] if isinstance(listed, list) else []
    versions = specifier(str(text), exact=exact)
    marker = _marker(table)
    return (
        name
        + (f"[{','.join(extras)}]" if extras else "")
        + versions
        + (f"; {marker}" if marker else "")
    )


def specifier(text: str, *, exact: bool) -> str:
    """Return versions as PEP 440 writes them; "" if any is allowed or they have alternatives.

    Example:
        >>> specifier("^0.2.3", exact=True), specifier("~1.4", exact=True)
        ('>=0.2.3,<0.3', '>=1.4,<1.5')
    """
    text = text.strip()
    if not exact:  # conda writes a build after the version: 1.26.4=py311_0, 1.26.4 py311_0
        text = re.sub(r"^(\s*=*\s*[\w.*]+)(?:=|\s+)[\w.*]+$", r"\1", text)
    if "|" in text or text in ("", "*"):
        return ""
    clauses = []
    for part in re.split(r"\s*,\s*|\s+(?=[<>=!~^])", text):
        match = _CLAUSE.fullmatch(part.strip())
        if match is None or match[2] == "*":
            continue
        clauses.append(_clause(match[1] or "", match[2], exact=exact))
    return ",".join(clauses)


def _clause(operator: str, version: str, *, exact: bool) -> str:
    numbers = version.removesuffix(".*").split(".")
    match operator:
        case "^":
            return f">={version},<{_next(numbers, _first_above_zero(numbers))}"
        case "~":
            return f">={version},<{_next(numbers, min(1, len(numbers) - 1))}"
        case "=" | "" if not exact and len(numbers) < 3 and "*" not in version:
            return f"=={version}.*"
        case "=" | "":
            return f"=={version}"
    if operator in (">=", "<=", ">", "<") and version.endswith(".*"):
        version = version.removesuffix(".*")
    return operator + version


def _first_above_zero(numbers: list[str]) -> int:
    return next((i for i, one in enumerate(numbers) if one != "0"), len(numbers) - 1)


def _next(numbers: list[str], place: int) -> str:
    """Return the version after a series, such as 1.5 after 1.4."""
    number = numbers[place]
    return ".".join([*numbers[:place], str(int(number) + 1 if number.isdigit() else 0)])


def _marker(table: dict[str, Any]) -> str:
    """Return the environment marker of an entry: Poetry's and Pipenv's keys for it."""
    parts = []
    for key in ("markers", "marker"):
        if isinstance(table.get(key), str):
            parts.append(f"({table[key]})")
    for key in ("sys_platform", "os_name", "platform_machine", "python_version"):
        if isinstance(table.get(key), str):  # Pipenv: sys_platform = "== 'win32'"
            parts.append(f"{key} {table[key]}")
    if isinstance(table.get("platform"), str):
        parts.append(f"sys_platform == '{table['platform']}'")
    if isinstance(table.get("python"), str):
        for one in specifier(table["python"], exact=True).split(","):
            match = re.match(r"([<>=!~]+)(.+)", one)
            if match is not None:
                name = "python_full_version" if match[2].count(".") > 1 else "python_version"
                parts.append(f"{name} {match[1]} '{match[2]}'")
    return " and ".join(parts)
