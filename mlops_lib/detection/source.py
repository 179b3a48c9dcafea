"""Source text as a syntax tree, as far as it can be had.

What Python 3 cannot read is mended where its meaning is plain (Python 2 prints, magics, conflict
markers) and left out line by line where it is not, so that one broken line never hides the rest of
a file.
"""

from __future__ import annotations

import ast
import re
import warnings

from mlops_lib.detection.words import words
from mlops_lib.errors import RefusedFileError
from mlops_lib.lazy_regex import lazy_regex

PARSES_LIMIT = 80
"""Most attempts to parse a broken file, each with one line less."""
SIZE_LIMIT = 1 << 20
"""Bytes of a script, characters of a notebook's code. Trees take several hundred times that in
memory.
"""


TABLES_FROM = 50_000
"""Characters from which on a source is searched for tables of numbers."""
_NUMBER = r"[-+]?\.?\d[\d.eE_+-]{0,40}"
_LIST = rf"{_NUMBER}(?:[ \t]*,[ \t]*{_NUMBER})*"
_NUMBERS = lazy_regex(rf"(?:{_NUMBER}[ \t]*,[ \t]*){{40,}}")
"""A long row on one line."""
_ROWS = lazy_regex(
    rf"^([ \t]*(?:\[{_LIST},?\]|\({_LIST},?\)|{_LIST}),\n)"
    rf"(?:[ \t]*(?:\[{_LIST},?\]|\({_LIST},?\)|{_LIST}),\n){{19,}}",
    re.MULTILINE,
)
"""Many rows, each on a line of its own, of which the first is kept."""


class Problem:
    """A line that is not Python 3."""

    __slots__ = ("line", "message")

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        self.message = message


class Source:
    """One file: its tree, its unreadable parts, and the origin of its lines."""

    __slots__ = ("cells", "commands", "language", "problems", "python2", "size", "tree", "written")

    def __init__(
        self,
        tree: ast.Module,
        problems: tuple[Problem, ...] = (),
        *,
        python2: Problem | None = None,
    ) -> None:
        self.tree = tree
        self.problems = problems
        self.python2 = python2
        """The first line that only Python 2 reads."""
        self.commands: list[tuple[str, int]] = []
        """A notebook's shell lines, with their line."""
        self.written: set[str] = set()
        """Modules that a notebook writes itself (`%%writefile`)."""
        self.cells: list[tuple[int, int]] = []
        """For a notebook: the line each code cell begins at, and the cell's number."""
        self.language = "python"
        self.size = 0
        """Characters that were parsed."""

    def place(self, line: int) -> tuple[str, int]:
        """Return the cell ("" in a script) and its line for a line of the joined text."""
        for begins, number in reversed(self.cells):
            if line >= begins:
                return f"cell {number}: ", line - begins + 1
        return "", line


def read(content: bytes, *, notebook: bool = False) -> Source:
    """Parse a script or a notebook; what is not Python never raises.

    Raises:
        RefusedFileError: a notebook has too much code.
    """
    text = decode(content)
    found = _notebook(text) if notebook else parse(text)
    found.size = found.size or len(text)
    return found


