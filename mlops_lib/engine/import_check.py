"""Check that an environment provides every third-party import.

Each name is imported once.

The program below runs in the image (no network, no capabilities, no mounts) or in the virtual
environment. One child process imports all names in turn, so that shared modules load once. If a
name crashes the process, another child continues after it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mlops_lib.records import Record

PROGRAM = r"""
import json, os, sys
names, done, place = json.loads(sys.argv[1]), 0, sys.argv[2]
def told(name, error):
    kind = "" if error is None else type(error).__name__
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    text = "" if error is None else str(error)[-2000:]
    os.write(1, (place + json.dumps([name, kind, missing or "", text]) + "\n").encode())
while done < len(names):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 2)
        for number in range(done, len(names)):
            error = None
            try:
                __import__(names[number])
            except BaseException as raised:
                error = raised
            told(names[number], error)
            os.write(writer, b".")
        os._exit(0)
    os.close(writer)
    while True:
        seen = os.read(reader, 1 << 16)
        if not seen:
            break
        done += len(seen)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    if done < len(names):
        told(names[done], RuntimeError("importing it ended Python with status %d" % status))
        done += 1
"""
PLACE = "mlops-probe:"
"""Marker of the program's own lines, as packages may print when they are imported."""
TIMEOUT_S = 600.0
LIMIT = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Missing(Record):
    """An import that fails."""

    name: str
    """The imported name."""
    error: str
    """Class of the exception."""
    module: str = ""
    """The module that was not found, which may be one that `name` depends on."""
    message: str = ""

    def __str__(self) -> str:
        what = f"import {self.name}: " if self.name else ""
        return f"{what}{self.error}: {self.message.splitlines()[-1][:200] if self.message else ''}"


def arguments(imports: Collection[str]) -> list[str]:
    """Return Python's arguments that try these imports.

    They isolate the interpreter: neither the runner nor the user's files are importable.
    """
    return ["-I", "-c", PROGRAM, json.dumps(sorted(imports)), PLACE]


def missing(output: str, imports: Collection[str]) -> list[Missing]:
    """Parse the program's output; a name without a result counts as missing."""
    reported: dict[str, Sequence[str]] = {}
    for line in output[-LIMIT:].splitlines():
        _, separator, rest = line.partition(PLACE)
        if not separator:
            continue
        try:
            value = json.loads(rest)
        except ValueError:
            continue
        if (
            isinstance(value, list)
            and len(value) == 4
            and all(isinstance(part, str) for part in value)
        ):
            reported[value[0]] = value[1:]
    no_answer = ("RuntimeError", "", "the probe ended before it")
    answers = {name: reported.get(name, no_answer) for name in sorted(imports)}
    return [Missing(name=n, error=e, module=m, message=t) for n, (e, m, t) in answers.items() if e]
