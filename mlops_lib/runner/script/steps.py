"""The scripts of a project that run around its entry: prepare, train, evaluate.

They share one process, so that files of the first are in the working directory, a fit is resumed,
and the model that the last one measures is known. Each starts like a fresh program: as `__main__`,
with its own arguments and folder, without project modules that another one imported, and from the
seed.
"""

import os
import sys
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from mlops_lib.runner.context import Context
from mlops_lib.runner.script import execution, notebook
from mlops_lib.runner.state import rng


class Step(NamedTuple):
    """A script to run."""

    script: str
    """Relative to the project."""
    args: List[str]
    folder: str
    """The project folder in which it runs."""


def read(described: Dict[str, Any]) -> Step:
    """Return a step from the host's description."""
    return Step(
        str(described.get("script")),
        [str(argument) for argument in described.get("args") or ()],
        str(described.get("folder") or ""),
    )


def run(
    context: Context, entry: str, args: List[str], *, compile_: notebook.Compile
) -> Optional[BaseException]:
    """Run the entry, and the project's scripts before and after it.

    Returns:
        the exception that ended the run, None if all steps ended well.
    """
    orders = context.spec
    before, after = (
        [read(description) for description in part] for part in (orders.before, orders.after)
    )
    steps = [*before, Step(entry, args, orders.folder), *after]
    for number, step in enumerate(steps):
        if len(steps) > 1:
            command = " ".join((step.script, *step.args))[:200]
            context.journal.note(f"step {number + 1} of {len(steps)}: {command}")
            context.journal.progress("script")
        error = _run_one(context, step, is_first=number == 0, compile_=compile_)
        # `sys.exit(0)` at the end of a script must not end the steps after it.
        if error is not None and not (_ended_well(error) and number + 1 < len(steps)):
            return error
    return None


def _ended_well(error: BaseException) -> bool:
    return isinstance(error, SystemExit) and error.code in (None, 0)


def _run_one(
    context: Context, step: Step, *, is_first: bool, compile_: notebook.Compile
) -> Optional[BaseException]:
    place = os.path.join(context.work, step.folder) if step.folder else context.work
    if not is_first:
        _unload_modules(context.work)
        _seed(context.spec.seed)
    if step.folder or not is_first:
        os.chdir(place)
    path = os.path.relpath(os.path.join(context.work, step.script), place)
    return execution.run(path, step.args, compile_=compile_)


def _unload_modules(work: str) -> None:
    """Unload the project's modules: the next step may have others of the same names."""
    # Only modules in the working directory: installed ones are the same for every step.
    for name in list(_own_modules(os.path.realpath(work))):
        del sys.modules[name]


def _own_modules(work: str) -> Iterator[str]:
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if (
            name != "__main__"
            and isinstance(path, str)
            and os.path.realpath(path).startswith(work + os.sep)
        ):
            yield name


def _seed(seed: int) -> None:
    rng.seed_process(seed)
    for name, seeds in (
        ("numpy", rng.seed_numpy),
        ("tensorflow", rng.seed_tensorflow),
        ("torch", rng.seed_torch),
    ):
        module = sys.modules.get(name)
        if module is not None:
            seeds(module, seed)
