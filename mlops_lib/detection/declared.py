"""Requirements that a project declares itself: they win over what its imports suggest.

Only names and versions are taken. Options, indexes, URLs and paths are not the project's to choose (DESIGN, The cage).
"""

from __future__ import annotations

import os
import re

from mlops_lib.detection.distributions import DISTRIBUTIONS
from mlops_lib.detection.source import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LINE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\])?\s*(\(?[<>=!~][^;@]*\)?)?\s*(;.*)?$")
_INCLUDE = re.compile(r"^(?:-r|--requirement)[ =]?\s*(\S+)")
_CONSTRAINT = re.compile(r"^(?:-c|--constraint)[ =]?\s*(\S+)")

RENAMED = {
    "sklearn": "scikit-learn", "pil": "pillow", "cv2": "opencv-python", "opencv": "opencv-python", "skimage": "scikit-image",
    "bs4": "beautifulsoup4", "yaml": "pyyaml", "tensorflow-gpu": "tensorflow", "torch-geometric": "torch-geometric",
    "pytorch": "torch", "py-opencv": "opencv-python", "py-xgboost": "xgboost", "matplotlib-base": "matplotlib",
    "tensorflow-mkl": "tensorflow", "pytorch-cpu": "torch", "tensorflow-base": "tensorflow", "tables": "tables",
    "pytables": "tables", "msgpack-python": "msgpack", "keras-gpu": "keras", "imblearn": "imbalanced-learn",
}  # fmt: skip
"""Names that people write, or that conda uses, for what the index knows under another one."""
TOOLS = frozenset("python pip setuptools wheel pkg-resources distribute conda anaconda defaults conda-forge nodefaults".split())
"""Names in declarations that are no requirement of the script."""

WHEELS_FROM = {
    "numpy": (1, 23), "scipy": (1, 9), "pandas": (1, 5), "scikit-learn": (1, 2), "matplotlib": (3, 6), "tensorflow": (2, 12),
    "tensorflow-cpu": (2, 12), "torch": (1, 13), "torchvision": (0, 14), "torchaudio": (0, 13), "h5py": (3, 8), "pillow": (9, 3),
    "numba": (0, 57), "llvmlite": (0, 40), "catboost": (1, 1), "statsmodels": (0, 13), "jaxlib": (0, 4), "scikit-image": (0, 19),
    "grpcio": (1, 50), "pyyaml": (6, 0), "lxml": (4, 9), "pyarrow": (10, 0), "spacy": (3, 4), "gensim": (4, 3), "cython": (0, 29),
    "wrapt": (1, 14), "cffi": (1, 15), "psycopg2-binary": (2, 9), "tokenizers": (0, 13), "sentencepiece": (0, 1), "kiwisolver": (1, 4),
    "regex": (2022, 3), "aiohttp": (3, 8), "frozenlist": (1, 3), "multidict": (6, 0), "yarl": (1, 8), "markupsafe": (2, 1),
    "tensorflow-text": (2, 12), "tensorflow-addons": (0, 20), "ml-dtypes": (0, 1), "shap": (0, 42), "hdbscan": (0, 8),
}  # fmt: skip
"""First release with wheels for Python 3.11 (from the projects' own release notes); older pins cannot be installed there."""


class Declared:
    """What a project declares: requirements, the file they stand in, and what has to be said about it."""

    __slots__ = ("requirements", "source", "warnings")

    def __init__(self, requirements: list[str], source: str, warnings: list[str]) -> None:
        self.requirements = requirements
        self.source = source
        self.warnings = warnings


def find(folder: str, root: str) -> Declared:
    """The declaration nearest to a folder, upwards to the project's root; empty where there is none."""
    place = folder
    while True:
        names = {name.lower(): name for name in _names(place)}
        for wanted, reader in _READERS:
            path = names.get(wanted) if "/" not in wanted else wanted
            if path and os.path.isfile(os.path.join(place, path)):
                warnings: list[str] = []
                found = _cleaned(reader(os.path.join(place, path), warnings))
                if found:
                    return Declared(found, os.path.relpath(os.path.join(place, path), root), warnings)
        if place == root or os.path.dirname(place) == place or not place.startswith(root):
            return Declared([], "", [])
        place = os.path.dirname(place)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _cleaned(lines: list[str]) -> list[str]:
    found: dict[str, str] = {}
    for line in lines:
        name = name_of(line)
        if not name or name in TOOLS:
            continue
        if name in RENAMED and RENAMED[name] != name:
            line = re.sub(r"^[A-Za-z0-9._-]+", RENAMED[name], line)
        found.setdefault(name_of(line), line)
    return list(found.values())


