"""Retrain scripts that take their tweak as an argument.

`python train.py 1` builds another network than `python train.py 0`. Such a script defines its own
variants, so it is trained with further values before any of it is edited. Each value is a run of
its own, with the same seed. The project's first run remembers which of them it continues as.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_lib import atomic
from mlops_lib.errors import RefusedFileError
from mlops_lib.gate import verdicts
from mlops_lib.project import files
from mlops_lib.records import SearchResult, Trial, Verdict

CODE_LIMIT = 1 << 20
CONTINUED = "continued.json"
"""File in the first run's directory: the chosen arguments, and the attempts."""


def values(
    project: Path, entry: str, args: Sequence[str], *, count: int
) -> Iterator[tuple[str, ...]]:
    """Return further arguments to train with.

    There are none unless a whole number is the script's only argument.
    """
    if len(args) > 1 or not _reads_a_number(project, entry):
        return
    try:
        start = int(args[0]) if args else 0
    except ValueError:
        return
    for step in range(1, count + 1):
        yield (str(start + step),)


def _reads_a_number(project: Path, entry: str) -> bool:
    """Return whether the script reads one argument only, as an integer."""
    try:
        tree = ast.parse(files.read(entry, root=project, limit=CODE_LIMIT).decode("utf-8"))
    except (RefusedFileError, ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    arguments = [node for node in ast.walk(tree) if _argument(node) is not None]
    integers = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "int"
        and len(node.args) == 1
        and _argument(node.args[0]) == 1
    ]
    # A second argument, or the first one as text, would mean something else than a size.
    return bool(integers) and all(_argument(node) in (0, 1) for node in arguments)


def _argument(node: ast.AST) -> int | None:
    """Return n of `sys.argv[n]` or `argv[n]`."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Constant):
        return None
    name = (
        node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
    )
    return node.slice.value if name == "argv" and isinstance(node.slice.value, int) else None


@dataclass(frozen=True)
class Attempt:
    """The training of the script with one value."""

    args: tuple[str, ...]
    verdict: Verdict
    model: dict[str, Any]
    """The runner's description of the model, which is a claim."""
    run_dir: str

    @classmethod
    def of(cls, run_dir: Path, args: Sequence[str], verdict: Verdict) -> Attempt:
        """Return the attempt in a run directory."""
        model = verdicts.read_claims(run_dir).get("model")
        return cls(tuple(args), verdict, model if isinstance(model, dict) else {}, str(run_dir))

    def is_same(self, other: Attempt) -> bool:
        """Return whether layers, parameters and the exact number are equal."""
        keys = ("architecture", "parameters", "class")
        return self.verdict.value == other.verdict.value and all(
            self.model.get(k) == other.model.get(k) for k in keys
        )


def best(attempts: Sequence[Attempt]) -> Attempt:
    """Return the attempt to continue with: an accepted one, else the first best."""

    def rank(attempt: Attempt) -> tuple[bool, float]:
        value = attempt.verdict.value
        sign = 1.0 if attempt.verdict.mode == "max" else -1.0
        return attempt.verdict.verdict == "accepted", float(
            "-inf"
        ) if value is None else sign * value

    return max(attempts, key=rank)


def as_search(attempts: Sequence[Attempt], *, notes: Sequence[str] = ()) -> SearchResult:
    """Return the attempts as the result of a search.

    Its selection is "contaminated": it selected on the very examples that are judged.
    """
    winner = best(attempts)
    first = attempts[0].verdict
    trials = tuple(
        Trial(
            number=i,
            parent=0 if i else None,
            score=attempt.verdict.value,
            edits=(f"argument {' '.join(attempt.args)}",) if i else (),
        )
        for i, attempt in enumerate(attempts)
    )
    return SearchResult(
        metric=first.metric or "",
        mode=first.mode,
        selection="contaminated",
        fit=first.judged_fit or 1,
        trials=trials,
        winner=attempts.index(winner),
        score=winner.verdict.value,
        examples=winner.verdict.examples,
        stopped="bar" if winner.verdict.verdict == "accepted" else "exhausted",
        notes=tuple(notes),
    )


def remember(run_dir: Path, attempts: Sequence[Attempt]) -> None:
    """Record in the first run's directory which run its project continues as."""
    winner = best(attempts)
    entries = [
        {
            "args": list(attempt.args),
            "value": attempt.verdict.value,
            "verdict": attempt.verdict.verdict,
            "run_dir": attempt.run_dir,
        }
        for attempt in attempts
    ]
    atomic.write_json(
        run_dir / CONTINUED, {"schema": 1, "args": list(winner.args), "attempts": entries}
    )


def continued(run_dir: Path) -> tuple[str, ...] | None:
    """Return the arguments that a run's project continues with; None for its own."""
    try:
        content = atomic.read_json(run_dir / CONTINUED)
    except (OSError, ValueError):
        return None
    args = content.get("args") if isinstance(content, dict) else None
    return tuple(map(str, args)) if isinstance(args, list) else None


def attempts_of(run_dir: Path) -> int:
    """Return the number of further values that were tried."""
    try:
        content = atomic.read_json(run_dir / CONTINUED)
    except (OSError, ValueError):
        return 0
    entries = content.get("attempts") if isinstance(content, dict) else None
    return max(len(entries) - 1, 0) if isinstance(entries, list) else 0
