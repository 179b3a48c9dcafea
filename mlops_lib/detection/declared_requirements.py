"""Requirements that a project declares itself: they win over what its imports suggest.

Only names and versions are taken. Options, indexes, URLs and paths are not the project's to choose
(DESIGN, The cage), and a line that is no requirement is never repeated: an included file could be
anything.
"""

from __future__ import annotations

import os
import re

from mlops_lib.detection import lock_files, own_packages, python_version
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
_INLINE_LIMIT = 200_000
"""Bytes in which a script's own metadata begins and ends."""
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
    """The declarations of a project, with warnings about them."""

    __slots__ = (
        "lock",
        "locked",
        "pins",
        "python",
        "python_wish",
        "requirements",
        "source",
        "warnings",
    )

    def __init__(self, requirements: list[str], source: str, warnings: list[str]) -> None:
        self.requirements = requirements
        self.source = source
        """The file that they stand in."""
        self.warnings = warnings
        self.lock = ""
        """The lock file that decides their versions."""
        self.locked: list[str] = []
        """Exact versions of what the requirements need in turn, if a lock says so."""
        self.pins: dict[str, str] = {}
        """Distribution to version, of everything in the lock."""
        self.python = f"3.{python_version.USUAL}"
        self.python_wish: python_version.Wish | None = None
        """The declaration that decided for another Python than the usual one."""


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
        pending = ""
        begins = 1
        for number, raw in enumerate(self.text(path).splitlines(), 1):
            begins = begins if pending else number
            pending += raw[: 4 * _LONGEST]
            if (
                pending.endswith("\\") and len(pending) < 100 * _LONGEST
            ):  # a requirement with all its hashes is long
                pending = pending[:-1] + " "
                continue
            line, pending = re.sub(r"(^|\s)#.*$", "", pending).strip(), ""
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


def of_entry(entry: str, root: str) -> Declared:
    """Return what is declared for a script or notebook: in itself, or in the files around it.

    Args:
        entry: the script's path.
        root: the project's folder.
    """
    folder = os.path.dirname(entry)
    inline = inline_metadata(entry, root)
    if inline is None:
        declaration = find(folder, root)
    else:
        project = Project(root)
        name = os.path.relpath(entry, root)
        declaration = Declared(_cleaned(_lines(inline.get("dependencies"))), name, project.warnings)
        _note_sources(_table(inline, "tool", "uv"), name, declaration.warnings)
    wishes = [] if inline is None else _wish(inline.get("requires-python"), declaration.source)
    lock = _lock(entry, folder, root, declaration, inline=inline is not None)
    if inline is None:
        wishes += python_version.written_down(folder, root)
        wishes += _python_wishes(folder, root)
    if lock is not None and lock.requires_python:
        wishes.append(python_version.Wish(lock.path, lock.requires_python))
    declaration.python, declaration.python_wish, warnings = python_version.choose(wishes)
    declaration.warnings += warnings
    if lock is not None:
        _apply(lock, declaration)
    return declaration


def inline_metadata(path: str, root: str) -> dict[str, Any] | None:
    """Return the metadata that a script carries in comments (PEP 723), None if it has none."""
    if not path.endswith(".py"):
        return None
    try:
        text = files.read_start(path, root=root, limit=_INLINE_LIMIT).decode("utf-8", "replace")
    except RefusedFileError:
        return None
    match = re.search(
        r"(?m)^# /// script\s*$\n((?:^#(?:| .*)$\n)+?)^# ///\s*$", text.replace("\r", "")
    )
    if match is None:
        return None
    lines = [line[2:] if line.startswith("# ") else line[1:] for line in match[1].splitlines()]
    try:
        return toml.parse("\n".join(lines))
    except ValueError:
        return None


def _lock(
    entry: str, folder: str, root: str, declaration: Declared, *, inline: bool
) -> lock_files.Lock | None:
    """Return the lock that belongs to the declarations: a script's own, or the project's."""
    if inline:
        path = entry + ".lock"
        if not files.is_file(path, root=root):
            return None
        return lock_files.read(
            path, dict(lock_files.READERS)["uv.lock"], root, declaration.warnings
        )
    return lock_files.find(folder, root, declaration.warnings)


