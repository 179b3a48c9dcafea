"""The package that a repository develops: its own code is what is trained, never a release of it
from the index.
"""

from __future__ import annotations

import ast
import os
import re

from mlops_lib.errors import RefusedFileError
from mlops_lib.lazy_regex import lazy_regex
from mlops_lib.project import files, toml

LIMIT = 256_000
_SETUP_CFG_NAME = lazy_regex(r"^[ \t]*name[ \t]*=[ \t]*([A-Za-z0-9._-]+)[ \t]*$", re.MULTILINE)
_BUILDS = lazy_regex(
    r"^\[(project|build-system|tool\.(poetry|flit|setuptools|hatch))\b", re.MULTILINE
)


_SAYS_WHERE = lazy_regex(
    r"python-source|package-dir|pythonpath|\bwhere\b|\bfrom\b|sources|packages"
)
_SETUP_WHERE = lazy_regex(
    r"""find_(?:namespace_)?packages\(\s*(?:where\s*=\s*)?["']([\w./-]+)["']"""
    r"""|package_dir\s*=\s*\{\s*["']["']\s*:\s*["']([\w./-]+)["']"""
)
_CFG_WHERE = lazy_regex(
    r"^[ \t]*(?:where|package_dir)?[ \t]*=[ \t]*(?:\n[ \t]*)?=?[ \t]*([\w./-]+)$", re.M
)


def is_developed(folder: str) -> bool:
    """Return whether a folder is the root of a package that declares its build."""
    names = set(files.names_in(folder, root=folder))
    return (
        bool(names & {"setup.py", "setup.cfg"})
        or _BUILDS.search(_text(folder, "pyproject.toml", names)) is not None
    )


def distribution(folder: str) -> str:
    """Return the name under which a repository publishes its package, normalised as PEP 503 has it;
    "" if it does not say.

    Example:
        `setup(name="keras-tcn")` in setup.py gives "keras-tcn".
    """
    names = set(files.names_in(folder, root=folder))
    name = _of_pyproject(_text(folder, "pyproject.toml", names)) or _of_setup_py(
        _text(folder, "setup.py", names)
    )
    if not name:
        match = _SETUP_CFG_NAME.search(_text(folder, "setup.cfg", names))
        name = match[1] if match else ""
    return re.sub(r"[-_.]+", "-", name).lower()


def source_folders(folder: str) -> list[str]:
    """Return the folders, relative to a project's own, that it says its packages lie in.

    Example:
        `[tool.maturin] python-source = "python"` in pyproject.toml gives ["python"].
    """
    names = set(files.names_in(folder, root=folder))
    places = _said_by_pyproject(_text(folder, "pyproject.toml", names))
    for match in _SETUP_WHERE.finditer(_text(folder, "setup.py", names)):
        places.append(match[1] or match[2])
    options = _text(folder, "setup.cfg", names).partition("[options")[2]
    places += [match[1] for match in _CFG_WHERE.finditer(options)]
    cleaned = (os.path.normpath(place) for place in places if place)
    return [one for one in dict.fromkeys(cleaned) if one != "." and not os.path.isabs(one)]


def _said_by_pyproject(text: str) -> list[str]:
    if not _SAYS_WHERE.search(text):
        return []
    try:
        tools = toml.parse(text).get("tool")
    except ValueError:
        return []
    setuptools = _value(tools, "setuptools")
    folders = _value(setuptools, "packages", "find", "where")
    hatch = _value(tools, "hatch", "build")
    wheel = _value(hatch, "targets", "wheel")
    listed = [
        _value(tools, "maturin", "python-source"),
        _value(setuptools, "package-dir", ""),
        _value(tools, "pdm", "build", "package-dir"),
        *_texts(folders),
        *_texts(_value(tools, "pytest", "ini_options", "pythonpath")),
        *_texts(_value(hatch, "sources")),
        *_texts(_value(wheel, "sources")),
        *(os.path.dirname(one) for one in _texts(_value(wheel, "packages"))),
    ]
    packages = _value(tools, "poetry", "packages")
    if isinstance(packages, list):
        listed += [_value(one, "from") for one in packages]
    return [one for one in listed if isinstance(one, str)]


def _value(table: object, *keys: str) -> object:
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _text(folder: str, name: str, names: set[str]) -> str:
    if name not in names:
        return ""
    try:
        return files.read_text(os.path.join(folder, name), root=folder, limit=LIMIT)
    except RefusedFileError:
        return ""


def _of_pyproject(text: str) -> str:
    section = ""
    for line in text.splitlines():
        header = re.match(r"\s*\[([^\[\]]+)\]\s*$", line)
        section = header[1].strip() if header else section
        if section in ("project", "tool.poetry"):
            named = re.match(r"""\s*name\s*=\s*["']([A-Za-z0-9._-]+)["']""", line)
            if named:
                return named[1]
    return ""


def _of_setup_py(text: str) -> str:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    texts = {
        node.targets[0].id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", "")) == "setup"
        ):
            value = next((one.value for one in node.keywords if one.arg == "name"), None)
            if isinstance(value, ast.Name):
                return texts.get(value.id, "")
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value
    return ""