def name_of(requirement: str) -> str:
    """The normalised distribution name (PEP 503)."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement.strip())
    return re.sub(r"[-_.]+", "-", match.group()).lower() if match else ""


def fitting(requirements: list[str], python: str) -> tuple[list[str], list[str]]:
    """The requirements that can be installed for a Python, and what was changed.

    A pin on a release that is older than Python 3.11 itself has no wheel there and mostly cannot be compiled: it is
    loosened, and that is said.
    """
    kept, said = [], []
    modern = tuple(map(int, python.split(".")[:2])) >= (3, 11)
    for line in requirements:
        pin = re.match(r"^([A-Za-z0-9._-]+)(\[[^\]]*\])?\s*(?:===?|~=)\s*(\d+)(?:\.(\d+))?", line)
        first = WHEELS_FROM.get(name_of(line)) if pin and modern else None
        if pin and first and (int(pin[3]), int(pin[4] or 0)) < first:
            kept.append(pin[1] + (pin[2] or ""))
            said.append(
                f"{line.split(';')[0].strip()} is declared, but has no build for Python {python} (the first is"
                f" {first[0]}.{first[1]}): a later release is installed; raise the pin to choose it yourself"
            )
        else:
            kept.append(line)
    return kept, said


def _text(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            return decode(stream.read(1_000_000))
    except OSError:
        return ""


def _requirements_txt(path: str, warnings: list[str], depth: int = 0) -> list[str]:
    found: list[str] = []
    limits: dict[str, str] = {}
    name = os.path.basename(path)
    for raw in _text(path).replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        line = re.sub(r"\s--hash[= ]\S+", "", line).strip()
        included, constrained = _INCLUDE.match(line), _CONSTRAINT.match(line)
        if included or constrained:
            other = os.path.normpath(os.path.join(os.path.dirname(path), (included or constrained)[1]))  # type: ignore[index]
            if depth < 5 and os.path.isfile(other):
                lines = _requirements_txt(other, warnings, depth + 1)
                if included:
                    found += lines
                else:
                    limits.update({name_of(one): one for one in lines})
        elif re.match(r"^[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\])?\s*@\s*file:", line):
            found.append(re.split(r"[\s@]", line)[0])  # what conda's pip freeze writes: the name is all that means something
        elif line and not line.startswith("-") and _LINE.match(line):
            found.append(line)
        elif line and not line.startswith("-"):
            warnings.append(f"{name}: {line[:80]!r} is no name with versions: it is not installed")
        elif line.startswith(("-e", "--editable", "-i", "--index-url", "--extra-index-url", "-f", "--find-links")):
            warnings.append(f"{name}: the option {line.split()[0]!r} is the operator's to set: it is not followed")
    return [limits.get(name_of(line), line) if re.fullmatch(r"[A-Za-z0-9._-]+", line) else line for line in found]


def _toml(path: str) -> dict[str, Any]:
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib  # type: ignore[no-redef, unused-ignore]
    try:
        return tomllib.loads(_text(path))
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _table(value: Any, *keys: str) -> dict[str, Any]:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _lines(value: Any) -> list[str]:
    return [v.strip() for v in value if isinstance(v, str) and _LINE.match(v.strip())] if isinstance(value, list) else []


def _pyproject(path: str, warnings: list[str]) -> list[str]:
    table = _toml(path)
    project = _table(table, "project")
    listed = _lines(project.get("dependencies"))
    if not listed and isinstance(project.get("dynamic"), list) and "dependencies" in project["dynamic"]:
        files = _table(table, "tool", "setuptools", "dynamic", "dependencies").get("file", [])
        for name in [files] if isinstance(files, str) else files if isinstance(files, list) else []:
            listed += _requirements_txt(os.path.join(os.path.dirname(path), str(name)), warnings)
    if not listed:
        listed = [_poetry(n, v) for n, v in _table(table, "tool", "poetry", "dependencies").items() if n.lower() != "python"]
    if not listed:
        groups = _table(table, "dependency-groups")
        for name in ("train", "training", "main", "default", "dev"):
            listed = listed or _group(groups, name, 0)
    return [line for line in listed if _LINE.match(line)]


def _group(groups: dict[str, Any], name: str, depth: int) -> list[str]:
    """A dependency group and those it includes (PEP 735)."""
    entries = groups.get(name)
    found = _lines(entries)
    for entry in entries if isinstance(entries, list) and depth < 5 else ():
        if isinstance(entry, dict) and isinstance(entry.get("include-group"), str):
            found += _group(groups, entry["include-group"], depth + 1)
    return found


def _poetry(name: str, value: Any) -> str:
    version = value if isinstance(value, str) else value.get("version", "*") if isinstance(value, dict) else "*"
    caret = re.fullmatch(r"\^(\d+)(?:\.(\d+))?((?:\.\d+)*)", str(version).strip())
    if caret:
        upper = f"{int(caret[1]) + 1}" if int(caret[1]) or caret[2] is None else f"0.{int(caret[2]) + 1}"
        return f"{name}>={str(version).strip()[1:]},<{upper}"
    tilde = re.fullmatch(r"~(\d+)\.(\d+)((?:\.\d+)*)", str(version).strip())
    if tilde:
        return f"{name}>={str(version).strip()[1:]},<{tilde[1]}.{int(tilde[2]) + 1}"
    version = str(version).strip()
    if version in ("*", ""):
        return name
    return name + (version if version[:1] in "<>=!~" else f"=={version}")


def _pipfile(path: str, warnings: list[str]) -> list[str]:
    found = []
    for name, value in _table(_toml(path), "packages").items():
        version = value if isinstance(value, str) else value.get("version", "*") if isinstance(value, dict) else "*"
        found.append(name + (str(version) if str(version)[:1] in tuple("<>=!~") else ""))
    return [line for line in found if _LINE.match(line)]


def _environment_yml(path: str, warnings: list[str]) -> list[str]:
    """A conda environment: what pip is told to install, and of conda's packages those the index knows by the same name."""
    known = {name.lower() for name in DISTRIBUTIONS.values()} | set(RENAMED)
    found = []
    in_dependencies, pip_indent = False, -1
    for raw in _text(path).splitlines():
        line = re.sub(r"\s#.*$", "", raw)
        indent = len(line) - len(line.lstrip())
        if re.match(r"^[A-Za-z]", line):
            in_dependencies = line.startswith("dependencies")
        item = re.match(r"^\s*-\s*[\"']?(.+?)[\"']?\s*$", line)
        if not in_dependencies or not item:
            continue
        if item[1].rstrip() == "pip:":
            pip_indent = indent
        elif pip_indent >= 0 and indent > pip_indent:
            if _LINE.match(item[1]):
                found.append(item[1])
            elif not item[1].startswith("-"):
                warnings.append(f"{os.path.basename(path)}: {item[1][:80]!r} is no name with versions: it is not installed")
        else:
            pip_indent = -1
            match = re.match(r"^(?:[\w./-]+::)?([A-Za-z0-9_.-]+)\s*([<>=!~].*)?$", item[1])
            if match and name_of(match[1]) in known:
                version = re.match(r"^(=+|[<>]=?)\s*([\w.*]+)", (match[2] or "").strip())
                operator = "" if not version else "==" if set(version[1]) == {"="} else version[1]
                fuzzy = ".*" if version and version[1] == "=" and version[2].count(".") < 2 and "*" not in version[2] else ""
                found.append(match[1] + (operator + version[2] + fuzzy if version else ""))
    return found


