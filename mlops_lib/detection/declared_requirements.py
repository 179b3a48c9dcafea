"""Requirements that a project declares itself: they win over what its imports suggest.

Only names and versions are taken. Options, indexes, URLs and paths are not the project's to choose
(DESIGN, The cage), and a line that is no requirement is never repeated: an included file could be
anything.
"""

from __future__ import annotations

import os
import re

from mlops_lib.detection import own_packages
from mlops_lib.detection.import_map import DISTRIBUTIONS
from mlops_lib.detection.source import decode
from mlops_lib.detection.words import words
from mlops_lib.errors import RefusedFileError
from mlops_lib.project import files, toml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_LINE = (
    r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[A-Za-z0-9._, -]*\])?\s*(?:\(?[<>=!~](?:(?!\s-)[A-Za-z0-9.*+!<>=~, _-])*\)?)?\s*"
    r"(?:;(?P<marker>.*))?"
)
_MARKER = (
    r"(?:\s*(?:[()]|and\b|or\b|not\s+in\b|in\b|[<>=!~]=?=?"
    r"|(?:python_(?:full_)?version|os[._]name|sys[._]platform|platform[._][a-z_]+|implementation_(?:name|version)|extra)\b"
    r"|'[\w.*+-]*'|\"[\w.*+-]*\"))*\s*"
)
"""Words of an environment marker (PEP 508). Its texts hold no space: an installer would read
options after one.
"""
_LONGEST = 400
"""Characters of a requirement; what is longer is none."""
_INCLUDE = r"(?:-r|--requirement)[ =]?\s*(\S+)"
_CONSTRAINT = r"(?:-c|--constraint)[ =]?\s*(\S+)"
_OPTIONS = (
    "-e",
    "--editable",
    "-i",
    "--index-url",
    "--extra-index-url",
    "-f",
    "--find-links",
    "--trusted-host",
)
_FILES_LIMIT = 50
"""Files that requirements are put together from."""
_SAID_LIMIT = 10
"""Lines of one file that something is said about."""

RENAMED = {
    "sklearn": "scikit-learn",
    "pil": "pillow",
    "cv2": "opencv-python",
    "opencv": "opencv-python",
    "skimage": "scikit-image",
    "bs4": "beautifulsoup4",
    "yaml": "pyyaml",
    "tensorflow-gpu": "tensorflow",
    "torch-geometric": "torch-geometric",
    "pytorch": "torch",
    "py-opencv": "opencv-python",
    "py-xgboost": "xgboost",
    "matplotlib-base": "matplotlib",
    "tensorflow-mkl": "tensorflow",
    "pytorch-cpu": "torch",
    "tensorflow-base": "tensorflow",
    "tables": "tables",
    "pytables": "tables",
    "msgpack-python": "msgpack",
    "keras-gpu": "keras",
    "imblearn": "imbalanced-learn",
}
"""Names that people write, or that conda uses, for what the index knows under another one."""
TOOLS = words("""
    python pip setuptools wheel pkg-resources distribute conda anaconda defaults conda-forge
    nodefaults
""")
"""Names in declarations that are no requirement of the script."""


class Declared:
    """What a project declares: requirements, the file they stand in, and what has to be said about
    it.
    """

    __slots__ = ("requirements", "source", "warnings")

    def __init__(self, requirements: list[str], source: str, warnings: list[str]) -> None:
        self.requirements = requirements
        self.source = source
        self.warnings = warnings