def _apply(lock: lock_files.Lock, declaration: Declared) -> None:
    """Give the requirements the versions of a lock, and add what they need in turn."""
    roots = [name_of(line) for line in declaration.requirements]
    if not roots:
        declaration.source = lock.path
        roots = [one.name for one in lock.packages]
    pins, warnings = lock.pins(roots, declaration.python)
    declaration.lock = lock.path if pins else ""
    every, _ = lock.pins([one.name for one in lock.packages], declaration.python)
    declaration.pins = every
    declaration.warnings += warnings
    exact = []
    for line in declaration.requirements:
        name = name_of(line)
        own = re.search(r"==\s*([\w.!]+)(?![\w.*])", line)
        if name in pins and own is not None and own[1] != pins[name] and "*" not in line:
            declaration.warnings.append(
                f"{lock.path}: {name} is locked to {pins[name]}, and {declaration.source} asks for {line}"
            )
        elif name in pins:
            extras = re.match(r"[A-Za-z0-9._-]+\s*(\[[^\]]*\])?", line)
            line = f"{name}{(extras[1] or '') if extras else ''}=={pins[name]}"
        exact.append(line)
    if not declaration.requirements:
        exact = [f"{name}=={version}" for name, version in sorted(pins.items())]
    declaration.requirements = [line for line in exact if name_of(line) not in TOOLS]
    direct = {name_of(line) for line in declaration.requirements}
    declaration.locked = [
        f"{name}=={version}"
        for name, version in sorted(pins.items())
        if name not in direct and name not in TOOLS
    ]


def _wish(value: Any, source: str) -> list[python_version.Wish]:
    return [python_version.Wish(source, value.strip())] if isinstance(value, str) else []


def _python_wishes(folder: str, root: str) -> list[python_version.Wish]:
    """Return what the files nearest to a folder that describe the project say about Python."""
    place = folder
    project = Project(root)
    while True:
        names = {name.lower(): name for name in files.names_in(place, root=root)}
        for file_name, reader in _PYTHON_READERS:
            if file_name in names:
                path = os.path.join(place, names[file_name])
                result = _wish(reader(path, project), os.path.relpath(path, root))
                if result:
                    return result
        if place == root or os.path.dirname(place) == place or not place.startswith(root):
            return []
        place = os.path.dirname(place)


def _pyproject_python(path: str, project: Project) -> Any:
    table = _toml(path, project)
    poetry = _table(table, "tool", "poetry", "dependencies").get("python")
    pixi = _table(table, "tool", "pixi", "dependencies").get("python")
    return _table(table, "project").get("requires-python") or poetry or pixi


def _pipfile_python(path: str, project: Project) -> Any:
    table = _table(_toml(path, project), "requires")
    return table.get("python_full_version") or table.get("python_version")


def _pixi_python(path: str, project: Project) -> Any:
    return _table(_toml(path, project), "dependencies").get("python")


def _environment_python(path: str, project: Project) -> Any:
    match = re.search(r"(?m)^\s*-\s*[\"']?python\s*([<>=~!]=?[\d.,*<>= ]+)", project.text(path))
    # A single = is conda's.
    return re.sub(r"^=(?!=)", "==", match[1].strip()) if match else None


def _setup_cfg_python(path: str, project: Project) -> Any:
    match = re.search(r"(?m)^python_requires\s*=\s*(.+)$", project.text(path))
    return match[1] if match else None


def _setup_py_python(path: str, project: Project) -> Any:
    match = re.search(r"python_requires\s*=\s*[\"']([^\"']+)[\"']", project.text(path))
    return match[1] if match else None


_PYTHON_READERS = (
    ("pyproject.toml", _pyproject_python),
    ("pixi.toml", _pixi_python),
    ("pipfile", _pipfile_python),
    ("environment.yml", _environment_python),
    ("environment.yaml", _environment_python),
    ("conda.yaml", _environment_python),
    ("setup.cfg", _setup_cfg_python),
    ("setup.py", _setup_py_python),
)


