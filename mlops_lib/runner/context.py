"""What the adapters share while one script runs."""

import os
from typing import Any, Callable, Dict, List, Optional, Tuple

from mlops_lib.runner import protocol
from mlops_lib.runner.journal import Journal
from mlops_lib.runner.metrics.evaluations import Evaluations
from mlops_lib.runner.metrics.leaks import LeakDetector
from mlops_lib.runner.script import execution, workdir
from mlops_lib.runner.script.conditions import Conditions
from mlops_lib.runner.spec import Spec
from mlops_lib.runner.state.checkpoint import Writer
from mlops_lib.runner.state.retention import FinishedFits
from mlops_lib.runner.termination import GracefulShutdown

CHECKPOINTS = "MLOPS_CHECKPOINT_DIR"
"""The variable that tells a script of a folder that is as it left it when it is started again."""


class Context:
    """One execution of an entry: its orders, its journal, and the fits and evaluations seen so far."""

    def __init__(self, spec: Spec, journal: Journal, work: str) -> None:
        self.spec = spec
        self.journal = journal
        self.work = work
        self.start: workdir.Manifest = {}
        self.writer = Writer(journal)
        self.shutdown = GracefulShutdown()
        self.finished = FinishedFits(journal, spec.fits_bytes)
        self.conditions = Conditions()
        self.evaluations = Evaluations(journal, metric=spec.metric, conditions=self.conditions)
        self.leaks = LeakDetector(journal)
        self.fits = 0
        self.nested = 0
        """How deep we are inside a framework's own training or evaluation; calls made there are not
        the script's.
        """
        self.search: Optional[Callable[..., Any]] = None
        self.searched = False
        """Whether this pass's search is over."""
        self.models: Dict[int, Any] = {}
        """Fit to what it trained."""
        self.unfitted: Optional[Tuple[Any, Any, Any]] = None
        """An estimator that was only cross-validated, with the input and target it was given."""
        self.seen: Dict[int, Any] = {}
        """Fit to the examples it trained on, where they could be read."""
        self.estimator_fit: Any = None
        """The estimator's fit under way, if any."""
        self.loops = 0
        """Cross-validations so far."""
        self.before_end: List[Callable[[], None]] = []
        """Called when the script has ended well, before what it measured is settled."""
        self.marked_loops: Any = None
        """The script's own training loops (`pytorch.loops.Loops`), if its project trains with
        PyTorch.
        """
        self.at_exit: List[Callable[[], None]] = []
        self._own_loop = False

    def leave(self, why: str) -> None:
        """Let a fresh process go on, which begins with the script again."""
        self.journal.warn(f"{why}: a fresh process goes on")
        self.writer.wait()
        execution.leave(protocol.RECYCLE)

    def warn_custom_loop(self, by: str, *, resumable: str) -> None:
        """Say once that the script trains in a loop of its own, which nobody can enter in the
        middle.

        Args:
            by: what it trains by.
            resumable: what would go on at its last checkpoint, "" if there is nothing.
        """
        if not self._own_loop:
            self._own_loop = True
            self.journal.warn(
                f"the script trains in a loop of its own ({by}): after a failure the loop starts from its beginning, with the"
                f" same numbers; {resumable and resumable + ' goes on where it was; '}checkpoints that the loop keeps in the"
                f" folder which ${CHECKPOINTS} names stay"
            )

    def next_fit(self) -> int:
        """The number of the fit that begins now."""
        self.fits += 1
        return self.fits

    @property
    def searched_fit(self) -> Optional[int]:
        """The fit that this pass searches around; what comes after it acts on the winner, so it is
        not what it was before.
        """
        return None if self.spec.search is None else int(self.spec.search.get("fit", 0))

    def fit_of(self, model: Any) -> Optional[int]:
        """The number of the last fit of this model."""
        return next(
            (
                number
                for number in sorted(self.models, reverse=True)
                if self.models[number] is model
            ),
            None,
        )

    @property
    def search_folder(self) -> str:
        """Where the state of the search is: a worker's is the one of the run that it works for."""
        return os.path.join(self.spec.shared or self.spec.inside, "search")

    def fit_folder(self, fit: int, *, held_back: bool = False) -> str:
        """Where the fit's checkpoints are: fits before the search are shared by all passes, those
        after it are not.

        Args:
            fit: its number.
            held_back: whether it trains without the examples that the search selects on.
        """
        folder = os.path.join(self.spec.inside, "fits")
        if held_back:
            return os.path.join(folder, "held-back", str(fit))
        if self.searched_fit is not None and fit > self.searched_fit:
            folder = os.path.join(folder, f"pass-{self.spec.number_of_pass}")
        return os.path.join(folder, str(fit))

    def loop_folder(self, loop: int) -> str:
        """Where the results of a cross-validation are that belongs to no fit."""
        parts = [f"pass-{self.spec.number_of_pass}"] if self.searched else []
        return os.path.join(self.spec.inside, "fits", *parts, f"candidates-{loop}")
