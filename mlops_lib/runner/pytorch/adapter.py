"""Install the PyTorch parts: each has import hooks of its own.

A part is a module with `install(run, training)` that returns hooks by the name of the module that
they run after, as every adapter does. Several parts may hook the same module: they run in the order
of `PARTS`.
"""

from types import ModuleType
from typing import Any, Callable, Dict, List

from mlops_lib.runner.context import Context
from mlops_lib.runner.pytorch import (
    evaluation,
    logged_numbers,
    micro_batches,
    observation,
    resume,
)
from mlops_lib.runner.pytorch.observation import Training

Hook = Callable[[ModuleType], None]

PARTS: List[Callable[[Context, Training], Dict[str, Hook]]] = [
    observation.install,
    resume.install,
    resume.install_search,
    micro_batches.install,  # before what watches calls: that sees each as one
    evaluation.install,
    logged_numbers.install,
]


def prepare(run: Context, dialect: Any, entry: str) -> None:
    """Mark a project's loops if it trains with PyTorch, before it is compiled.

    Args:
        run: the run.
        dialect: compiles the project's sources.
        entry: the script that runs, relative to the working directory.
    """
    others = [str(source.get("script")) for source in (*run.spec.before, *run.spec.after)]
    resume.prepare(run, dialect, [entry, *others])


def install(run: Context) -> Dict[str, Hook]:
    """Return the import hooks of all parts."""
    training = Training(run)
    hooks: Dict[str, List[Hook]] = {}
    for part in PARTS:
        for name, hook in part(run, training).items():
            hooks.setdefault(name, []).append(hook)
    return {name: _one_after_the_other(run, each) for name, each in hooks.items()}


def _one_after_the_other(run: Context, hooks: List[Hook]) -> Hook:
    def hook(module: Any) -> None:
        for each in hooks:
            # One part's failure leaves the others working, and the script too.
            with run.journal.guard(f"patch {module.__name__}"):
                each(module)

    return hook