def decode(content: bytes) -> str:
    """Text from bytes in whatever encoding editors left it."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = content.decode("utf-16", errors="replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
    return text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")


def parse(text: str) -> Source:
    """Return the tree of Python source, corrected as far as needed."""
    if len(text) > TABLES_FROM:
        text = _without_tables(text)
    tree, error = _compiled(text)
    if tree is not None:
        return Source(tree)
    first = Problem(error.lineno or 1, error.msg)
    mended, python2 = _modernised(text)
    tree, error = _compiled(mended)
    if tree is not None:
        return Source(tree, () if python2 else (first,), python2=python2)
    tree, problems = _without_broken_lines(mended, error)
    return Source(tree, tuple(problems) or (first,), python2=python2)


def _without_tables(text: str) -> str:
    """Leave out most of long tables of numbers, which say nothing here and take much memory as trees;
    every other line stays where it is.
    """
    text = _NUMBERS.sub("0, ", text)
    return _ROWS.sub(lambda rows: rows[1] + "\n" * (rows[0].count("\n") - 1), text)


def _compiled(text: str) -> tuple[ast.Module | None, SyntaxError]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text), SyntaxError("")
    except SyntaxError as problem:
        return None, problem
    except (ValueError, RecursionError, MemoryError, OverflowError):
        return None, SyntaxError("it cannot be parsed", ("", 1, 1, ""))


class _Old:
    """Patterns of Python 2, IPython and git leftovers, compiled for the files that have them."""

    def __init__(self) -> None:
        self.magic = lazy_regex(
            r"^\s*(%{1,2}[A-Za-z]|[!?]|<{7}|={7}|>{7}|\|{7}|get_ipython\(\)\.)|^[^#'\"=]*[^#'\"=\s]\?{1,2}$"
        )
        self.assigned_magic = lazy_regex(r"^(\s*[\w, ]+=\s*)[%!].*")
        self.printed = lazy_regex(
            r"^(\s*|.*[:;]\s*)print(\s+(?![=(,.\[])|\s*(?=[\"'])|\s+\((?=.*\)\s*[%,]))(?!$)(.*)$"
        )
        self.print_alone = lazy_regex(r"^(.*[:;])?(\s*)print\s*$")
        self.print_call_rest = lazy_regex(r"^(\s*)print\s*\((.*)\)\s*([%,].*)$")
        self.caught = lazy_regex(r"^(\s*except\s+(?:[\w.]+|\([^)]*\)))\s*,\s*(\w+)\s*:")
        self.raised = lazy_regex(r"^(\s*raise\s+[\w.]+)\s*,\s*(.+)$")
        self.executed = lazy_regex(r"^(\s*)exec\s+(?!\()(.+)$")
        self.backtick = lazy_regex(r"`([^`\n]+)`")
        self.literal = lazy_regex(r"(?<![\w.])(0[0-7]+|\d+)[lL]\b|(?<![\w.])0([0-7]+)\b(?![.\w])")
        self.unicode = lazy_regex(r"(?<!\w)[uU][rR](?=[\"'])")


def _modernised(text: str) -> tuple[str, Problem | None]:
    """Return Python 2, IPython and git leftovers as Python 3, and the first Python 2 line."""
    old = _Old()
    lines = []
    python2: Problem | None = None
    for number, line in enumerate(text.expandtabs(8).split("\n"), 1):
        if old.magic.match(line):
            lines.append(line[: len(line) - len(line.lstrip())] + "pass")
            continue
        before = changed = old.assigned_magic.sub(r"\1None", line)
        changed = old.unicode.sub(
            "r", old.caught.sub(r"\1 as \2:", old.raised.sub(r"\1(\2)", changed))
        )
        changed = old.print_alone.sub(
            r"\g<1>\2print()" if ":" in changed else r"\2print()", changed
        )
        changed = old.executed.sub(r"\1exec(\2)", changed)
        if "`" in changed and "#" not in changed:
            changed = old.backtick.sub(r"repr(\1)", changed)
        if "<>" in changed and not any(quote in changed for quote in "\"'#"):
            changed = changed.replace("<>", "!=")
        changed = _printed(old.literal.sub(lambda m: m[1] or m[2], changed), old)
        if changed != before and python2 is None:
            python2 = Problem(number, "Python 2 syntax")
        lines.append(changed)
    return "\n".join(lines), python2


def _printed(line: str, old: _Old) -> str:
    whole = old.print_call_rest.match(line)
    if whole and _compiled(line.strip())[0] is None:
        return (
            f"{whole[1]}print((({whole[2]}) {whole[3].rstrip(', ')}))"
            if whole[3].rstrip(", ")
            else line
        )
    match = old.printed.match(line)
    if match is None:
        return line
    text = match[3]
    if match[2].strip() == "(":
        text = "(" + text
    text = text.partition(" #")[0]
    if text.lstrip().startswith(">>"):
        text = text.partition(",")[2]
    continued = "\\" if text.rstrip().endswith("\\") else ""
    text = text.rstrip().rstrip("\\").rstrip().rstrip(",;")
    if continued or text.count("(") > text.count(")") or text.count("[") > text.count("]"):
        return f"{match[1]}{text}{continued}"  # an expression says as much as its print
    return f"{match[1]}print({text})"


def _without_broken_lines(text: str, error: SyntaxError) -> tuple[ast.Module, list[Problem]]:
    """Return the tree without the lines that the parser rejects, removed one by one."""
    lines = text.split("\n")
    problems: list[Problem] = []
    tried: dict[int, int] = {}
    budget = max(5, min(PARSES_LIMIT, 8_000_000 // max(1, len(text))))
    for _ in range(budget):
        number = min(max(error.lineno or 1, 1), len(lines))
        if not any(p.line == number for p in problems):
            problems.append(Problem(number, error.msg or "not Python"))
        index = number - 1
        tried[index] = tried.get(index, 0) + 1
        if not _mend(lines, index, error.msg or "", tried[index]):
            break
        tree, error = _compiled("\n".join(lines))
        if tree is not None:
            return tree, problems
    return _islands(lines), problems


def _mend(lines: list[str], index: int, message: str, attempt: int) -> bool:
    """Disarm one line; return False if no attempt is left."""
    line = lines[index]
    indent = line[: len(line) - len(line.lstrip())]
    if "expected an indented block" in message and attempt < 3:
        above = next(
            (
                i
                for i in range(index - 1, -1, -1)
                if lines[i].strip() and lines[i].rstrip().endswith(":")
            ),
            None,
        )
        if above is not None:
            lines[above] += " pass"
            return True
    if ("unexpected indent" in message or "unindent does not match" in message) and attempt < 3:
        above = next((i for i in range(index - 1, -1, -1) if lines[i].strip()), None)
        before = "" if above is None else lines[above]
        indentation = before[: len(before) - len(before.lstrip())]
        lines[index] = indentation + line.lstrip() if attempt == 1 else ""
        return True
    if line.strip() and attempt <= 3:
        lines[index] = (
            indent + ("if 1:" if line.rstrip().endswith(":") and attempt == 1 else "pass")
            if attempt < 3
            else ""
        )
        return True
    # The parser stumbles at an empty line: what stands before it is open.
    above = next((i for i in range(index - 1, -1, -1) if lines[i].strip()), None)
    if above is None:
        return False
    lines[above] = ""
    return True


def _islands(lines: list[str]) -> ast.Module:
    """Return the statements of the top-level blocks that parse by themselves."""
    body: list[ast.stmt] = []
    blocks: list[list[str]] = [[]]
    for line in lines[:20_000]:
        if (
            line[:1].strip()
            and line[:1] not in ")]}#"
            and not line.startswith(("else", "elif", "except", "finally"))
        ):
            blocks.append([])
        blocks[-1].append(line)
    begins = 0
    for block in blocks[:2000]:
        tree, _ = _compiled("\n".join(block))
        if tree is not None:
            body += [ast.increment_lineno(statement, begins) for statement in tree.body]
        begins += len(block)
    return ast.Module(body=body, type_ignores=[])


def _notebook(text: str) -> Source:
    import json

    try:
        notebook = json.loads(text)
        cells = (
            notebook["cells"]
            if "cells" in notebook
            else [c for w in notebook["worksheets"] for c in w["cells"]]
        )
        described = notebook.get("metadata") or {}
        language = str((described.get("kernelspec") or {}).get("language") or "")
        language = language or str((described.get("language_info") or {}).get("name") or "python")
        if str((described.get("kernelspec") or {}).get("name", "")).lower() in ("ir", "r"):
            language = "R"
        sources = [
            _cell_text(cell)
            for cell in cells
            if isinstance(cell, dict) and cell.get("cell_type") == "code"
        ]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return Source(ast.Module(body=[], type_ignores=[]), (Problem(1, "not a notebook"),))
    if not language.lower().startswith(("python", "ipython", "sage")):
        empty = Source(ast.Module(body=[], type_ignores=[]))
        empty.language = language
        return empty
    lines: list[str] = []
    commands: list[tuple[str, int]] = []
    begins: list[tuple[int, int]] = []
    for number, cell in enumerate(sources, 1):
        begins.append((len(lines) + 1, number))
        lines += _cell_lines(cell, len(lines), commands)
    code = "\n".join(lines)
    if len(code) > SIZE_LIMIT:
        raise RefusedFileError(
            f"its code is longer than {SIZE_LIMIT / 1e6:.0f} MB and is not read",
            reason="large",
            remedy="Move data out of its cells into a file of its own.",
        )
    source = parse(code)
    if source.problems:
        source = _cells_alone(lines, begins, source)
    source.size = len(code) or 1
    source.cells, source.commands = begins, commands
    source.written = {match[1] for cell in sources if (match := _WRITES.match(cell))}
    source.written |= {match[1] for command, _ in commands if (match := _FETCHES.search(command))}
    return source


def _cell_text(cell: dict[str, object]) -> str:
    text = cell.get("source", cell.get("input", ""))
    return (
        ("".join(map(str, text)) if isinstance(text, list) else str(text))
        .replace("\0", "")
        .replace("\r\n", "\n")
    )


_OF_PYTHON = words("time timeit capture prun memit mprun snakeviz wandb python python3")
"""Cell magics whose cells contain Python."""
_RUNS = lazy_regex(
    r"^%(?:time|timeit|prun|memit|mprun|lprun)\b\s*(?:-{1,2}\w+(?:\s+\d+)?\s+)*(?=\S)"
)
"""Line magics with Python behind them."""
_ASSIGNED = lazy_regex(r"^(\s*[A-Za-z_][\w, ]*=\s*)[!%](?=[^\s=])(.*)$")
_WRITES = lazy_regex(r"\s*%%(?:write)?file\s+(?:-a\s+)?(?:\./)?(\w+)\.py\s*\n")
_FETCHES = lazy_regex(r"\b(?:wget|curl)\s.*?/(\w+)\.py\b")
_SETS = lazy_regex(r"^%(?:set_)?env\s+(\w+)(?:\s*=\s*|\s+)(\S.*)$")
"""A variable of the environment."""
_HELP = lazy_regex(r"^(\?{1,2}[\w.*]+|[\w.]+\?{1,2})\s*$")


def _cell_lines(cell: str, before: int, commands: list[tuple[str, int]]) -> list[str]:
    """Return a cell's lines as Python, and its shell commands."""
    text = cell.split("\n")
    foreign = next((line for line in text if line.strip()), "")
    is_foreign = foreign.lstrip().startswith("%%") and foreign.split()[0][2:] not in _OF_PYTHON
    lines = []
    open_text = ""
    for number, line in enumerate(text, before + 1):
        stripped = line.lstrip()
        runs = _RUNS.match(stripped) if not is_foreign else None
        if runs:
            lines.append(line[: len(line) - len(stripped)] + stripped[runs.end() :])
            continue
        magic = stripped.startswith("!") or (
            stripped.startswith("%") and stripped.lstrip("%")[:1].isalpha()
        )
        if stripped.startswith("%pylab") and not is_foreign:
            lines.append("from pylab import *")
            continue
        sets = _SETS.match(stripped) if not is_foreign and not open_text else None
        if sets:
            indent = line[: len(line) - len(stripped)]
            lines.append(f"{indent}import os; os.environ[{sets[1]!r}] = {sets[2].strip()!r}")
            continue
        assigned = _ASSIGNED.match(line) if not is_foreign and not open_text else None
        if assigned:
            commands.append((assigned[2].strip(), number))
            lines.append(assigned[1] + "None")
            continue
        goes_on = bool(open_text)
        shell = goes_on or magic or is_foreign or _HELP.match(stripped) is not None
        if shell:
            open_text += " " + stripped.rstrip().removesuffix("\\")
            if not stripped.rstrip().endswith("\\"):
                commands.append((open_text.strip().lstrip("!%"), number))
                open_text = ""
        indent = line[: len(line) - len(stripped)]
        lines.append("" if is_foreign or goes_on else indent + "pass" if shell else line)
    return lines


