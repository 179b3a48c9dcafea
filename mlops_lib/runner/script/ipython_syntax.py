"""IPython's syntax (shell lines, `%` lines, `%%` cells) in Python.

A cell that Python can parse is left alone. In any other, each line of IPython's becomes one line of
Python, so that line numbers stay. Magics that only steer the display (`%matplotlib`, `%load_ext`)
vanish; those that run or time code run it once.
"""

import io
import os
import re
import runpy
import shlex
import subprocess
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple

NAME = "get_ipython"
"""Name of the function that the translated lines call; exported notebooks call it too."""
CODE_MAGICS = (
    "time",
    "timeit",
    "prun",
    "memit",
    "mprun",
    "lprun",
    "capture",
    "snakeviz",
    "wandb",
    "debug",
)
"""Magics that run the code behind them, or in their cell."""
SHELLS = ("bash", "sh", "system", "sx", "!", "script")
"""Cell magics whose cell is a shell script."""
COMMANDS = ("ls", "cat", "mkdir", "rm", "cp", "mv", "rmdir", "ll", "more", "less")
"""Line magics that run the program of that name."""
_INSTALL_COMMAND = re.compile(
    r"^\s*(sudo\s+)?(\S*python[\d.]*\s+-m\s+)?(pip[\d.]*|conda|mamba|uv\s+pip)"
    r"\s+(install|uninstall)\b"
)
_ASSIGNED = re.compile(r"^(\s*[A-Za-z_][\w, .\[\]'\"]*=\s*)([!%])(?=\S)(.*)$")
_HELP = re.compile(r"^\s*(\?{1,2}[\w.*]+|[\w.]+\?{1,2})\s*$")
_OPTIONS = re.compile(r"^(-{1,2}\w+(\s+\d+|\d+)?\s+)+")


def as_python(text: str) -> str:
    """Return one cell as Python, line by line."""
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    if first.startswith("%%"):
        return "\n".join(_cell(lines, first))
    try:
        compile(text, "<cell>", "exec", _PARSE_ONLY, dont_inherit=True)
    except (SyntaxError, ValueError):
        return "\n".join(_lines(lines))
    return text


_PARSE_ONLY = 0x400 | 0x2000
"""`ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT`."""


def _cell(lines: List[str], first: str) -> List[str]:
    """Translate a cell that begins with a `%%` line."""
    name, _, rest = first[2:].strip().partition(" ")
    at = lines.index(first)
    body = lines[at + 1 :]
    blank = [""] * (len(lines) - 1)
    if name in SHELLS:
        return [_call("script", "\n".join(body)), *blank]
    if name in ("writefile", "file"):
        return [_call("write_file", rest.strip(), "\n".join(body) + "\n"), *blank]
    if name == "capture":
        variables = [word for word in rest.split() if not word.startswith("-")]
        begins = f"{variables[0]} = {NAME}().capture()" if variables else "# " + first
        ends = [f"{NAME}().release()"] if variables else []
        return [*lines[:at], begins, *_lines(body), *ends]
    if name in CODE_MAGICS:
        return [*lines[:at], "# " + first, *_lines(body)]
    return ["# " + line for line in lines]


def _lines(lines: List[str]) -> List[str]:
    translated: List[str] = []
    statement: List[str] = []
    for line in lines:
        if statement or is_special(line):
            statement.append(line)
            if line.rstrip().endswith("\\"):
                continue
            joined = "\n".join(statement).replace("\\\n", " ")
            translated += [_line(joined), *[""] * (len(statement) - 1)]
            statement = []
        else:
            translated.append(line)
    return (
        [*translated, _line("\n".join(statement).replace("\\\n", " "))] if statement else translated
    )


def is_special(line: str) -> bool:
    """Return whether only IPython can read a line."""
    stripped = line.lstrip()
    if stripped.startswith("!") or re.match(r"%[A-Za-z]", stripped):
        return True
    return _HELP.match(line) is not None or _ASSIGNED.match(line) is not None


def _line(line: str) -> str:
    stripped = line.strip()
    indent = line[: len(line) - len(line.lstrip())]
    assigned = _ASSIGNED.match(line)
    if assigned:
        what = "getoutput" if assigned[2] == "!" else "magic"
        return assigned[1] + _call(what, assigned[3].strip())
    if stripped.startswith("!"):
        command = stripped.lstrip("!").strip()
        return indent + (
            "pass  # " + stripped if _INSTALL_COMMAND.match(command) else _call("system", command)
        )
    if stripped.startswith("%"):
        name, _, rest = stripped[1:].partition(" ")
        if name in CODE_MAGICS:
            return indent + (_OPTIONS.sub("", rest.strip()) or "pass")
        if name == "pylab":
            imports = "import numpy; import numpy as np; import matplotlib.pyplot as plt"
            return f"{indent}{imports}; from pylab import *"
        return indent + (_call("magic", stripped[1:]) if name in _MAGICS else "pass  # " + stripped)
    return indent + "pass  # " + stripped


def _call(method: str, *args: str) -> str:
    return f"{NAME}().{method}({', '.join(map(repr, args))})"


class Lines(List[str]):
    """Output of a command by lines, as `x = !command` returns it."""

    @property
    def s(self) -> str:
        """The lines, separated by spaces."""
        return " ".join(self)

    @property
    def n(self) -> str:
        """The lines, separated by line ends."""
        return "\n".join(self)

    @property
    def l(self) -> List[str]:  # noqa: E743 - IPython's name
        """The lines as a list."""
        return list(self)


