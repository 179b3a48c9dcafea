"""Install resume for PyTorch: mark the loops, follow optimizers and data loaders."""

import ast
import functools
import os
from types import ModuleType
from typing import Any, Callable, Dict, List, Sequence, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.pytorch import marks, store
from mlops_lib.runner.pytorch.loaders import READINGS
from mlops_lib.runner.pytorch.loops import Loops
from mlops_lib.runner.script import execution


def prepare(run: Context, dialect: Any, entries: Sequence[str]) -> None:
    """Mark the loops of a project that trains with PyTorch; ignore any other project.

    Args:
        run: the run.
        dialect: compiles the project's sources.
        entries: the scripts that run, relative to the working directory.
    """
    with run.journal.guard("mark loops"):
        _mark_loops(run, dialect, entries)
    if run.spec.search is not None:
        with run.journal.guard("prepare the search"):
            _prepare_search(run)


def _mark_loops(run: Context, dialect: Any, entries: Sequence[str]) -> None:
    projects = [
        marks.Project(run.work, os.path.join(run.work, entry), _text(entry)) for entry in entries
    ]
    # An attempt before has trained in no marked loop: names alone did not lead to its training
    # call.
    everything = os.path.exists(os.path.join(run.spec.inside, "fits", store.FOLDER, store.MARK_ALL))
    if not everything and not any(entry.trains_with_torch for entry in projects):
        return
    trees = [tree for entry in projects for tree in entry.trees]
    imports = {name for entry in projects for name in entry.imports}
    modules = [module for name in sorted(imports) for module in marks.LIBRARIES.get(name, ())]
    finder = marks.LibraryFinder(modules)
    run.marked_loops = Loops(run, finder.files)
    marks.install(run.marked_loops, finder)
    dialect.marker = functools.partial(_mark, run, trees, everything)


def _prepare_search(run: Context) -> None:
    """Let a search begin at the entry of the judged training's loop.

    If there is no such loop the search is refused at the script's end.
    """
    fit = run.searched_fit
    for event in run.journal.events():
        is_begun = event.get("event") == protocol.EVENT_FIT and event.get("state") == "started"
        if not is_begun or event.get("fit") != fit or event.get("framework") != "pytorch":
            continue
        # Imported for a search only: most attempts do without it.
        from mlops_lib.runner.search.pytorch.search import LoopSearch

        search = LoopSearch(run, [str(path) for path in event.get("loops") or ()])
        if run.marked_loops is not None:
            run.marked_loops.before_entry = search.entered
        run.before_end.append(search.finish)
        run.journal.forget_epochs_after(int(fit or 1) - 1)  # the winner's are others
        return


def _text(entry: str) -> str:
    try:
        return execution.source_of(entry)
    except execution.BadEntryError:
        return ""


def _mark(
    run: Context, trees: List[ast.Module], everything: bool, tree: ast.Module, path: str
) -> Tuple[ast.Module, bool]:
    file = os.path.relpath(os.path.realpath(path), os.path.realpath(run.work))
    reach = None if everything else marks.Reach([*trees, tree])
    return marks.mark(tree, file, reach)


def install(run: Context, training: Any) -> Dict[str, Callable[[ModuleType], None]]:
    """Return the import hooks that follow optimizer steps and data loaders."""
    training.after_step.append(functools.partial(_stepped, run))
    if run.marked_loops is not None:
        run.marked_loops.checkpoints.training = training
        run.marked_loops.checkpoints.include("training", training.state, training.restore)

    def loaders(module: Any) -> None:
        if run.marked_loops is not None:
            READINGS.install(module)

    return {"torch.utils.data.dataloader": loaders}


def install_search(run: Context, training: Any) -> Dict[str, Callable[[ModuleType], None]]:
    """Return a search's import hooks, on the calls that make layers and optimizers."""
    if run.spec.search is None or run.marked_loops is None:
        return {}
    from mlops_lib.runner.search.pytorch import winner_facts

    return winner_facts.hooks(run)


def _stepped(run: Context, optimizer: Any) -> None:
    if run.marked_loops is not None:
        run.marked_loops.stepped(optimizer)
    else:
        say_unmarked(run)


def say_unmarked(run: Context) -> None:
    """Warn that the training cannot be resumed; the next attempt marks every loop."""
    run.warn_custom_loop("PyTorch", resumable="")
    folder = os.path.join(run.spec.inside, "fits", store.FOLDER)
    mark = os.path.join(folder, store.MARK_ALL)
    if os.path.exists(mark):  # this is asked at every step
        return
    os.makedirs(folder, exist_ok=True)
    with open(mark, "a"):
        pass
