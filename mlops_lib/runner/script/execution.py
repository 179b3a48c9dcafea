"""Run the entry as `__main__`, as `python ENTRY ARGS…` would, with no frame of ours in its
tracebacks.

The approach is coverage.py's (`coverage/execfile.py`): compile the source under its own name,
execute it in a fresh `__main__` module, and cut the launcher's frames off whatever propagates.
"""

import ast
import builtins
import contextlib
import errno
import importlib
import json
import linecache
import os
import re
import sys
import tokenize
import traceback
import types
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from mlops_lib.runner.script import ipython_syntax, notebook


class BadEntryError(Exception):
    """The entry does not exist or cannot be read as code."""


def source_of(path: str) -> str:
    """The entry's Python source; a notebook's code cells, one after the other.

    Raises:
        BadEntryError: no such file, or not text.
    """
    try:
        if path.endswith(".ipynb"):
            return notebook_source(path)
        with tokenize.open(path) as stream:
            return _without_magics(stream.read())
    except FileNotFoundError:
        raise BadEntryError(f"no such file: {path}") from None
    except (SyntaxError, UnicodeDecodeError):
        with open(path, encoding="latin-1") as stream:
            return stream.read()


def _without_magics(text: str) -> str:
    """A script with lines that only IPython reads (`%matplotlib inline`), as editors with cells let
    one write them.
    """
    try:
        ast.parse(text)
    except SyntaxError as error:
        if error.text is not None and ipython_syntax.is_special(error.text):
            return ipython_syntax.as_python(text)
    except ValueError:
        pass
    return text


def notebook_source(path: str) -> str:
    """The code cells of a notebook as one program; magics and shell lines become calls or vanish.

    Raises:
        BadEntryError: not a notebook.
    """
    try:
        with open(path, encoding="utf-8-sig") as stream:
            notebook = json.load(stream)
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise BadEntryError(f"not a notebook: {path}") from None
    return "\n".join(source for _, source in code_cells(cells))


def code_cells(cells: List[Dict[str, Any]]) -> List[Tuple[int, str]]:
    """Index and source of the cells with code."""
    found = []
    for index, cell in enumerate(cells):
        if cell.get("cell_type") == "code":
            text = cell.get("source", cell.get("input", ""))
            found.append(
                (index, ipython_syntax.as_python("".join(text) if isinstance(text, list) else text))
            )
    return found


def answer_input(answers: List[str]) -> None:
    """Let `input()` take the configured answers where there is no terminal."""
    waiting = list(answers)
    plain = builtins.input
    given = sys.stdin

    def input_(prompt: object = "") -> str:
        if sys.stdin is not None and (sys.stdin is not given or sys.stdin.isatty()):
            return plain(prompt)  # a terminal, or a file that the script put in its place
        sys.stdout.write(str(prompt))
        if waiting:
            sys.stdout.write(waiting[0] + "\n")
            return waiting.pop(0)
        if sys.stdin is not None:
            line = sys.stdin.readline()
            if line:
                return line.rstrip("\n")
        raise EOFError(
            "the script asks for input() and there is no terminal: give the answers in the setting `input`"
        )

    builtins.input = input_


_HARD_EXIT = os._exit


def leave(code: int) -> None:
    """End this process here and now: the script is not over, another process goes on with it."""
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        sys.stdout.flush()
        sys.stderr.flush()
    _HARD_EXIT(code)


def leave_at_once(code: int) -> None:
    """End this process without waiting for its output to be written."""
    _HARD_EXIT(code)


def before_hard_exit(ended: Callable[[Optional[BaseException]], Any]) -> Callable[[], None]:
    """Let `os._exit` in this very process keep what the script leaves first; returns the way back."""
    plain = os._exit
    own = os.getpid()

    def exit_(code: int) -> Any:
        if os.getpid() == own:  # a fork's end is not the script's
            os._exit = plain
            ended(None if code == 0 else SystemExit(code))
            sys.stdout.flush()
            sys.stderr.flush()
        plain(code)

    def undo() -> None:
        os._exit = plain

    os._exit = exit_  # type: ignore[assignment]
    return undo


def plain_compile(source: str, path: str, flags: int = 0) -> Any:
    """The code object, as Python itself makes it."""
    return compile(source, path, "exec", flags, dont_inherit=True)


