"""Requirements that a project declares itself: they win over what its imports suggest."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

_LINE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\])?\s*([<>=!~].*)?(;.*)?$")


def requirements(folder: Path) -> tuple[list[str], str]:
    """The declared requirements and the file they stand in; ([], "") where nothing is declared."""
    for name, reader in _READERS:
        path = folder / name
        if path.is_file():
            found = reader(path)
            if found:
                return found, name
    return [], ""


def name_of(requirement: str) -> str:
    """The normalised distribution name (PEP 503)."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement.strip())
    return re.sub(r"[-_.]+", "-", match.group()).lower() if match else ""


def _requirements_txt(path: Path) -> list[str]:
    found = []
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        line = line.split(" #")[0].strip()
        # Options (another index, editable paths, URLs) are not the project's to choose: only names and versions.
        if line and not line.startswith(("#", "-")) and _LINE.match(line) and "@" not in line:
            found.append(line)
    return found


def _toml(path: Path) -> dict[str, Any]:
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib  # type: ignore[no-redef, unused-ignore]
    try:
        return tomllib.loads(path.read_text(encoding="utf-8", errors="replace"))
    except tomllib.TOMLDecodeError:
        return {}


def _pyproject(path: Path) -> list[str]:
    table = _toml(path)
    listed = table.get("project", {}).get("dependencies", [])
    poetry = table.get("tool", {}).get("poetry", {}).get("dependencies", {})
    return [r for r in listed if isinstance(r, str) and _LINE.match(r)] or [n for n in poetry if n != "python"]


def _pipfile(path: Path) -> list[str]:
    packages = _toml(path).get("packages", {})
    return [n + (v if isinstance(v, str) and v != "*" else "") for n, v in packages.items()]


def _environment_yml(path: Path) -> list[str]:
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        match = re.match(r"^\s*-\s*([A-Za-z0-9_.-]+)\s*(=+\s*[\w.*]+)?(?:=[\w.]+)?\s*$", line)
        if match and match[1] not in ("python", "pip", "defaults", "conda-forge", "nodefaults"):
            version = (match[2] or "").strip("= ")
            found.append(match[1] + (f"=={version}" if version else ""))
    return found


def _setup_py(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    except (SyntaxError, ValueError):
        return []
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "install_requires" and isinstance(node.value, ast.List):
            return [e.value for e in node.value.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)]
    return []


_READERS = (
    ("requirements.txt", _requirements_txt),
    ("pyproject.toml", _pyproject),
    ("Pipfile", _pipfile),
    ("environment.yml", _environment_yml),
    ("environment.yaml", _environment_yml),
    ("setup.py", _setup_py),
)
