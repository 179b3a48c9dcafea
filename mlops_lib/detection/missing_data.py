"""Data that the entry reads and that is missing, found before the training begins."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_lib.errors import RefusedFileError
from mlops_lib.project import files
from mlops_lib.records import Detection

NOTEBOOK_LIMIT = 30_000_000
CALLS_FOLLOWED = 5
"""Maximum depth of functions followed from the script's beginning."""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A path that the entry reads and that does not exist."""

    path: str
    where: str
    """File and line, or the file."""
    certain: bool
    """True if the script certainly reads it before any code could make it."""
    maker: str = ""
    """The project's script that writes it, if one does."""


def missing(detection: Detection, *, given: Sequence[str] = ()) -> Iterator[Missing]:
    """Yield the literal paths that the entry reads and that do not exist.

    Certain is only what the entry reads by a relative path right after its imports and definitions,
    in the functions too that it begins with, before anything else of it ran: a path under a
    condition or after another call may never be read, or be made first.

    Args:
        detection: the project as it was understood.
        given: paths that are provided otherwise.
    """
    project = Path(detection.project)
    entry = project / detection.entry
    provided = tuple(given)
    paths = [
        p
        for p in detection.data_paths
        if not _is_there(p, project, entry) and not _is_given(p, provided)
    ]
    if not paths:
        return
    text = _text(entry, project)
    lines = _surely_read(text, entry.parent, paths)
    for path in paths:
        line = lines.get(path)
        certain = line is not None and not Path(path).is_absolute() and text.count(path) == 1
        yield Missing(
            path=path,
            where=f"{detection.entry}:{line}" if line else detection.entry,
            certain=certain,
            maker=_maker(path, project, entry) if certain else "",
        )


def pointers(detection: Detection) -> list[str]:
    """Return the data that the entry reads of which Git LFS has left pointers only."""
    project = Path(detection.project)
    base = Path(detection.entry).parent
    names = dict.fromkeys(
        str(folder / path) for path in detection.data_paths for folder in (Path(), base)
    )
    return files.lfs_pointers(
        [name for name in names if not Path(name).is_absolute()], root=project
    )


def not_pulled(detection: Detection, *, given: Sequence[str] = ()) -> dict[str, str]:
    """Return the data that DVC tracks and that is not here: path to the `.dvc` file which stands
    for it.

    Args:
        detection: the project as it was understood.
        given: paths that are provided otherwise.
    """
    project = Path(detection.project)
    entry = project / detection.entry
    result: dict[str, str] = {}
    for path in detection.data_paths:
        if _is_given(path, tuple(given)) or _is_there(path, project, entry):
            continue
        for base in dict.fromkeys((Path(), Path(detection.entry).parent)):
            plain = Path(os.path.normpath(base / path))
            tracked = [one for one in (plain, *plain.parents) if one.name not in ("", "..")]
            pointer = next(
                (f"{one}.dvc" for one in tracked if files.is_file(f"{one}.dvc", root=project)), ""
            )
            if pointer:
                result.setdefault(path, pointer)
    return result


def _maker(path: str, project: Path, entry: Path) -> str:
    """Return the other script of the project that writes a path, "" if there is none."""
    from mlops_lib.detection.files import Files

    scripts = Files(str(project))
    others = [one for one in scripts.paths() if Path(one) != entry]
    plain = Path(path)
    return next(
        (
            f.name
            for f in map(scripts.file, others)
            if any(Path(p) == plain for p in f.facts.written)
        ),
        "",
    )


def _is_there(path: str, project: Path, entry: Path) -> bool:
    # A path of Windows, of a home folder or out of the project is taken for a pushed file too
    # (runner/places.py).
    away = path.startswith(("..", "~")) or "\\" in path
    place = (
        Path(re.sub(r"^([A-Za-z]:)?[\\/.~]*", "/", path.replace("\\", "/"))) if away else Path(path)
    )
    if any(letter in path for letter in "*?[{%"):
        return True  # a pattern, not a path
    if place.is_absolute() and not away and place.exists():
        return True
    # The runner takes a pushed file for an absolute path of some other machine that ends as its own
    # does.
    ends = (
        [Path(*place.parts[start:]) for start in range(1, len(place.parts))]
        if place.is_absolute()
        else [place]
    )
    return any(
        files.exists(folder / end, root=project)
        for folder in (project, entry.parent)
        for end in ends
    )


def _is_given(path: str, given: Sequence[str]) -> bool:
    plain = Path(path)
    return any(plain == Path(one) or Path(one) in plain.parents for one in given)


