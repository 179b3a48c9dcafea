"""Run the entry as `__main__`, as `python ENTRY ARGS…` would.

Tracebacks contain no frames of the runner. The approach is coverage.py's (`coverage/execfile.py`):
compile the source under its own name, execute it in a fresh `__main__` module, and cut the
launcher's frames off the exception that propagates.
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
    """Return the entry's Python source; for a notebook its code cells, joined.

    Raises:
        BadEntryError: the file does not exist or is not text.
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
    """Return a script without lines that only IPython reads (`%matplotlib inline`).

    Editors with cells allow such lines in scripts.
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
    """Return the code cells of a notebook as one program.

    Magics and shell lines become calls or vanish.

    Raises:
        BadEntryError: the file is not a notebook.
    """
    try:
        with open(path, encoding="utf-8-sig") as stream:
            notebook = json.load(stream)
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise BadEntryError(f"not a notebook: {path}") from None
    return "\n".join(source for _, source in code_cells(cells))


def code_cells(cells: List[Dict[str, Any]]) -> List[Tuple[int, str]]:
    """Return index and source of the cells with code."""
    sources = []
    for index, cell in enumerate(cells):
        if cell.get("cell_type") == "code":
            text = cell.get("source", cell.get("input", ""))
            sources.append(
                (index, ipython_syntax.as_python("".join(text) if isinstance(text, list) else text))
            )
    return sources


def install_input_answers(answers: List[str]) -> None:
    """Let `input()` return the configured answers if there is no terminal."""
    waiting = list(answers)
    plain = builtins.input
    standard_input = sys.stdin

    def input_(prompt: object = "") -> str:
        if sys.stdin is not None and (sys.stdin is not standard_input or sys.stdin.isatty()):
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
            "the script calls input() and there is no terminal: list the answers in the setting"
            " `input`"
        )

    builtins.input = input_


_HARD_EXIT = os._exit


def exit_process(code: int) -> None:
    """End this process immediately; another process continues the script."""
    with contextlib.suppress(OSError, ValueError):  # the reader of the pipe may have gone
        sys.stdout.flush()
        sys.stderr.flush()
    _HARD_EXIT(code)


def exit_without_flush(code: int) -> None:
    """End this process without waiting for its output to be written."""
    _HARD_EXIT(code)


def install_exit_hook(ended: Callable[[Optional[BaseException]], Any]) -> Callable[[], None]:
    """Call `ended` before `os._exit` ends this process.

    Returns:
        the function that undoes it.
    """
    plain = os._exit
    own = os.getpid()

    def exit_(code: int) -> Any:
        if os.getpid() == own:  # a forked child ends without ending the script
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
    """Return the code object as Python itself compiles it."""
    return compile(source, path, "exec", flags, dont_inherit=True)


def run(
    path: str, args: List[str], *, compile_: notebook.Compile = plain_compile
) -> Optional[BaseException]:
    """Execute the entry; return the exception that propagated (SystemExit too).

    Args:
        path: the entry, relative to the current directory.
        args: its arguments, `sys.argv[1:]`.
        compile_: compiles a source under a file name.

    Returns:
        None if no exception propagated.

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
    _preload_shadowed_module(full)
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
    except BaseException as error:  # noqa: BLE001 - every exception of the script is reported
        return error
    return None


def _preload_shadowed_module(full: str) -> None:
    """Load the standard library's module of the entry's name, if there is one.

    A script `code.py` would otherwise be imported, and so run again, as `pdb`'s `code`. On its
    author's machine it worked, with packages that happened not to need that module.
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
    except ImportError:  # a module of another operating system
        pass
    finally:
        sys.path[:] = path


_RELATIVE = re.compile(r"^\s*from\s+\.", re.MULTILINE)


def _enter_package(source: str, path: str, names: Dict[str, Any]) -> None:
    """Let an entry with relative imports run as `python -m package.entry` would."""
    folder = os.path.dirname(path)
    if not folder or not _RELATIVE.search(source):
        return
    package = folder.replace(os.sep, ".")
    if all(part.isidentifier() for part in package.split(".")):
        sys.path.insert(0, os.getcwd())
        importlib.import_module(package)
        # The import of the package alone would not make `from . import x` work in `__main__`.
        names["__package__"] = package


def _without_own_frames(report: traceback.TracebackException) -> traceback.TracebackException:
    """Return the traceback, causes included, without frames of the runner."""
    own = os.path.dirname(os.path.dirname(__file__))  # the runner
    pending = [report]
    while pending:
        current = pending.pop()
        current.stack = traceback.StackSummary.from_list(
            [f for f in current.stack if not f.filename.startswith(own + os.sep)]
        )
        pending += [
            cause for cause in (current.__cause__, current.__context__) if cause is not None
        ]
    return report


def report(error: BaseException) -> Tuple[int, Optional[Dict[str, Any]]]:
    """Print the exception as Python would.

    Returns:
        the exit code, and the `error` of the `end` event.
    """
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            code = int(error.code or 0) & 0xFF
            caught = error.__context__
            refused = _refused_arguments(error)
            if refused:
                return code, {
                    "type": "SystemExit",
                    "message": f"arguments: {refused}",
                    **_location(error),
                    "kind": "bug",
                }
            if code and isinstance(caught, Exception):
                # `except …: sys.exit(1)`: the exception that was caught is the reason.
                return code, _error_record(caught)
            text = f"SystemExit({error.code})"
        else:
            sys.stderr.write(f"{error.code}\n")
            code = 1
            text = str(error.code)
        return code, None if code == 0 else {
            "type": "SystemExit",
            "message": text,
            **_location(error),
            "kind": "crash",
        }
    sys.stderr.write(
        "".join(_without_own_frames(traceback.TracebackException.from_exception(error)).format())
    )
    sys.stderr.flush()
    code = 130 if isinstance(error, KeyboardInterrupt) else 1
    return code, _error_record(error)


def _refused_arguments(error: BaseException) -> str:
    """Return argparse's message about the script's arguments, "" if it did not exit."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if (
            frame.f_code.co_name == "error"
            and os.path.basename(frame.f_code.co_filename) == "argparse.py"
        ):
            return str(frame.f_locals.get("message", ""))[:2000]
    return ""