class Captured:
    """Output of a cell under `%%capture`."""

    def __init__(self, stdout: io.StringIO, stderr: io.StringIO) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self.outputs: List[Any] = []

    @property
    def stdout(self) -> str:
        """The cell's standard output."""
        return self._stdout.getvalue()

    @property
    def stderr(self) -> str:
        """The cell's standard error."""
        return self._stderr.getvalue()

    def show(self) -> None:
        """Print the captured output."""
        sys.stdout.write(self.stdout)
        sys.stderr.write(self.stderr)

    __call__ = show

    def __str__(self) -> str:
        return self.stdout


class Shell:
    """The object that `get_ipython()` returns; unknown methods do nothing.

    Args:
        names: the notebook's variables.
        compile_: compiles a source under a file name.
    """

    def __init__(self, names: Dict[str, Any], compile_: Callable[..., Any]) -> None:
        self.user_ns = names
        self._compile = compile_
        self._streams: Optional[Tuple[Any, Any]] = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None

    def system(self, command: str) -> None:
        """Run `!command` in a shell; a failing command raises nothing."""
        if not _INSTALL_COMMAND.match(command):
            sys.stdout.write(self._run(["/bin/sh", "-c", self._expanded(command)]))

    def getoutput(self, command: str) -> Lines:
        """Run the command of `x = !command`."""
        return Lines(self._run(["/bin/sh", "-c", self._expanded(command)]).splitlines())

    def script(self, text: str) -> None:
        """Run a cell that is a shell script."""
        lines = [line for line in text.splitlines() if not _INSTALL_COMMAND.match(line)]
        bash = next(
            (path for path in ("/bin/bash", "/usr/bin/bash") if os.path.exists(path)), "/bin/sh"
        )
        sys.stdout.write(self._run([bash, "-c", "\n".join(lines)]))

    def write_file(self, options: str, text: str) -> None:
        """Run `%%writefile`."""
        words = shlex.split(self._expanded(options))
        with open(words[-1], "a" if "-a" in words[:-1] else "w", encoding="utf-8") as stream:
            stream.write(text)

    def capture(self) -> Captured:
        """Start `%%capture x`: collect the output instead of printing it."""
        self._streams = sys.stdout, sys.stderr
        out = io.StringIO()
        err = io.StringIO()
        sys.stdout, sys.stderr = out, err
        return Captured(out, err)

    def release(self) -> None:
        """End a captured cell."""
        if self._streams is not None:
            sys.stdout, sys.stderr = self._streams
            self._streams = None

    def magic(self, line: str) -> Any:
        """Run a `%` line."""
        name, _, rest = line.lstrip("%").partition(" ")
        return self.run_line_magic(name, rest)

    def run_line_magic(self, name: str, line: str = "", *_: Any) -> Any:
        """Run a `%` line, given its name and its rest."""
        if name in CODE_MAGICS:
            code = _OPTIONS.sub("", line.strip())
            return exec(self._compile(as_python(code), "<magic>"), self.user_ns)
        does = _MAGICS.get(name)
        return None if does is None else does(self, self._expanded(line.strip()))

    def run_cell_magic(self, name: str, line: str, cell: str) -> None:
        """Run a `%%` cell, as exported notebooks call it."""
        exec(self._compile(as_python(f"%%{name} {line}\n{cell}"), "<cell>"), self.user_ns)

    def _run(self, command: List[str]) -> str:
        process = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return process.stdout.decode(errors="replace")

    def _expanded(self, text: str) -> str:
        """Replace IPython's `{expression}` and `$name` by values if they can be evaluated."""

        def value(match: "re.Match[str]") -> str:
            try:
                return str(eval(match[1], self.user_ns))
            except Exception:  # noqa: BLE001 - any failure means that it is the shell's syntax
                return match[0]

        text = re.sub(r"(?<!\$)\{([^{}]+)\}", value, text)
        return re.sub(
            r"\$([A-Za-z_]\w*)", lambda m: value(m) if m[1] in self.user_ns else m[0], text
        )

    # Implementations of the magics

    def _cd(self, line: str) -> None:
        os.chdir(os.path.expanduser(line.strip("'\" ") or "~"))

    def _env(self, line: str) -> Any:
        name, _, text = line.replace("=", " ", 1).partition(" ")
        if not text.strip():
            return os.environ.get(name) if name else dict(os.environ)
        os.environ[name] = text.strip()
        return None

    def _script_run(self, line: str) -> None:
        words = [word for word in shlex.split(line) if word not in ("-i", "-t", "-n")]
        before = sys.argv
        sys.argv = words
        try:
            self.user_ns.update(runpy.run_path(words[0], run_name="__main__"))
        finally:
            sys.argv = before


def _command(name: str) -> Callable[[Shell, str], None]:
    return lambda shell, line: shell.system(f"{'ls -l' if name == 'll' else name} {line}")


_MAGICS: Dict[str, Callable[[Shell, str], Any]] = {
    **{name: _command(name) for name in COMMANDS},
    "cd": Shell._cd,
    "env": Shell._env,
    "set_env": Shell._env,
    "run": Shell._script_run,
    "pwd": lambda shell, line: os.getcwd(),
    "system": Shell.getoutput,
    "sx": Shell.getoutput,
}
