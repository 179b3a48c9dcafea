"""Tell files that can change the result of a run from those that cannot: docs, CI files, code and pictures
that nothing names.

A run is named by what it may read. A commit that touches only README.md is the same run, so nothing
is trained twice. The other error would be worse: a run that is restored must still be the truth. So
a file is left out only if three things hold, and a file that any of them leaves in doubt counts.

- It is of a kind that trainings do not read: a document, a file of a forge, an editor or a build
  server, a picture, or code.
- Nothing names it: no import and no text in the code that the entry reaches, no argument, no line
  of its input and no settings file has the file's name, its suffix, or a folder above it.
- The code does nothing that reads files without naming them: list a folder that is not written
  there, start a program, run text as code. For pictures: open a path that is not written there. For
  code: import or unpickle by a computed name.
"""

from __future__ import annotations

import ast
import fnmatch
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mlops_lib.detection import source
from mlops_lib.errors import RefusedFileError
from mlops_lib.project import files

CODE_LIMIT = 4_000_000
"""Bytes of a script that are read; of a longer one nothing is known."""
FILES_LIMIT = 500
"""Scripts that are read."""
SHORTEST = 3
"""Characters of a name's part from which on it is looked for in texts that are put together."""

FOLDERS = frozenset(
    {".github", ".gitlab", ".circleci", ".vscode", ".idea", ".devcontainer", ".gitea", ".forgejo"}
)
DOCUMENTS = (
    "*.md",
    "*.rst",
    "*.adoc",
    "readme",
    "readme.txt",
    "licen[cs]e*",
    "copying*",
    "notice",
    "notice.txt",
    "authors*",
    "contributors*",
    "changelog*",
    "citation.cff",
    "codeowners",
    "jenkinsfile*",
    "*.jenkinsfile",
    ".gitlab-ci.yml",
    ".travis.yml",
    "appveyor.yml",
    ".appveyor.yml",
    "azure-pipelines*.yml",
    "bitbucket-pipelines.yml",
    ".drone.yml",
    ".pre-commit-config.yaml",
    ".gitignore",
    ".gitattributes",
    ".editorconfig",
    ".dockerignore",
    ".mailmap",
    ".flake8",
    ".pylintrc",
    ".coveragerc",
    "mkdocs.yml",
    ".readthedocs.y*ml",
    "codecov.yml",
    ".codecov.yml",
    "renovate.json",
)
"""Names of documents and of files for forges, editors and build servers, in lower case."""
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".bmp", ".ico"})
CODE = frozenset({".py", ".ipynb"})
ALWAYS = frozenset(
    {"setup.py", "conftest.py", "sitecustomize.py", "usercustomize.py", "__main__.py"}
)
"""Code that runs without being imported."""