def find(folder: str, root: str) -> Declared:
    """Return the declaration nearest to a folder, upwards to the project's root; empty if none."""
    place = folder
    project = Project(root)
    own = own_packages.distribution(root)
    while True:
        names = {name.lower(): name for name in files.names_in(place, root=root)}
        for file_name, reader in _READERS:
            path = names.get(file_name) if "/" not in file_name else file_name
            if path and os.path.lexists(os.path.join(place, path)):
                result = _cleaned(reader(os.path.join(place, path), project), without=own)
                if result:
                    source = os.path.relpath(os.path.join(place, path), root)
                    return Declared(result, source, project.warnings)
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
    match = re.fullmatch(_LINE, line) if len(line) <= _LONGEST else None
    return match is not None and (
        match["marker"] is None or re.fullmatch(_MARKER, match["marker"]) is not None
    )


def _cleaned(lines: list[str], *, without: str = "") -> list[str]:
    """Return the requirements by name, each once; a repository's own package is none of them."""
    result: dict[str, str] = {}
    for line in lines:
        name = name_of(line)
        if not name or name in TOOLS or name == without or not is_requirement(line):
            continue
        if name in RENAMED and RENAMED[name] != name:
            line = re.sub(r"^[A-Za-z0-9._-]+", RENAMED[name], line)
        result.setdefault(name_of(line), line)
    return list(result.values())


def name_of(requirement: str) -> str:
    """Return the normalised distribution name (PEP 503)."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement[:_LONGEST].strip())
    return re.sub(r"[-_.]+", "-", match.group()).lower() if match else ""


def _requirements_txt(path: str, project: Project, depth: int = 0) -> list[str]:
    result: list[str] = []
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
                result += lines
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
            result.append(re.split(r"[\s@\[]", line)[0])
        elif is_requirement(line):
            result.append(line)
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
        for line in result
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


TRAINING_GROUPS = ("train", "training", "ml", "model", "models")
"""Dependency groups and extras that are meant for the training."""
OTHER_GROUPS = ("main", "default", "dev")
"""Groups that are taken if nothing else is declared."""


def _pyproject(path: str, project: Project) -> list[str]:
    table = _toml(path, project)
    name = os.path.relpath(path, project.root)
    described = _table(table, "project")
    listed = _lines(described.get("dependencies"))
    if not listed and isinstance(described.get("dynamic"), list):
        dynamic = _table(table, "tool", "setuptools", "dynamic", "dependencies").get("file", [])
        named = [dynamic] if isinstance(dynamic, str) else dynamic
        listed += _named(named, path, project) if "dependencies" in described["dynamic"] else []
    listed = listed or _poetry_lines(table, name, project)
    pixi = _table(table, "tool", "pixi")
    listed += _pixi_lines(pixi)
    groups = _table(table, "dependency-groups")
    for group in TRAINING_GROUPS:
        listed += _group(groups, group, 0)
        listed += _lines(_table(described, "optional-dependencies").get(group))
    for group in OTHER_GROUPS:
        listed = listed or _group(groups, group, 0)
    left_out = _note_sources(_table(table, "tool", "uv"), name, project.warnings)
    for tool in ("poetry", "pdm"):
        if isinstance(_table(table, "tool", tool).get("source"), list):
            project.warnings.append(
                f"{name}: [[tool.{tool}.source]] is the operator's to set: it is not followed"
            )
    return [line for line in listed if is_requirement(line) and name_of(line) not in left_out]


def _note_sources(uv: dict[str, Any], name: str, warnings: list[str]) -> set[str]:
    """Say which sources and indexes of uv are not followed.

    Returns:
        Distributions that only another source than an index has: they are not installed.
    """
    left_out = set()
    for distribution, source in _table(uv, "sources").items():
        kinds = source if isinstance(source, list) else [source]
        named = [one for one in kinds if isinstance(one, dict)]
        elsewhere = next(
            (kind for one in named for kind in ("git", "url", "path") if kind in one), ""
        )
        if any(one.get("workspace") for one in named):
            left_out.add(name_of(distribution))
        elif elsewhere:
            left_out.add(name_of(distribution))
            warnings.append(
                f"{name}: [tool.uv.sources] takes {distribution} from a {elsewhere}, which is not followed: it is not"
                " installed"
            )
        else:
            warnings.append(
                f"{name}: [tool.uv.sources] of {distribution} is the operator's to set: it comes from the usual index"
            )
    if any(key in uv for key in ("index", "index-url", "extra-index-url", "find-links")):
        warnings.append(f"{name}: the indexes of [tool.uv] are the operator's to set: not followed")
    return left_out


def _poetry_lines(table: dict[str, Any], name: str, project: Project) -> list[str]:
    """Return what Poetry's main group, and its groups for training, ask for."""
    poetry = _table(table, "tool", "poetry")
    tables = [_table(poetry, "dependencies")]
    tables += [_table(poetry, "group", one, "dependencies") for one in TRAINING_GROUPS]
    listed = []
    for one in tables:
        for distribution, value in one.items():
            elsewhere = isinstance(value, dict) and value.keys() & {"git", "path", "url"}
            if elsewhere:
                project.warnings.append(
                    f"{name}: {distribution} comes from a {min(elsewhere)}, which is not followed: it is not installed"
                )
            elif distribution.lower() != "python":
                listed.append(_poetry(distribution, value))
    return listed