def run(
    path: str, args: List[str], *, compile_: notebook.Compile = plain_compile
) -> Optional[BaseException]:
    """Execute the entry; returns what propagated out of it (SystemExit too), or None.

    Args:
        path: the entry, relative to the current directory.
        args: its arguments, `sys.argv[1:]`.
        compile_: makes a code object of source and file name.

    Raises:
        BadEntryError: the entry cannot be read.
    """
    source = source_of(path)
    full = os.path.abspath(path)
    module = types.ModuleType("__main__")
    names: Dict[str, Any] = module.__dict__
    names["__file__"] = full  # absolute since Python 3.9, and so in tracebacks
    names["__builtins__"] = builtins
    if path.endswith(".ipynb") or f"{ipython_syntax.NAME}()" in source:  # an exported one
        ipython = ipython_syntax.Shell(names, compile_)
        names[ipython_syntax.NAME] = lambda: ipython
    if path.endswith(".ipynb"):
        linecache.cache[full] = (
            len(source),
            None,
            [line + "\n" for line in source.splitlines()],
            full,
        )
    sys.modules["__main__"] = module
    sys.argv = [path, *args]
    _keep_standard(full)
    sys.path[0] = os.path.dirname(full)
    if os.getcwd() != sys.path[0]:
        sys.path.append(os.getcwd())  # last: what `python -m` would have found from here
    try:
        if path.endswith(".ipynb"):
            with open(path, encoding="utf-8-sig") as stream:
                content = json.load(stream)
            cells = content["cells"] if "cells" in content else content["worksheets"][0]["cells"]
            notebook.Notebook(full, content, code_cells(cells)).run(names, full, compile_)
        else:
            _enter_package(source, path, names)
            exec(compile_(source, full), names)
    except BaseException as error:  # noqa: BLE001 - whatever the script raises is its own, and reported as such
        return error
    return None


def _keep_standard(full: str) -> None:
    """Load the standard library's module of the entry's name: a script `code.py` must not be run
    again as `pdb`'s `code`.

    Whoever named it so saw it work, with packages that happened not to need the module.
    """
    folder, name = os.path.split(os.path.splitext(full)[0])
    if name not in getattr(sys, "stdlib_module_names", ()):
        return
    path = list(sys.path)
    sys.path[:] = [
        entry for entry in path[1:] if os.path.abspath(entry) not in (folder, os.getcwd())
    ]
    try:
        importlib.import_module(name)
    except ImportError:  # of another system: nobody asks for it
        pass
    finally:
        sys.path[:] = path


_RELATIVE = re.compile(r"^\s*from\s+\.", re.MULTILINE)


def _enter_package(source: str, path: str, names: Dict[str, Any]) -> None:
    """Let an entry with relative imports run as `python -m package.entry` would: as a script it
    could not.
    """
    folder = os.path.dirname(path)
    if not folder or not _RELATIVE.search(source):
        return
    package = folder.replace(os.sep, ".")
    if all(part.isidentifier() for part in package.split(".")):
        sys.path.insert(0, os.getcwd())
        importlib.import_module(package)
        names["__package__"] = package


def _without_us(shown: traceback.TracebackException) -> traceback.TracebackException:
    """The traceback without the launcher's frames and those of injected wrappers, in its causes
    too.
    """
    own = os.path.dirname(os.path.dirname(__file__))  # the runner
    pending = [shown]
    while pending:
        one = pending.pop()
        one.stack = traceback.StackSummary.from_list(
            [f for f in one.stack if not f.filename.startswith(own + os.sep)]
        )
        pending += [other for other in (one.__cause__, one.__context__) if other is not None]
    return shown


def report(error: BaseException) -> Tuple[int, Optional[Dict[str, Any]]]:
    """Print what propagated as Python would; the exit code, and the `error` of the `end` event."""
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            code = int(error.code or 0) & 0xFF
            caught = error.__context__
            refused = _refused_arguments(error)
            if refused:
                return code, {
                    "type": "SystemExit",
                    "message": f"arguments: {refused}",
                    **_place(error),
                    "kind": "bug",
                }
            if code and isinstance(caught, Exception):
                return code, _described(caught)  # `except …: sys.exit(1)`: that one is the reason
            text = f"SystemExit({error.code})"
        else:
            sys.stderr.write(f"{error.code}\n")
            code = 1
            text = str(error.code)
        return code, None if code == 0 else {
            "type": "SystemExit",
            "message": text,
            **_place(error),
            "kind": "crash",
        }
    sys.stderr.write(
        "".join(_without_us(traceback.TracebackException.from_exception(error)).format())
    )
    sys.stderr.flush()
    code = 130 if isinstance(error, KeyboardInterrupt) else 1
    return code, _described(error)