LISTS = frozenset(
    (
        "listdir",
        "scandir",
        "walk",
        "fwalk",
        "iterdir",
        "glob",
        "iglob",
        "rglob",
        "list_files",
        "copytree",
        "load_files",
        "flow_from_directory",
        "image_dataset_from_directory",
        "text_dataset_from_directory",
        "audio_dataset_from_directory",
        "ImageFolder",
        "DatasetFolder",
        "matching_files",
        "from_folder",
        "from_directory",
        "load_dataset",
        "load_from_disk",
        "get_image_files",
        "get_text_files",
        "get_files",
    )
)
"""Calls, by their last name, that read whatever a folder holds."""
FOLDER_READERS = re.compile(
    r"(?i).*(directory|folder|directoryreader|directoryloader)|from_(dir|files)"
)
"""Further calls of libraries, by their last name, that may."""
MAKERS = frozenset(
    {
        "TemporaryDirectory",
        "askdirectory",
        "add_dll_directory",
        "create_directory",
        "make_directory",
    }
)
TEXT_METHODS = frozenset(
    (
        "split",
        "rsplit",
        "join",
        "replace",
        "strip",
        "lstrip",
        "rstrip",
        "partition",
        "rpartition",
        "count",
        "find",
        "rfind",
        "index",
        "startswith",
        "endswith",
        "print",
        "append",
        "add",
        "write",
        "sub",
        "compile",
        "match",
        "search",
        "get",
        "chdir",
        "insert",
    )
)
"""Calls to which a dot is no folder."""
METHODS = frozenset({"walk", "iterdir", "glob", "rglob"})
"""Those of them that a path has as methods."""
FOLDER_WORDS = frozenset(
    (
        "directory",
        "root",
        "path",
        "folder",
        "data_dir",
        "data_files",
        "pathname",
        "top",
        "src",
        "container_path",
        "file_pattern",
        "pattern",
        "root_dir",
    )
)
PROGRAMS = re.compile(
    r"(subprocess|pexpect|sh|plumbum|invoke|git|pygit2|dulwich)\..+|(os|posix)\.(system|popen|exec.+|spawn.+|posix_spawn.*)"
    r"|(\?\.)?(Popen|check_output|check_call|getoutput|system|run_line_magic|run_cell_magic|Repo)|.*make_archive"
)
TEXT_AS_CODE = re.compile(r"(builtins\.)?(exec|eval|compile|execfile)|runpy\..+")
COMPUTED_IMPORTS = re.compile(
    r"importlib\..+|import_module|__import__|.*(spec_from_file_location|SourceFileLoader|load_source)|pkgutil\..+|pydoc\.locate"
    r"|.*(walk_packages|iter_modules|entry_points)"
)
UNPICKLES = re.compile(
    r"(pickle|dill|cloudpickle|joblib|torch|skops\.io|_pickle|cPickle)\.(load|loads|Unpickler)|.*load_model"
)
OPENS = frozenset(
    (
        "open",
        "imread",
        "load_img",
        "read_file",
        "read_image",
        "imopen",
        "read_bytes",
        "fromfile",
        "memmap",
        "fopen",
        "imread_collection",
        "ImageCollection",
        "from_file",
        "flow_from_dataframe",
    )
)
"""Calls, by their last name, that could open a picture."""
STARTS = frozenset(
    {"Path", "PurePath", "PosixPath", "str", "join", "joinpath", "normpath", "fspath"}
)
"""Calls that give a path which begins with their first argument."""
SPELLS = frozenset({"chr", "b64decode", "fromhex", "unhexlify", "reversed"})
"""Calls that make texts which the code does not have."""
HARMLESS_COMMANDS = re.compile(
    r"[!%]\s*(pip|conda|matplotlib|tensorflow_version|time|timeit|load_ext|autoreload|config|pylab)\b.*|%%(time|capture)\b.*"
)
BETWEEN = re.compile(r"%[-+ #0-9.]*[a-z]|\{[^}]*\}|[/\\*?\s]+")
"""What stands between the pieces of a text that is filled in: `%s`, `{name}`, a path's separators,
wildcards.
"""
SETTINGS = frozenset({".json", ".yml", ".yaml", ".toml", ".ini", ".cfg", ".txt", ".csv", ".env"})
PACKAGING = (
    "pyproject.toml",
    "setup.cfg",
    "package*.json",
    "poetry.lock",
    "uv.lock",
    "pipfile*",
    "environment*.y*ml",
    "*requirements*.txt",
    "tox.ini",
    "pytest.ini",
    "mypy.ini",
    "ruff.toml",
    "mlops.toml",
    "manifest.in",
)
"""Settings of packages and tools, which name documents that no training reads."""
SETTINGS_LIMIT = 256_000
SETTINGS_FILES = 100
"""Bytes and number of the files that are searched for names of others."""
CANDIDATES_LIMIT = 10_000


@dataclass(frozen=True, kw_only=True)
class Relevance:
    """The files of a project that decide a run, and those that do not."""

    left_out: frozenset[str]
    """Paths, relative to the project, that are no part of the run's name."""
    doubts: tuple[str, ...] = ()
    """Reasons why unnamed files count, as `file:line: meaning of the code there`."""


@dataclass
class _Reading:
    """The statements about files in the code that the entry reaches."""

    texts: set[str] = field(default_factory=set)
    """Whole texts of the code, in lower case."""
    pieces: set[str] = field(default_factory=set)
    """Texts that the code puts together with others."""
    imports: set[str] = field(default_factory=set)
    """Every part of every imported name."""
    all_files: list[str] = field(default_factory=list)
    """Doubts because of which every file counts."""
    pictures: list[str] = field(default_factory=list)
    """Paths that are opened and not written there."""
    code: list[str] = field(default_factory=list)
    spelled: list[str] = field(default_factory=list)
    """Texts that are made of characters."""