def _setup_py(path: str, warnings: list[str]) -> list[str]:
    import ast

    from mlops_lib.detection.source import parse

    named: dict[str, ast.expr] = {}
    for node in ast.walk(parse(_text(path)).tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            named[node.targets[0].id] = node.value
        if isinstance(node, ast.keyword) and node.arg == "install_requires":
            value = named.get(node.value.id) if isinstance(node.value, ast.Name) else node.value
            if isinstance(value, (ast.List, ast.Tuple)):
                return _lines([e.value for e in value.elts if isinstance(e, ast.Constant)])
    return []


def _setup_cfg(path: str, warnings: list[str]) -> list[str]:
    import configparser

    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(_text(path))
    except configparser.Error:
        return []
    return _lines(parser.get("options", "install_requires", fallback="").splitlines())


_READERS = (
    ("requirements.txt", _requirements_txt), ("requirement.txt", _requirements_txt), ("pyproject.toml", _pyproject),
    ("pipfile", _pipfile), ("environment.yml", _environment_yml), ("environment.yaml", _environment_yml),
    ("conda.yaml", _environment_yml), ("conda.yml", _environment_yml), ("setup.py", _setup_py), ("setup.cfg", _setup_cfg),
    ("requirements.in", _requirements_txt), ("requirements/train.txt", _requirements_txt),
    ("requirements/requirements.txt", _requirements_txt), ("requirements/base.txt", _requirements_txt),
    ("requirements/prod.txt", _requirements_txt), ("reqs.txt", _requirements_txt),
)  # fmt: skip