def _text(entry: Path, project: Path) -> str:
    try:
        text = files.read_text(entry, root=project, limit=NOTEBOOK_LIMIT)
        if entry.suffix == ".ipynb":
            cells = json.loads(text)["cells"]
            text = "\n".join(
                "".join(c.get("source", "")) for c in cells if c.get("cell_type") == "code"
            )
    except (RefusedFileError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return text


def _surely_read(text: str, project: Path, paths: Sequence[str]) -> dict[str, int]:
    """Return the paths that are read before any code could make them, with lines."""
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    functions = {one.name: one for one in module.body if isinstance(one, ast.FunctionDef)}
    result: dict[str, int] = {}
    body: Sequence[ast.stmt] | None = module.body
    for _ in range(CALLS_FOLLOWED):
        if body is None:
            break
        body = _read_first(body, functions, project, set(paths), result)
    return result


def _read_first(
    body: Sequence[ast.stmt],
    functions: Mapping[str, ast.FunctionDef],
    project: Path,
    paths: Collection[str],
    result: dict[str, int],
) -> Sequence[ast.stmt] | None:
    """Add what a block reads before it does anything else; the block that it then goes on with,
    None if that is not sure.
    """
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(statement, (ast.Import, ast.ImportFrom)) and not _is_local(
            statement, project
        ):
            continue
        if isinstance(statement, ast.If) and "__main__" in ast.dump(statement.test):
            return statement.body
        value = getattr(statement, "value", None)
        if (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Name)
            and value.func.id in functions
        ):
            function = functions[value.func.id]
            return None if function.decorator_list or not _is_plain(value) else function.body
        head: ast.AST = statement
        if isinstance(statement, ast.With):
            head = statement.items[0].context_expr
        elif isinstance(statement, ast.For):
            head = statement.iter
        elif not isinstance(statement, (ast.Expr, ast.Assign, ast.AnnAssign, ast.Return)):
            return None
        always = list(_always(head))
        read = {path: line for path, line in _first_arguments(always) if path in paths}
        result.update(read)
        makes = any(
            isinstance(node, ast.Call) and not _makes_nothing(node, functions)
            for node in ast.walk(head)
        )
        if head is not statement or (makes and not read):
            return None
    return None


def _is_plain(call: ast.Call) -> bool:
    """Return whether evaluating the arguments of a call runs no other call."""
    return not any(
        isinstance(node, ast.Call)
        for value in (*call.args, *call.keywords)
        for node in ast.walk(value)
    )


def _always(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and its always evaluated parts, if its loops run at least once."""
    yield node
    if isinstance(node, ast.Lambda):
        return
    inner: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, ast.IfExp):
        inner = [node.test]
    elif isinstance(node, ast.BoolOp):
        inner = node.values[:1]
    elif isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp)):
        inner = [node.generators[0].iter] if _chooses(node) else inner
    elif isinstance(node, ast.GeneratorExp):
        inner = [node.generators[0].iter]
    for one in inner:
        yield from _always(one)


def _chooses(node: ast.ListComp | ast.SetComp | ast.DictComp) -> bool:
    return len(node.generators) > 1 or bool(node.generators[0].ifs)


HARMLESS = frozenset(
    (
        "seed",
        "set_seed",
        "manual_seed",
        "set_random_seed",
        "filterwarnings",
        "simplefilter",
        "print",
        "set_option",
        "set_style",
        "set_theme",
        "use",
        "time",
        "now",
        "join",
        "dirname",
        "abspath",
        "Path",
    )
)
"""Calls at the head of a script that make no file, by their last name."""


def _makes_nothing(call: ast.Call, functions: Collection[str]) -> bool:
    if isinstance(call.func, ast.Name):
        return call.func.id in HARMLESS and call.func.id not in functions
    return isinstance(call.func, ast.Attribute) and call.func.attr in HARMLESS


def _is_local(statement: ast.Import | ast.ImportFrom, project: Path) -> bool:
    if isinstance(statement, ast.ImportFrom):
        names = [statement.module or ""]
        relative = statement.level > 0
    else:
        names = [alias.name for alias in statement.names]
        relative = False
    tops = [name.split(".")[0] for name in names]
    return relative or any(
        (project / top).is_dir() or (project / f"{top}.py").exists() for top in tops
    )


def _first_arguments(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, int]]:
    for node in nodes:
        if isinstance(node, ast.Call) and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value, first.lineno