def _pixi_toml(path: str, project: Project) -> list[str]:
    return _pixi_lines(_toml(path, project))


def _pixi_lines(table: dict[str, Any]) -> list[str]:
    """Return what Pixi installs that the index has: of conda's packages those it knows by the name."""
    index_names = {name_of(name) for name in DISTRIBUTIONS.values()} | set(RENAMED)
    listed = []
    for distribution, value in _table(table, "pypi-dependencies").items():
        if not (isinstance(value, dict) and value.keys() & {"git", "path", "url"}):
            listed.append(_poetry(distribution, value))
    for package, value in _table(table, "dependencies").items():
        if name_of(package) in index_names:
            listed.append(_poetry(package, value))
    return [line for line in listed if is_requirement(line)]


def _named(names: Any, path: str, project: Project) -> list[str]:
    """Return the requirements in files that another file names, relative to it."""
    result: list[str] = []
    for name in names if isinstance(names, list) else ():
        if isinstance(name, str):
            result += _requirements_txt(os.path.join(os.path.dirname(path), name), project)
    return result


def _group(groups: dict[str, Any], name: str, depth: int) -> list[str]:
    """Return a dependency group and those it includes (PEP 735)."""
    entries = groups.get(name)
    result = _lines(entries)
    for entry in entries if isinstance(entries, list) and depth < 5 else ():
        if isinstance(entry, dict) and isinstance(entry.get("include-group"), str):
            result += _group(groups, entry["include-group"], depth + 1)
    return result


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
    result = []
    for name, value in _table(_toml(path, project), "packages").items():
        version = (
            value
            if isinstance(value, str)
            else value.get("version", "*")
            if isinstance(value, dict)
            else "*"
        )
        result.append(name + (str(version) if str(version)[:1] in tuple("<>=!~") else ""))
    return [line for line in result if is_requirement(line)]


def _environment_yml(path: str, project: Project) -> list[str]:
    """Return the pip packages of a conda environment, and its conda packages that the index knows."""
    index_names = {name.lower() for name in DISTRIBUTIONS.values()} | set(RENAMED)
    result = []
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
                result.append(item[1])
            elif not item[1].startswith("-") and len(project.warnings) < _SAID_LIMIT:
                name = os.path.relpath(path, project.root)
                project.warnings.append(
                    f"{name}:{number}: it is no name with versions: it is not installed"
                )
        else:
            pip_indent = -1
            match = re.match(r"^(?:[\w./-]+::)?([A-Za-z0-9_.-]+)\s*([<>=!~].*)?$", item[1])
            if match and name_of(match[1]) in index_names:
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
                result.append(match[1] + (operator + version[2] + fuzzy if version else ""))
    return result


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
    ("pixi.toml", _pixi_toml),
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
