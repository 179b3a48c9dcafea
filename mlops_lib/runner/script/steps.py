"""The scripts of a project that run around its entry: prepare, train, evaluate, one after the
other.

They share one process, so that what the first left in the working directory is there, a fit is
resumed, and the model that the last one measures is known. Each begins as a fresh program: as
`__main__`, with its own arguments and folder, without the project's modules that another one
imported, and from the seed.
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
    """The folder in the project that it runs in."""


def read(described: Dict[str, Any]) -> Step:
    """Return a step as the host describes it."""
    return Step(
        str(described.get("script")),
        [str(one) for one in described.get("args") or ()],
        str(described.get("folder") or ""),
    )


def run(
    context: Context, entry: str, args: List[str], *, compile_: notebook.Compile
) -> Optional[BaseException]:
    """Run the entry, and what the project runs before and after it.

    Returns:
        what propagated out of the step that ended the run, None if all ended well.
    """
    orders = context.spec
    before, after = ([read(one) for one in part] for part in (orders.before, orders.after))
    steps = [*before, Step(entry, args, orders.folder), *after]
    for number, step in enumerate(steps):
        if len(steps) > 1:
            shown = " ".join((step.script, *step.args))[:200]
            context.journal.write("note", message=f"step {number + 1} of {len(steps)}: {shown}")
            context.journal.progress("script")
        error = _run_one(context, step, is_first=number == 0, compile_=compile_)
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
        _forget(context.work)
        _seed(context.spec.seed)
    if step.folder or not is_first:
        os.chdir(place)
    path = os.path.relpath(os.path.join(context.work, step.script), place)
    return execution.run(path, step.args, compile_=compile_)


def _forget(work: str) -> None:
    """Drop the project's modules: the next step may have others of the same names."""
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