def installed_by(line: str) -> list[str]:
    """Return the requirements that a shell line installs with pip, without options."""
    match = re.search(r"\bpip3?\s+install\s+(.*)", line.split("#")[0])
    if match is None:
        return []
    names = []
    skip = False
    for word in re.split(r"\s+", re.split(r"&&|;|\||>(?![=\d])|2>", match[1])[0].strip()):
        plain = word.strip("'\"")
        if skip:
            skip = False
        elif plain in (
            "-r",
            "-i",
            "-f",
            "-c",
            "-e",
            "-t",
            "--index-url",
            "--extra-index-url",
            "--find-links",
            "--target",
        ):
            skip = True
        elif (
            re.fullmatch(
                r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[\w,.-]*\])?([<>=!~]=?[\w.*,<>=!~]*)?", plain
            )
            and "/" not in plain
        ):
            names.append(plain)
    return names


def _cells_alone(lines: list[str], begins: list[tuple[int, int]], joined: Source) -> Source:
    """Each cell by itself, so that a broken one does not take its neighbours along."""
    body: list[ast.stmt] = []
    problems: list[Problem] = []
    ends = [begin - 1 for begin, _ in begins[1:]] + [len(lines)]
    for (begin, _), end in zip(begins, ends, strict=True):
        cell = parse("\n".join(lines[begin - 1 : end]))
        body += [ast.increment_lineno(statement, begin - 1) for statement in cell.tree.body]
        problems += [Problem(p.line + begin - 1, p.message) for p in cell.problems]
    return Source(ast.Module(body=body, type_ignores=[]), tuple(problems), python2=joined.python2)