def relevance(
    project: Path, entry: str, paths: Collection[str], *, given: Sequence[str] = ()
) -> Relevance:
    """Return which of a project's files cannot change what its run comes to.

    Args:
        project: the project's folder.
        entry: the script or notebook that trains, relative to it.
        paths: the project's files, relative to it.
        given: texts from outside that the script gets: its arguments, the lines of its input.
    """
    candidates = {path: kind for path in paths if path != entry and (kind := _kind(path))}
    if not candidates or len(candidates) > CANDIDATES_LIMIT:
        return Relevance(left_out=frozenset())
    reading = _Reading(texts={text.lower() for text in given})
    reached = _read_reached(
        project, entry, [path for path in paths if PurePosixPath(path).suffix in CODE], reading
    )
    if reading.pictures:  # a path may be spelled out, too
        reading.all_files += reading.spelled
    if reading.all_files:
        return Relevance(left_out=frozenset(), doubts=tuple(reading.all_files[:5]))
    reading.texts |= set(_settings(project, [path for path in paths if path not in candidates]))
    doubts: dict[str, list[str]] = {
        "document": [],
        "picture": reading.pictures,
        "code": reading.code,
    }
    names = _Names(reading)
    left_out = frozenset(
        path
        for path, kind in candidates.items()
        if not doubts[kind] and path not in reached and not names.include(path)
    )
    selection = {kind for path, kind in candidates.items() if path not in left_out}
    return Relevance(
        left_out=left_out,
        doubts=tuple(one for kind in sorted(selection) for one in doubts[kind][:3]),
    )


def _kind(path: str) -> str:
    place = PurePosixPath(path)
    name = place.name.lower()
    if place.parts[0] in FOLDERS or any(
        fnmatch.fnmatchcase(name, pattern) for pattern in DOCUMENTS
    ):
        return "document"
    if place.suffix.lower() in PICTURES:
        return "picture"
    return "code" if place.suffix in CODE and name not in ALWAYS else ""


def _settings(project: Path, paths: Collection[str]) -> Iterator[str]:
    """Yield the content of small settings and tables, which may name files."""
    places = [PurePosixPath(path) for path in paths]
    searched = [
        place
        for place in places
        if place.suffix.lower() in SETTINGS
        and not any(fnmatch.fnmatchcase(place.name.lower(), one) for one in PACKAGING)
    ]
    for path in searched[:SETTINGS_FILES]:
        with suppress(OSError, RefusedFileError):
            yield (
                files.read(path, root=project, limit=SETTINGS_LIMIT)
                .decode(errors="replace")
                .lower()
            )


class _Names:
    """Expressions by which the code may name a file."""

    def __init__(self, reading: _Reading) -> None:
        self._text = "\n".join(reading.texts)
        self._words = {
            word for text in reading.texts for word in re.split(r"[/\\\s*?,;:='\"]+", text)
        }
        self._pieces = sorted(piece for piece in reading.pieces if len(piece) >= SHORTEST)

    def include(self, path: str) -> bool:
        """Return whether a file is named: its name, a folder above it, its suffix, or a piece of
        any of them.
        """
        place = PurePosixPath(path.lower())
        return (
            place.name in self._text
            or any(folder in self._words for folder in place.parts[:-1])
            or any(end in self._words for end in _ends(place))
            or any(piece in part for part in place.parts for piece in self._pieces)
        )


def _ends(place: PurePosixPath) -> list[str]:
    """Return the literal endings of a composed file name: `_2.png`, `.png`."""
    dot = place.name.rfind(".")
    return [place.name[start:] for start in range(dot + 1)] + [place.suffix[1:]] if dot > 0 else []


def _read_reached(
    project: Path, entry: str, scripts: Collection[str], reading: _Reading
) -> set[str]:
    """Read the entry and all code that it may reach, by any part of an imported name, into
    `reading`; return those files.

    Broader than Python's own search: the code may change the path on which modules are found.
    """
    reached: set[str] = set()
    pending = [entry]
    while pending:
        path = pending.pop()
        reached.add(path)
        if len(reached) > FILES_LIMIT or not _read(project, path, reading):
            reading.all_files.append(f"{path}: this code is not understood")
            return reached
        folders = {str(folder) for one in reached for folder in PurePosixPath(one).parents}
        pending = [
            path
            for path in sorted(set(scripts) - reached)
            if reading.imports & {*PurePosixPath(path).parts[:-1], PurePosixPath(path).stem}
            or (
                PurePosixPath(path).name == "__init__.py"
                and str(PurePosixPath(path).parent) in folders
            )
        ]
    return reached