class Project:
    """A project's declarations while they are read.

    Args:
        root: the project's folder.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.warnings: list[str] = []
        self._read: set[str] = set()

    def text(self, path: str) -> str:
        """Return a file's text; "" if it is not read, which is said."""
        try:
            return decode(files.read(path, root=self.root))
        except RefusedFileError as refused:
            self.warnings.append(f"{refused.where}: {refused.what}")
            return ""

    def lines(self, path: str) -> Iterator[tuple[int, str]]:
        """Yield the lines of a requirements file without comments and options, continued ones
        joined, with their number.
        """
        begun = ""
        begins = 1
        for number, raw in enumerate(self.text(path).splitlines(), 1):
            begins = begins if begun else number
            begun += raw[: 4 * _LONGEST]
            if (
                begun.endswith("\\") and len(begun) < 100 * _LONGEST
            ):  # a requirement with all its hashes is long
                begun = begun[:-1] + " "
                continue
            line, begun = re.sub(r"(^|\s)#.*$", "", begun).strip(), ""
            if line and not line.startswith("-"):
                line = re.split(r"\s--?[A-Za-z]", line, maxsplit=1)[0].strip()
            if line:
                yield begins, line

    def is_new(self, path: str) -> bool:
        """Return whether a file was not read before, and there may be another one."""
        place = files.resolve(path, root=self.root) or path
        if place in self._read or len(self._read) >= _FILES_LIMIT:
            return False
        self._read.add(place)
        return True


def find(folder: str, root: str) -> Declared:
    """The declaration nearest to a folder, upwards to the project's root; empty where there is
    none.
    """
    place = folder
    project = Project(root)
    while True:
        names = {name.lower(): name for name in files.names_in(place, root=root)}
        for wanted, reader in _READERS:
            path = names.get(wanted) if "/" not in wanted else wanted
            if path and os.path.lexists(os.path.join(place, path)):
                found = _cleaned(
                    reader(os.path.join(place, path), project),
                    without=own_packages.distribution(root),
                )
                if found:
                    return Declared(
                        found, os.path.relpath(os.path.join(place, path), root), project.warnings
                    )
        if place == root or os.path.dirname(place) == place or not place.startswith(root):
            return Declared([], "", project.warnings)
        place = os.path.dirname(place)


def is_requirement(line: str) -> bool:
    """Return whether a text is a distribution's name with extras, versions and marker, and nothing
    else.

    >>> is_requirement("torch>=2.0; sys_platform == 'linux'")
    True
    >>> is_requirement("torch --index-url http://example.com"), is_requirement("torch; sys_platform
    == '${TOKEN}'") (False, False)
    """
    found = re.fullmatch(_LINE, line) if len(line) <= _LONGEST else None
    return found is not None and (
        found["marker"] is None or re.fullmatch(_MARKER, found["marker"]) is not None
    )


def _cleaned(lines: list[str], *, without: str = "") -> list[str]:
    """Return the requirements by name, each once; a repository's own package is none of them."""
    found: dict[str, str] = {}
    for line in lines:
        name = name_of(line)
        if not name or name in TOOLS or name == without or not is_requirement(line):
            continue
        if name in RENAMED and RENAMED[name] != name:
            line = re.sub(r"^[A-Za-z0-9._-]+", RENAMED[name], line)
        found.setdefault(name_of(line), line)
    return list(found.values())