def _error_record(error: BaseException) -> Dict[str, Any]:
    return {
        "type": type(error).__name__,
        "message": str(error)[:2000],
        **_location(error),
        "kind": _kind(error),
    }


def _location(error: BaseException) -> Dict[str, Any]:
    if isinstance(error, SyntaxError) and error.filename:
        return {"file": os.path.relpath(error.filename), "line": error.lineno or 0}
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(os.getcwd())
    ]
    relative = [  # compiled packages (h5py/h5f.pyx) have relative names too
        f
        for f in traceback.extract_tb(error.__traceback__)
        if not os.path.isabs(f.filename) and f.filename.endswith((".py", ".ipynb"))
    ]
    last = next(iter(reversed(relative or own)), None)
    return (
        {"file": None, "line": None}
        if last is None
        else {"file": os.path.relpath(last.filename), "line": last.lineno}
    )


REPEATABLE_ERRORS = (
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
"""Exceptions that occur again if the same code runs again."""
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
"""Names of exceptions, or of their bases, that mean an unreachable service."""
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


OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "RESOURCE_EXHAUSTED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Parts of a RuntimeError's message that mean a failed allocation: PyTorch's allocators for the
processor, CUDA, HIP and MPS, its linear algebra, and JAX.
"""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an allocation failed, here or in a process that an error reports."""
    name = type(error).__name__
    if isinstance(error, MemoryError) or "ResourceExhausted" in name or "OutOfMemory" in name:
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(part in str(error) for part in OUT_OF_MEMORY)


def _kind(error: BaseException) -> str:
    """Return the kind of a failure; "crash" if it is unknown whether it would repeat."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    if any(_is_full_disk(cause) for cause in _causes(error)):
        return "disk"
    if any(is_out_of_memory(cause) for cause in _causes(error)):
        return "oom"
    if any(_is_unreachable(cause) for cause in _causes(error)):
        return "network"
    # The compat package raises an error that is both: its message names the change to make.
    is_deliberate = isinstance(error, NotImplementedError)
    if (isinstance(error, ImportError) and not is_deliberate) or _lacks_library(error):
        return "import"
    return "bug" if isinstance(error, REPEATABLE_ERRORS) else "crash"


def _lacks_library(error: BaseException) -> bool:
    """Return whether a shared library or a program is missing.

    The environment is incomplete then, and the script is correct.
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
    """Return whether the disk is full.

    TensorFlow reports it as ResourceExhausted, HDF5 in the text of an OSError without a number,
    PyTorch as a failed write without any reason.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)
    if isinstance(error, RuntimeError) and "inline_container" in text:
        return "unexpected pos" in text or "failed writing" in text
    if isinstance(error, RuntimeError) and "PytorchStreamWriter failed writing" in text:
        return True
    return any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT))


def _is_unreachable(error: BaseException) -> bool:
    status = getattr(error, "code", None) or getattr(
        getattr(error, "response", None), "status_code", None
    )
    if isinstance(status, int) and 400 <= status < 500 and status not in (408, 425, 429):
        return False  # the service did answer
    if isinstance(error, OSError) and error.errno in NETWORK_ERRNO:
        return True
    return any(base.__name__ in UNREACHABLE for base in type(error).__mro__)


def _causes(error: Optional[BaseException]) -> Iterator[BaseException]:
    """Iterate over the exception and its causes."""
    visited: List[BaseException] = []
    while error is not None and error not in visited:
        visited.append(error)
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def is_python(source: str) -> bool:
    """Return whether the source parses in this Python version."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True