def _read(project: Path, path: str, reading: _Reading) -> bool:
    try:
        content = files.read(path, root=project, limit=CODE_LIMIT)
    except (OSError, RefusedFileError):
        return False
    result = source.read(content, notebook=path.endswith(".ipynb"))
    if result.problems or result.language != "python":
        return False
    commands = [f"!{line.strip()}" for line, _ in result.commands]
    if path.endswith(".ipynb"):
        commands += re.findall(
            r'^\s*"\s*([!%][^"]*)', content.decode(errors="replace"), flags=re.MULTILINE
        )
    for line in commands:
        if not HARMLESS_COMMANDS.fullmatch(line.removesuffix("\\n").strip()):
            reading.all_files.append(f"{path}: it runs {line[:60]!r}")
    _Reader(path, result.tree, reading).read()
    return True


class _Reader:
    """Collect one file's references to files into a reading."""

    def __init__(self, path: str, tree: ast.Module, reading: _Reading) -> None:
        self._path = path
        self._tree = tree
        self._reading = reading
        self._values = _constants(tree)
        self._imported = _imported(tree)
        """Names of the file, with their imports."""

    def read(self) -> None:
        nodes = list(ast.walk(self._tree))
        documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
        called |= {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
        for node in nodes:
            if isinstance(node, ast.Constant) and id(node) not in documentation:
                self._text(node)
            elif isinstance(node, (ast.BinOp, ast.JoinedStr)):
                self._pieces(node)
            elif isinstance(node, ast.Import):
                self._reading.imports |= {
                    part for alias in node.names for part in alias.name.split(".")
                }
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(alias.name for alias in node.names)]
                self._reading.imports |= {part for name in names for part in name.split(".")}
            elif isinstance(node, ast.Call):
                self._call(node)
            elif isinstance(node, (ast.Name, ast.Attribute)) and id(node) not in called:
                self._reference(node)

    def _text(self, node: ast.Constant) -> None:
        value = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
        if isinstance(value, str) and value.strip():
            self._reading.texts.add(value.lower())
            if "%" in value or "{" in value:
                self._reading.pieces |= set(BETWEEN.split(value.lower()))

    def _pieces(self, node: ast.expr) -> None:
        for part in ast.walk(node):
            value = self._values.get(part.id) if isinstance(part, ast.Name) else part
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                self._reading.pieces |= set(BETWEEN.split(value.value.lower()))

    def _call(self, node: ast.Call) -> None:
        name = self._dotted(node.func)
        last = name.rpartition(".")[2]
        if self._reads_folders(name) or _names_the_project(node, last):
            if self._lists_anything(node, last):
                self._doubt(
                    self._reading.all_files, node, f"{name}() of a folder that is not written there"
                )
        elif (
            name == "getattr" and len(node.args) > 1 and not isinstance(node.args[1], ast.Constant)
        ):
            if isinstance(node.args[0], ast.Name) and node.args[0].id in self._imported:
                self._doubt(self._reading.all_files, node, "getattr() of a module")
        elif last in OPENS:
            if last == "flow_from_dataframe" or self._value(_first(node)) is None:
                self._doubt(
                    self._reading.pictures, node, f"{name}() of a path that is not written there"
                )
        else:
            self._reference(node.func)
        if last in ("join", "format", "replace") and isinstance(node.func, ast.Attribute):
            self._pieces(node)

    def _reads_folders(self, name: str) -> bool:
        """Return whether a call, by its name, reads all files of a folder."""
        first = name.split(".")[0]
        last = name.rpartition(".")[2]
        foreign = first in {module.split(".")[0] for module in self._imported.values()}
        return last in LISTS or (
            foreign and last not in MAKERS and FOLDER_READERS.fullmatch(last) is not None
        )

    def _reference(self, node: ast.expr) -> None:
        """Note a callee, or a function that is passed on to be called."""
        if not isinstance(getattr(node, "ctx", None), ast.Load):
            return
        name = self._dotted(node)
        last = name.rpartition(".")[2]
        lists = last in LISTS and "." in name and not name.startswith("?")
        if lists or PROGRAMS.fullmatch(name) or TEXT_AS_CODE.fullmatch(name):
            self._doubt(self._reading.all_files, node, name)
        elif COMPUTED_IMPORTS.fullmatch(name) or UNPICKLES.fullmatch(name):
            self._doubt(self._reading.code, node, name)
        elif name in ("open", "io.open") or (last in OPENS - {"open"} and "." in name):
            self._doubt(self._reading.pictures, node, name)
        elif last in SPELLS:
            self._doubt(self._reading.spelled, node, name)

    def _doubt(self, doubts: list[str], node: ast.expr, what: str) -> None:
        doubts.append(f"{self._path}:{node.lineno}: {what.replace('?.', '…')}")

    def _lists_anything(self, node: ast.Call, last: str) -> bool:
        """Return whether a call may list the project's folder, or an unknown one."""
        receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
        is_module = isinstance(receiver, ast.Name) and receiver.id in self._imported
        if (
            receiver is not None
            and last in METHODS
            and not is_module
            and self._dotted(receiver) != "tensorflow.io.gfile"
        ):
            folders: list[ast.expr] = [receiver]
        else:
            folders = [
                *node.args[:1],
                *(one.value for one in node.keywords if one.arg is None or one.arg in FOLDER_WORDS),
            ]
        values = [self._value(one) for one in folders]
        return not values or any(value is None or not _is_folder_inside(value) for value in values)

    def _dotted(self, node: ast.expr) -> str:
        """Return a callee's full name, with `?.` before it if its object has no name."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        first = self._imported.get(node.id, node.id) if isinstance(node, ast.Name) else "?"
        return ".".join([first, *reversed(parts)])

    def _value(self, node: ast.expr | None, depth: int = 0) -> str | None:
        """Return the literal beginning of a path, None if it is not written in this file."""
        if node is None or depth > 10:
            return None
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else None
        if isinstance(node, ast.Name):
            return self._value(self._values.get(node.id), depth + 1)
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Div)):
            return self._value(node.left, depth + 1)
        if isinstance(node, ast.JoinedStr):
            return self._value(node.values[0], depth + 1) if node.values else None
        if isinstance(node, ast.Call) and self._dotted(node.func).rpartition(".")[2] in STARTS:
            return self._value(_first(node), depth + 1)
        return None


def _names_the_project(call: ast.Call, last: str) -> bool:
    """Return whether a call is given the folder that it runs in, which it may list."""
    first = _first(call)
    dots = isinstance(first, ast.Constant) and first.value in (".", "./", "*", "**", "**/*")
    return dots and last not in TEXT_METHODS


def _first(call: ast.Call) -> ast.expr | None:
    if call.args:
        return call.args[0]
    return call.keywords[0].value if call.keywords else None


def _is_folder_inside(value: str) -> bool:
    """Return whether a path leads into a folder that it names, or to files of a suffix that it
    names.
    """
    first = re.sub(r"^(\./)+", "", value.replace("\\", "/")).split("/")[0]
    if first in ("", ".", "..", "~"):
        return False
    if not re.search(r"[*?\[]", first):
        return True
    return re.fullmatch(r"[^/]*\*\.\w+", value.rpartition("/")[2]) is not None


def _imported(tree: ast.Module) -> dict[str, str]:
    """Return the names that a file imports, with their full names."""
    result: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                result[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            module = f"{node.module}." if node.module and not node.level else ""
            result.update(
                {alias.asname or alias.name: f"{module}{alias.name}" for alias in node.names}
            )
    return result


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Return the names that are assigned once in the file, with their values."""
    return {
        name: values[0]
        for name, values in _assignments(tree).items()
        if len(values) == 1 and values[0] is not None
    }


def _assignments(tree: ast.Module) -> dict[str, list[ast.expr | None]]:
    result: dict[str, list[ast.expr | None]] = {}
    plain: set[int] = set()
    for node in ast.walk(tree):  # a statement comes before the names in it
        if (
            isinstance(node, ast.Assign)
            and len(node.targets) == 1
            and isinstance(node.targets[0], ast.Name)
        ):
            plain.add(id(node.targets[0]))
            result.setdefault(node.targets[0].id, []).append(node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            plain.add(id(node.target))
            result.setdefault(node.target.id, []).append(node.value)
        elif isinstance(node, ast.arg):
            result.setdefault(node.arg, []).append(None)
        elif (
            isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in plain
        ):
            result.setdefault(node.id, []).append(None)
    return result
