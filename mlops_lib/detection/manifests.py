"""Read the files in which a project declares its requirements and its Python.

Only names and versions are taken. Options, indexes, URLs and paths are not the project's to choose
(DESIGN, The cage), and a line that is no requirement is never repeated: an included file could be
anything.
"""

from __future__ import annotations

import os
import re

from mlops_lib.detection.conda_specs import requirement_of
from mlops_lib.detection.requirement_lines import (
    LONGEST,
    RENAMED,
    TOOLS,
    cleaned,
    extras_of,
    is_known,
    is_requirement,
    marker_of,
    name_of,
    normal,
    of_conda_build,
    other_builds,
    reference,
    specifier_of,
)
from mlops_lib.detection.source import decode
from mlops_lib.errors import RefusedFileError
from mlops_lib.lazy_regex import lazy_regex
from mlops_lib.project import files, toml

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

_INCLUDE = r"(?:-r|--requirement)[ =]?\s*(\S+)"
_CONSTRAINT = r"(?:-c|--constraint)[ =]?\s*(\S+)"
_EDITABLE = lazy_regex(r"^(?:-e|--editable)[ =]?\s*")
_OPTIONS = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--trusted-host")
_FILES_LIMIT = 50
"""Files that requirements are put together from."""
_SAID_LIMIT = 10
"""Most notes about one file."""
TRAINING_GROUPS = ("train", "training", "ml", "model", "models")
"""Dependency groups and extras that are meant for the training."""
OTHER_GROUPS = ("main", "default", "dev")
"""Groups that are taken if nothing else is declared."""
_SIDE_GROUPS = lazy_regex(r"docs?|tests?|testing|lint|typing|types|format|build|ci|release|publish")
"""Groups that no training needs."""


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
        """Return a file's text; "", with a note, if it is not read."""
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
            pending += raw[: 4 * LONGEST]
            if (
                pending.endswith("\\") and len(pending) < 100 * LONGEST
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

    def name(self, path: str) -> str:
        """Return a file's path as messages show it."""
        return os.path.relpath(path, self.root)

    def folder(self, path: str) -> str:
        """Return the folder of a path if it is one of the project, else ""."""
        place = os.path.normpath(path)
        inside = place == self.root or place.startswith(self.root + os.sep)
        return place if inside and files.is_folder(place, root=self.root) else ""

    def warn(self, text: str) -> None:
        """Add a warning once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def table(self, path: str) -> dict[str, Any]:
        """Return a TOML file's table; {}, with a note, if it cannot be read."""
        text = self.text(path)
        try:
            return toml.parse(text)
        except ValueError as error:
            self.warn(f"{self.name(path)}: it is no TOML ({str(error)[:100]}): it is not followed")
            return {}


def in_folder(
    folder: str, project: Project, *, first: str = "", without: str = ""
) -> tuple[list[str], str]:
    """Return the requirements that a folder declares, and the file that does.

    Args:
        folder: the folder.
        project: the project.
        first: the name of the file that is read before all others.
        without: the repository's own package, which is no requirement.
    """
    names = {name.lower(): name for name in files.names_in(folder, root=project.root)}
    for file_name, reader in sorted(READERS, key=lambda one: one[0] != first):
        path = names.get(file_name) if "/" not in file_name else file_name
        if path and os.path.lexists(os.path.join(folder, path)):
            place = os.path.join(folder, path)
            lines = reader(place, project)
            result = cleaned(lines, without=without)
            if result:
                for said in other_builds(lines):
                    project.warn(f"{project.name(place)}: {said}")
                return result, project.name(place)
    return [], ""


def local_package(
    path: str, project: Project, depth: int, extras: Sequence[str] = ()
) -> list[str] | None:
    """Return what a package in a folder of the project needs, None if there is no such folder.

    `-e .`, a path of Poetry's or uv's and a member of a workspace are installed with what they
    need; their own code is the project's.

    Args:
        path: the folder.
        project: the project.
        depth: how many other packages led to it.
        extras: its extras that are asked for.
    """
    folder = project.folder(path)
    if not folder or depth > 3 or not project.is_new(os.path.join(folder, "")):
        return [] if folder else None
    names = {name.lower() for name in files.names_in(folder, root=project.root)}
    described = [one for one in ("pyproject.toml", "setup.py", "setup.cfg") if one in names]
    for name in described:
        found = _DESCRIBED[name](os.path.join(folder, name), project, extras)
        if found:
            return found
    return []


def taken(texts: Iterable[str], name: str, project: Project) -> list[str]:
    """Return the requirements in a list of a file, and say which entries are none.

    Args:
        texts: the entries.
        name: the file, as messages show it.
        project: the project.
    """
    result = []
    for text in texts:
        text = text.strip()
        if is_requirement(text):
            result.append(text)
            continue
        source = reference(text)
        if source is not None:
            project.warn(f"{name}: {source.note()}")
            result += [source.line] if source.line else []
        elif text and not text.startswith("#"):
            project.warn(f"{name}: an entry is no name with versions: it is not installed")
    return result


def table_of(value: Any, *keys: str) -> dict[str, Any]:
    """Return a table within a table, {} if there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def texts_of(value: Any) -> list[str]:
    """Return the texts in a list, [] if it is none."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def requirements_txt(path: str, project: Project, depth: int = 0) -> list[str]:
    """Return the requirements of a file for pip."""
    result: list[str] = []
    limits: dict[str, str] = {}
    name = project.name(path)
    strange: list[int] = []
    for number, line in project.lines(path) if project.is_new(path) else ():
        place = f"{name}:{number}"
        included = re.match(_INCLUDE, line)
        constrained = re.match(_CONSTRAINT, line)
        if included or constrained:
            other = os.path.join(os.path.dirname(path), (included or constrained)[1])  # type: ignore[index]
            matches = (
                requirements_txt(other, project, depth + 1)
                if depth < 5 and os.path.lexists(other)
                else []
            )
            if included:
                result += matches
            else:
                limits.update({name_of(one): one for one in matches})
            continue
        is_editable = _EDITABLE.match(line) is not None
        line = _EDITABLE.sub("", line)
        if line.startswith("-"):
            option = next((one for one in _OPTIONS if line.startswith(one)), "")
            if option:
                project.warnings.append(
                    f"{place}: the option {option} is the operator's to set: it is not followed"
                )
        elif of_conda_build(line):
            # What conda's pip freeze writes: the name is all that means something.
            result.append(of_conda_build(line))
        elif is_requirement(line) and not is_editable:
            result.append(line)
        else:
            result += _placed(line, path, place, project, depth) or ()
            strange += [] if reference(line) or is_editable else [number]
    project.warnings += [
        f"{name}:{number}: it is no name with versions: it is not installed"
        for number in strange[:_SAID_LIMIT]
    ]
    if len(strange) > _SAID_LIMIT:
        project.warnings.append(
            f"{name}: {len(strange) - _SAID_LIMIT} more lines are no names with versions"
        )
    return [limited(line, limits) for line in result]


def _placed(line: str, path: str, place: str, project: Project, depth: int) -> list[str]:
    """Return the requirement of a pip line that names a place, and note it."""
    source = reference(line)
    folder = re.sub(r"^.*file:(//)?|\[[^\]]*\]\s*$", "", line).strip()
    named = re.search(r"\[([^\]]*)\]\s*$", line)
    extras = [normal(one.strip()) for one in named[1].split(",")] if named else []
    if source is None or source.kind == "folder":
        place_of = os.path.join(os.path.dirname(path), folder)
        inside = local_package(place_of, project, depth, extras)
        if inside is not None:
            return inside
    if source is None:
        return []
    if source.line or source.name:
        project.warn(f"{place}: {source.note()}")
    else:
        project.warn(f"{place}: it is no name with versions: it is not installed")
    return [source.line] if source.line else []


def limited(line: str, limits: dict[str, str]) -> str:
    """Return a requirement limited by a constraint on the same distribution."""
    limit = specifier_of(limits.get(name_of(line), ""))
    own = specifier_of(line)
    if not limit or "==" in own:
        return line
    extras = f"[{','.join(extras_of(line))}]" if extras_of(line) else ""
    versions = limit if "==" in limit else ",".join(filter(None, (own, limit)))
    marker = marker_of(line)
    return name_of(line) + extras + versions + (f"; {marker}" if marker else "")


def _pyproject(path: str, project: Project, groups: Sequence[str] | None = None) -> list[str]:
    """Return the requirements of a project's description.

    Args:
        path: the file.
        project: the project.
        groups: its groups and extras that count; by default those for training, or others if
            nothing else is declared.
    """
    selected_groups = TRAINING_GROUPS if groups is None else groups
    table = project.table(path)
    name = project.name(path)
    described = table_of(table, "project")
    listed = taken(texts_of(described.get("dependencies")), name, project)
    dynamic = texts_of(described.get("dynamic"))
    if "dependencies" in dynamic:
        file = table_of(table, "tool", "setuptools", "dynamic", "dependencies").get("file", [])
        listed += _named([file] if isinstance(file, str) else file, path, project)
        hook = table_of(table, "tool", "hatch", "metadata", "hooks", "requirements_txt")
        listed += _named(hook.get("files"), path, project)
    listed = listed or _poetry_lines(table, path, project, selected_groups)
    listed = listed or taken(
        texts_of(table_of(table, "tool", "flit", "metadata").get("requires")), name, project
    )
    listed += _pixi_lines(table_of(table, "tool", "pixi"), name, project)
    listed += _grouped(table, name, project, selected_groups)
    if groups is None:
        listed = listed or _fallback(table, name, project)
    uv = table_of(table, "tool", "uv")
    limits = {name_of(one): one for one in texts_of(uv.get("constraint-dependencies"))}
    instead = {name_of(one): one for one in texts_of(uv.get("override-dependencies"))}
    listed = [limited(line, limits) for line in listed]
    listed = [
        instead.get(name_of(line), line)
        if is_requirement(instead.get(name_of(line), line))
        else line
        for line in listed
    ]
    listed = follow_sources(listed, uv, path, project)
    note_sources(table, name, project)
    return [line for line in listed if is_requirement(line)]


def _grouped(
    table: dict[str, Any], name: str, project: Project, wanted: Sequence[str]
) -> list[str]:
    """Return the requirements of some dependency groups and extras."""
    groups = _normalized(table_of(table, "dependency-groups"))
    extras = _normalized(table_of(table, "project", "optional-dependencies"))
    listed = []
    for group in wanted:
        listed += taken(_group(groups, group, 0), name, project)
        listed += taken(texts_of(extras.get(group)), name, project)
    return listed


def _fallback(table: dict[str, Any], name: str, project: Project) -> list[str]:
    """Return the first group for training, if a project has no other requirement."""
    groups = _normalized(table_of(table, "dependency-groups"))
    hatch = table_of(table, "tool", "hatch", "envs")
    others = [one for one in groups if not _SIDE_GROUPS.fullmatch(one)]
    for group in (*OTHER_GROUPS, *others):
        entries = _group(groups, group, 0)
        entries += texts_of(table_of(hatch, group).get("dependencies"))
        listed = taken(entries, name, project)
        if listed:
            return listed
    return []


def _normalized(table: dict[str, Any]) -> dict[str, Any]:
    return {normal(key): value for key, value in table.items()}


def follow_sources(listed: list[str], uv: dict[str, Any], path: str, project: Project) -> list[str]:
    """Return the requirements without those that uv takes from another source than an index.

    Of a folder of the project the requirements are taken, of a known distribution the index's
    release. What is not followed is said.
    """
    sources = {normal(name): value for name, value in table_of(uv, "sources").items()}
    result = []
    for line in listed:
        value = sources.get(name_of(line))
        kinds = [one for one in (value if isinstance(value, list) else [value]) if one]
        places = [one for one in kinds if isinstance(one, dict)]
        place = places[0] if places else {}
        if not places:
            result.append(line)
        elif place.get("workspace"):
            result += _member(name_of(line), path, project)
        elif isinstance(place.get("path"), str):
            folder = os.path.join(os.path.dirname(path), place["path"])
            result += _from_place(line, "folder", local_package(folder, project, 1), path, project)
        elif "git" in place:
            result += _from_place(line, "git repository", None, path, project)
        elif "url" in place:
            result += _from_place(line, "URL", None, path, project)
        else:
            result.append(line)
            project.warn(
                f"{project.name(path)}: [tool.uv.sources] of {name_of(line)} is the operator's to"
                " set: it comes from the usual index"
            )
    return result


def _from_place(
    line: str, kind: str, inside: list[str] | None, path: str, project: Project
) -> list[str]:
    """Return what stands for a distribution from a repository, an address or a folder."""
    if inside is not None:
        return inside
    name = name_of(line)
    then = "the release of the index is taken" if is_known(name) else "it is not installed"
    project.warn(
        f"{project.name(path)}: [tool.uv.sources] takes {name} from a {kind}, which is not"
        f" followed: {then}"
    )
    return [line] if is_known(name) else []


def _member(name: str, path: str, project: Project) -> list[str]:
    """Return the requirements of a uv workspace member; its code is the project's."""
    place = os.path.dirname(path)
    while place.startswith(project.root):
        table = {}
        if files.is_file(os.path.join(place, "pyproject.toml"), root=project.root):
            table = project.table(os.path.join(place, "pyproject.toml"))
        for folder in _workspace_folders(
            table_of(table, "tool", "uv", "workspace"), place, project
        ):
            described = os.path.join(folder, "pyproject.toml")
            if files.is_file(described, root=project.root):
                own = table_of(project.table(described), "project").get("name")
                if isinstance(own, str) and normal(own) == name:
                    return local_package(folder, project, 1) or []
        if place == os.path.dirname(place):
            break
        place = os.path.dirname(place)
    return []


def _workspace_folders(workspace: dict[str, Any], folder: str, project: Project) -> list[str]:
    """Return the folders of a workspace's members, whose last part may be a star."""
    result = []
    for pattern in texts_of(workspace.get("members"))[:_FILES_LIMIT]:
        above, _, last = pattern.rstrip("/").rpartition("/")
        base = project.folder(os.path.join(folder, above))
        if not base or "*" in above:
            continue
        shape = lazy_regex(re.escape(last).replace(r"\*", "[^/]*"))
        names = files.names_in(base, root=project.root)
        result += [os.path.join(base, one) for one in sorted(names) if shape.fullmatch(one)]
    return result[:200]


def note_sources(table: dict[str, Any], name: str, project: Project) -> None:
    """Say which indexes and settings of a project's tools are not followed."""
    uv = table_of(table, "tool", "uv")
    if any(key in uv for key in ("index", "index-url", "extra-index-url", "find-links")):
        project.warn(f"{name}: the indexes of [tool.uv] are the operator's to set: not followed")
    if "exclude-newer" in uv:
        project.warn(
            f"{name}: exclude-newer of [tool.uv] is not followed: newer releases may be taken"
        )
    for tool in ("poetry", "pdm"):
        if isinstance(table_of(table, "tool", tool).get("source"), list):
            project.warn(
                f"{name}: [[tool.{tool}.source]] is the operator's to set: it is not followed"
            )


def _poetry_lines(
    table: dict[str, Any], path: str, project: Project, groups: Sequence[str]
) -> list[str]:
    """Return the requirements of Poetry's main group and some other groups."""
    poetry = table_of(table, "tool", "poetry")
    extras = table_of(poetry, "extras")
    extra_names = {normal(one) for group in groups for one in texts_of(extras.get(group))}
    listed = _toolset(table_of(poetry, "dependencies"), path, project, extra_names)
    for group in groups:
        inner = table_of(poetry, "group", group, "dependencies")
        listed += _toolset(inner, path, project, extra_names)
    return listed


def _toolset(
    dependencies: dict[str, Any],
    path: str,
    project: Project,
    wanted: Iterable[str] = (),
    *,
    exact: bool = True,
) -> list[str]:
    """Return the requirements in a table of Poetry, Pixi or Pipenv.

    Args:
        dependencies: names to versions or tables.
        path: the file.
        project: the project.
        wanted: optional distributions that count.
        exact: whether a bare version means that release, as it does for Poetry.
    """
    listed = []
    for distribution, value in dependencies.items():
        if distribution.lower() == "python":
            continue
        for way in value if isinstance(value, list) else [value]:
            about = way if isinstance(way, dict) else {}
            kind = next((key for key in ("git", "path", "file", "url") if key in about), "")
            if about.get("optional") is True and normal(distribution) not in wanted:
                continue
            if not kind:
                line = requirement_of(distribution, way, exact=exact)
                listed += (
                    [line] if is_requirement(line) else taken([line], project.name(path), project)
                )
                continue
            place = about[kind] if isinstance(about[kind], str) else ""
            inside = None
            if kind in ("path", "file") and place:
                inside = local_package(os.path.join(os.path.dirname(path), place), project, 1)
            if inside is not None:
                listed += inside
                continue
            source = reference(
                f"{distribution} @ git+{place}@{about.get('tag') or about.get('rev')}"
            )
            name = normal(distribution)
            name_or_line = source.line if source and kind == "git" and source.line else name
            then = "the release of the index is taken" if is_known(name) else "it is not installed"
            what = {"git": "git repository", "path": "folder"}.get(kind, "URL")
            project.warn(
                f"{project.name(path)}: {distribution} comes from a {what}, which is not followed:"
                f" {then}"
            )
            listed += [name_or_line] if is_known(name) else []
    return listed


def _pixi_toml(path: str, project: Project) -> list[str]:
    return _pixi_lines(project.table(path), project.name(path), project)


def _pixi_lines(table: dict[str, Any], name: str, project: Project) -> list[str]:
    """Return Pixi's requirements that the package index has."""
    path = os.path.join(project.root, name)
    listed: list[str] = []
    left_out: list[str] = []
    parts = [table, *(table_of(table, "feature", group) for group in TRAINING_GROUPS)]
    parts += [table_of(table, "target", one) for one in ("linux-64", "linux")]
    for part in parts:
        listed += _toolset(table_of(part, "pypi-dependencies"), path, project)
        for package, value in table_of(part, "dependencies").items():
            if is_known(package) or name_of(package) in RENAMED:
                listed.append(requirement_of(package, value, exact=False))
            elif name_of(package) not in TOOLS:
                left_out.append(package)
    _note_conda(left_out, name, project)
    return [line for line in listed if is_requirement(line)]


def _note_conda(packages: list[str], name: str, project: Project) -> None:
    """Say which of conda's packages the index is not asked for."""
    named = [one for one in packages if re.fullmatch(r"[A-Za-z0-9._-]{1,80}", one)]
    if named:
        names_text = ", ".join(named[:10]) + (f" and {len(named) - 10} more" if named[10:] else "")
        project.warn(
            f"{name}: conda has {names_text}; the index may know other software by such a name: not"
            " installed"
        )


def _named(names: Any, path: str, project: Project) -> list[str]:
    """Return the requirements in files that another file names, relative to it."""
    result: list[str] = []
    for name in texts_of(names):
        result += requirements_txt(os.path.join(os.path.dirname(path), name), project)
    return result


def _group(groups: dict[str, Any], name: str, depth: int) -> list[str]:
    """Return the entries of a dependency group and of those it includes (PEP 735)."""
    entries = groups.get(normal(name))
    result = texts_of(entries)
    for entry in entries if isinstance(entries, list) and depth < 5 else ():
        if isinstance(entry, dict) and isinstance(entry.get("include-group"), str):
            result += _group(groups, entry["include-group"], depth + 1)
    return result


def _pipfile(path: str, project: Project) -> list[str]:
    table = project.table(path)
    sources = table.get("source")
    named = (
        [one.get("name") for one in sources if isinstance(one, dict)]
        if isinstance(sources, list)
        else []
    )
    if any(one != "pypi" for one in named):
        project.warn(
            f"{project.name(path)}: [[source]] is the operator's to set: it is not followed"
        )
    return _toolset(table_of(table, "packages"), path, project)


def _environment_yml(path: str, project: Project) -> list[str]:
    """Return the pip packages of a conda environment, and the index's names of others."""
    result: list[str] = []
    left_out: list[str] = []
    name = project.name(path)
    in_dependencies = False
    pip_indent = -1
    for number, raw in enumerate(project.text(path).splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw[:LONGEST])
        indent = len(line) - len(line.lstrip())
        if re.match(r"^[A-Za-z]", line):
            in_dependencies = line.startswith("dependencies")
        item = re.match(r"^\s*-\s*[\"']?(.+?)[\"']?\s*$", line)
        if not in_dependencies or not item:
            continue
        text = item[1].strip()
        if text == "pip:":
            pip_indent = indent
        elif pip_indent >= 0 and indent > pip_indent:
            result += _pip_item(text, path, f"{name}:{number}", project)
        else:
            pip_indent = -1
            package = re.match(r"(?:[\w./-]+::)?([A-Za-z0-9_.-]+)\s*(.*)$", text)
            if package is None:
                continue
            if is_known(package[1]) or name_of(package[1]) in RENAMED:
                result.append(requirement_of(package[1], package[2], exact=False))
            elif name_of(package[1]) not in TOOLS:
                left_out.append(package[1])
    _note_conda(left_out, name, project)
    return [line for line in result if is_requirement(line)]


def _pip_item(text: str, path: str, place: str, project: Project) -> list[str]:
    """Return what an entry below `pip:` of a conda environment stands for."""
    included = re.match(_INCLUDE, text)
    if included is not None:
        return _named([included[1]], path, project)
    line = _EDITABLE.sub("", text)
    if is_requirement(line) and line == text:
        return [line]
    if line.startswith("-"):
        option = next((one for one in _OPTIONS if line.startswith(one)), "")
        if option:
            project.warn(
                f"{place}: the option {option} is the operator's to set: it is not followed"
            )
        return []
    if reference(line) is not None or line != text:
        return _placed(line, path, place, project, 0)
    project.warn(f"{place}: it is no name with versions: it is not installed")
    return []


def _setup_py(path: str, project: Project, groups: Sequence[str] = TRAINING_GROUPS) -> list[str]:
    import ast

    from mlops_lib.detection.source import parse

    tree = parse(project.text(path)).tree
    named: dict[str, ast.expr] = {}
    keywords: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            named[node.targets[0].id] = node.value
        if isinstance(node, ast.keyword) and node.arg in ("install_requires", "extras_require"):
            keywords.setdefault(node.arg, node.value)
        if isinstance(node, ast.Dict):  # setup(**about)
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "install_requires":
                    keywords.setdefault("install_requires", value)
    entries = _constants(keywords.get("install_requires"), named, 0)
    extras = keywords.get("extras_require")
    extras = named.get(extras.id) if isinstance(extras, ast.Name) else extras
    if isinstance(extras, ast.Dict):
        for key, value in zip(extras.keys, extras.values, strict=True):
            if isinstance(key, ast.Constant) and key.value in groups:
                entries += _constants(value, named, 0)
    return taken(entries, project.name(path), project)


def _constants(node: ast.expr | None, named: dict[str, ast.expr], depth: int) -> list[str]:
    """Return the texts in a list that setup.py writes down: literals, names, sums."""
    import ast

    if node is None or depth > 8:
        return []
    if isinstance(node, ast.Constant):
        return node.value.splitlines() if isinstance(node.value, str) else []
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return [one for element in node.elts for one in _constants(element, named, depth + 1)]
    if isinstance(node, ast.Starred):
        return _constants(node.value, named, depth + 1)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _constants(node.left, named, depth + 1) + _constants(node.right, named, depth + 1)
    if isinstance(node, ast.Name):
        return _constants(named.get(node.id), named, depth + 1)
    return []


def _setup_cfg(path: str, project: Project, groups: Sequence[str] = TRAINING_GROUPS) -> list[str]:
    import configparser

    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(project.text(path))
    except configparser.Error:
        return []
    listed = parser.get("options", "install_requires", fallback="")
    if listed.strip().startswith("file:"):
        return _named([one.strip() for one in listed.strip()[5:].split(",")], path, project)
    lines = listed.splitlines()
    for group in groups:
        lines += parser.get("options.extras_require", group, fallback="").splitlines()
    return taken(lines, project.name(path), project)


_DESCRIBED: dict[str, Callable[[str, Project, Sequence[str]], list[str]]] = {
    "pyproject.toml": _pyproject,
    "setup.py": _setup_py,
    "setup.cfg": _setup_cfg,
}
"""Files that describe a package, to what reads them."""
READERS: tuple[tuple[str, Callable[[str, Project], list[str]]], ...] = (
    ("requirements.txt", requirements_txt),
    ("requirement.txt", requirements_txt),
    ("pyproject.toml", _pyproject),
    ("pixi.toml", _pixi_toml),
    ("pipfile", _pipfile),
    ("environment.yml", _environment_yml),
    ("environment.yaml", _environment_yml),
    ("conda.yaml", _environment_yml),
    ("conda.yml", _environment_yml),
    ("setup.py", _setup_py),
    ("setup.cfg", _setup_cfg),
    ("requirements.in", requirements_txt),
    ("requirements/train.txt", requirements_txt),
    ("requirements/requirements.txt", requirements_txt),
    ("requirements/base.txt", requirements_txt),
    ("requirements/prod.txt", requirements_txt),
    ("reqs.txt", requirements_txt),
)
"""File names, in lower case, to what reads them; the first that declares something counts."""