def name_of(requirement: str) -> str:
    """The normalised distribution name (PEP 503)."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement[:_LONGEST].strip())
    return re.sub(r"[-_.]+", "-", match.group()).lower() if match else ""


def _requirements_txt(path: str, project: Project, depth: int = 0) -> list[str]:
    found: list[str] = []
    limits: dict[str, str] = {}
    name = os.path.relpath(path, project.root)
    strange: list[int] = []
    for number, line in project.lines(path) if project.is_new(path) else ():
        included = re.match(_INCLUDE, line)
        constrained = re.match(_CONSTRAINT, line)
        if included or constrained:
            other = os.path.join(os.path.dirname(path), (included or constrained)[1])  # type: ignore[index]
            lines = (
                _requirements_txt(other, project, depth + 1)
                if depth < 5 and os.path.lexists(other)
                else []
            )
            if included:
                found += lines
            else:
                limits.update({name_of(one): one for one in lines})
        elif line.startswith("-"):
            option = next((one for one in _OPTIONS if line.startswith(one)), "")
            if option:
                project.warnings.append(
                    f"{name}:{number}: the option {option} is the operator's to set: it is not followed"
                )
        elif re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\])?\s*@\s*file:", line[:_LONGEST]):
            # What conda's pip freeze writes: the name is all that means something.
            found.append(re.split(r"[\s@\[]", line)[0])
        elif is_requirement(line):
            found.append(line)
        else:
            strange.append(number)
    project.warnings += [
        f"{name}:{number}: it is no name with versions: it is not installed"
        for number in strange[:_SAID_LIMIT]
    ]
    if len(strange) > _SAID_LIMIT:
        project.warnings.append(
            f"{name}: {len(strange) - _SAID_LIMIT} more lines are no names with versions"
        )
    return [
        limits.get(name_of(line), line) if re.fullmatch(r"[A-Za-z0-9._-]+", line) else line
        for line in found
    ]


def _toml(path: str, project: Project) -> dict[str, Any]:
    try:
        return toml.parse(project.text(path))
    except ValueError:
        return {}


def _table(value: Any, *keys: str) -> dict[str, Any]:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _lines(value: Any) -> list[str]:
    return (
        [v.strip() for v in value if isinstance(v, str) and is_requirement(v.strip())]
        if isinstance(value, list)
        else []
    )


def _pyproject(path: str, project: Project) -> list[str]:
    table = _toml(path, project)
    described = _table(table, "project")
    listed = _lines(described.get("dependencies"))
    if (
        not listed
        and isinstance(described.get("dynamic"), list)
        and "dependencies" in described["dynamic"]
    ):
        named = _table(table, "tool", "setuptools", "dynamic", "dependencies").get("file", [])
        listed += _named([named] if isinstance(named, str) else named, path, project)
    if not listed:
        listed = [
            _poetry(n, v)
            for n, v in _table(table, "tool", "poetry", "dependencies").items()
            if n.lower() != "python"
        ]
    if not listed:
        groups = _table(table, "dependency-groups")
        for name in ("train", "training", "main", "default", "dev"):
            listed = listed or _group(groups, name, 0)
    return [line for line in listed if is_requirement(line)]


def _named(names: Any, path: str, project: Project) -> list[str]:
    """Return the requirements in files that another file names, relative to it."""
    found: list[str] = []
    for name in names if isinstance(names, list) else ():
        if isinstance(name, str):
            found += _requirements_txt(os.path.join(os.path.dirname(path), name), project)
    return found


def _group(groups: dict[str, Any], name: str, depth: int) -> list[str]:
    """A dependency group and those it includes (PEP 735)."""
    entries = groups.get(name)
    found = _lines(entries)
    for entry in entries if isinstance(entries, list) and depth < 5 else ():
        if isinstance(entry, dict) and isinstance(entry.get("include-group"), str):
            found += _group(groups, entry["include-group"], depth + 1)
    return found


def _poetry(name: str, value: Any) -> str:
    version = (
        value
        if isinstance(value, str)
        else value.get("version", "*")
        if isinstance(value, dict)
        else "*"
    )
    caret = re.fullmatch(r"\^(\d+)(?:\.(\d+))?((?:\.\d+)*)", str(version).strip())
    if caret:
        upper = (
            f"{int(caret[1]) + 1}"
            if int(caret[1]) or caret[2] is None
            else f"0.{int(caret[2]) + 1}"
        )
        return f"{name}>={str(version).strip()[1:]},<{upper}"
    tilde = re.fullmatch(r"~(\d+)\.(\d+)((?:\.\d+)*)", str(version).strip())
    if tilde:
        return f"{name}>={str(version).strip()[1:]},<{tilde[1]}.{int(tilde[2]) + 1}"
    version = str(version).strip()
    if version in ("*", ""):
        return name
    return name + (version if version[:1] in "<>=!~" else f"=={version}")


def _pipfile(path: str, project: Project) -> list[str]:
    found = []
    for name, value in _table(_toml(path, project), "packages").items():
        version = (
            value
            if isinstance(value, str)
            else value.get("version", "*")
            if isinstance(value, dict)
            else "*"
        )
        found.append(name + (str(version) if str(version)[:1] in tuple("<>=!~") else ""))
    return [line for line in found if is_requirement(line)]


def _environment_yml(path: str, project: Project) -> list[str]:
    """A conda environment: what pip is told to install, and of conda's packages those the index
    knows by the same name.
    """
    known = {name.lower() for name in DISTRIBUTIONS.values()} | set(RENAMED)
    found = []
    in_dependencies = False
    pip_indent = -1
    for number, raw in enumerate(project.text(path).splitlines(), 1):
        line = re.sub(r"\s#.*$", "", raw[:_LONGEST])
        indent = len(line) - len(line.lstrip())
        if re.match(r"^[A-Za-z]", line):
            in_dependencies = line.startswith("dependencies")
        item = re.match(r"^\s*-\s*[\"']?(.+?)[\"']?\s*$", line)
        if not in_dependencies or not item:
            continue
        if item[1].rstrip() == "pip:":
            pip_indent = indent
        elif pip_indent >= 0 and indent > pip_indent:
            if is_requirement(item[1]):
                found.append(item[1])
            elif not item[1].startswith("-") and len(project.warnings) < _SAID_LIMIT:
                name = os.path.relpath(path, project.root)
                project.warnings.append(
                    f"{name}:{number}: it is no name with versions: it is not installed"
                )
        else:
            pip_indent = -1
            match = re.match(r"^(?:[\w./-]+::)?([A-Za-z0-9_.-]+)\s*([<>=!~].*)?$", item[1])
            if match and name_of(match[1]) in known:
                version = re.match(r"^(=+|[<>]=?)\s*([\w.*]+)", (match[2] or "").strip())
                operator = "" if not version else "==" if set(version[1]) == {"="} else version[1]
                fuzzy = (
                    ".*"
                    if version
                    and version[1] == "="
                    and version[2].count(".") < 2
                    and "*" not in version[2]
                    else ""
                )
                found.append(match[1] + (operator + version[2] + fuzzy if version else ""))
    return found


def _setup_py(path: str, project: Project) -> list[str]:
    import ast

    from mlops_lib.detection.source import parse

    named: dict[str, ast.expr] = {}
    for node in ast.walk(parse(project.text(path)).tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            named[node.targets[0].id] = node.value
        if isinstance(node, ast.keyword) and node.arg == "install_requires":
            value = named.get(node.value.id) if isinstance(node.value, ast.Name) else node.value
            if isinstance(value, (ast.List, ast.Tuple)):
                return _lines([e.value for e in value.elts if isinstance(e, ast.Constant)])
    return []


def _setup_cfg(path: str, project: Project) -> list[str]:
    import configparser

    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(project.text(path))
    except configparser.Error:
        return []
    listed = parser.get("options", "install_requires", fallback="")
    if listed.strip().startswith("file:"):
        return _named([one.strip() for one in listed.strip()[5:].split(",")], path, project)
    return _lines(listed.splitlines())


_READERS = (
    ("requirements.txt", _requirements_txt),
    ("requirement.txt", _requirements_txt),
    ("pyproject.toml", _pyproject),
    ("pipfile", _pipfile),
    ("environment.yml", _environment_yml),
    ("environment.yaml", _environment_yml),
    ("conda.yaml", _environment_yml),
    ("conda.yml", _environment_yml),
    ("setup.py", _setup_py),
    ("setup.cfg", _setup_cfg),
    ("requirements.in", _requirements_txt),
    ("requirements/train.txt", _requirements_txt),
    ("requirements/requirements.txt", _requirements_txt),
    ("requirements/base.txt", _requirements_txt),
    ("requirements/prod.txt", _requirements_txt),
    ("reqs.txt", _requirements_txt),
)