def _refused_arguments(error: BaseException) -> str:
    """What argparse said of the script's arguments before it left, "" where it did not."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if (
            frame.f_code.co_name == "error"
            and os.path.basename(frame.f_code.co_filename) == "argparse.py"
        ):
            return str(frame.f_locals.get("message", ""))[:2000]
    return ""


def _described(error: BaseException) -> Dict[str, Any]:
    return {
        "type": type(error).__name__,
        "message": str(error)[:2000],
        **_place(error),
        "kind": _kind(error),
    }


def _place(error: BaseException) -> Dict[str, Any]:
    if isinstance(error, SyntaxError) and error.filename:
        return {"file": os.path.relpath(error.filename), "line": error.lineno or 0}
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(os.getcwd())
    ]
    named = [  # compiled packages (h5py/h5f.pyx) have such names too
        f
        for f in traceback.extract_tb(error.__traceback__)
        if not os.path.isabs(f.filename) and f.filename.endswith((".py", ".ipynb"))
    ]
    last = next(iter(reversed(named or own)), None)
    return (
        {"file": None, "line": None}
        if last is None
        else {"file": os.path.relpath(last.filename), "line": last.lineno}
    )


MISTAKES = (
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    NotImplementedError,
    SyntaxError,
    TypeError,
    ValueError,
    ArithmeticError,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    EOFError,
    RecursionError,
)
"""What comes again when the same code runs again."""
UNREACHABLE = {
    "ConnectionError",
    "TimeoutError",
    "gaierror",
    "URLError",
    "HTTPException",
    "SSLError",
    "Timeout",
    "HTTPError",
    "MaxRetryError",
    "NewConnectionError",
    "TimeoutException",
    "TransportError",
}
"""Names of exceptions, and of their bases, that say that something outside did not answer."""
NETWORK_ERRNO = {
    errno.ECONNRESET,
    errno.ECONNREFUSED,
    errno.ECONNABORTED,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.EHOSTUNREACH,
    errno.ETIMEDOUT,
    errno.ESTALE,
    errno.EIO,
}


def _kind(error: BaseException) -> str:
    """What sort of failure it is; "crash" where nobody can tell whether it would come again."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    name = type(error).__name__
    if any(_is_full_disk(one) for one in _causes(error)):
        return "disk"
    if isinstance(error, MemoryError) or "ResourceExhausted" in name or "OutOfMemory" in name:
        return "oom"
    if any(_is_unreachable(one) for one in _causes(error)):
        return "network"
    gone = isinstance(
        error, NotImplementedError
    )  # of a module, too, whose message says what to change
    if (isinstance(error, ImportError) and not gone) or _lacks_library(error):
        return "import"
    return "bug" if isinstance(error, MISTAKES) else "crash"


def _lacks_library(error: BaseException) -> bool:
    """Whether a shared library or a program is not there: the environment lacks something, the
    script is right.
    """
    if isinstance(error, FileNotFoundError):
        frames = traceback.extract_tb(error.__traceback__)
        return (
            bool(frames)
            and os.path.basename(frames[-1].filename) == "subprocess.py"
            and os.sep not in str(error.filename)
        )
    text = str(error)
    return isinstance(error, OSError) and (
        "cannot open shared object file" in text or "library not found" in text
    )


def _is_full_disk(error: BaseException) -> bool:
    """TensorFlow says it as ResourceExhausted, HDF5 in the text of an OSError without a number."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT))


def _is_unreachable(error: BaseException) -> bool:
    status = getattr(error, "code", None) or getattr(
        getattr(error, "response", None), "status_code", None
    )
    if isinstance(status, int) and 400 <= status < 500 and status not in (408, 425, 429):
        return False  # it did answer: no
    if isinstance(error, OSError) and error.errno in NETWORK_ERRNO:
        return True
    return any(base.__name__ in UNREACHABLE for base in type(error).__mro__)


def _causes(error: Optional[BaseException]) -> Iterator[BaseException]:
    """The exception and those that it came from."""
    seen: List[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def is_python(source: str) -> bool:
    """Whether the source parses as this Python."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True
