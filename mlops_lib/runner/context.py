"""State that the framework adapters share while one script runs."""

import os
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Tuple

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
"""Environment variable with the path of a folder that survives restarts of the script."""


class Context:
    """One execution of an entry: its spec, its journal, its fits and evaluations."""

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
        """Depth of calls inside a framework's own training or evaluation; these are not the
        script's calls.
        """
        self.search: Optional[Callable[..., Any]] = None
        self.searched = False
        """True once this pass's search is over."""
        self.models: Dict[int, Any] = {}
        """Fit number to trained model."""
        self.cross_validated: Optional[Tuple[Any, Any, Any]] = None
        """Estimator, input and target of a script that only cross-validates."""
        self.fit_examples: Dict[int, Any] = {}
        """Fit number to the examples it trained on, for data that could be read."""
        self.estimator_fit: Any = None
        """The running estimator fit, if any."""
        self.loops = 0
        """Number of cross-validations so far."""
        self.before_end: List[Callable[[], None]] = []
        """Callbacks that run after the script ended well, before its evaluations are settled."""
        self.on_error: List[Callable[[BaseException], None]] = []
        """Called with the exception that ended the script, before it is journaled."""
        self.marked_loops: Any = None
        """The script's own training loops (`pytorch.loops.Loops`) if its project trains with
        PyTorch.
        """
        self.forked: Any = None
        """In a forked process of a search around such a loop, what it reports."""
        self.search_judged: FrozenSet[bytes] = frozenset()
        """The judged examples, as far as a search knows them one by one."""
        self.at_exit: List[Callable[[], None]] = []
        self._own_loop = False

    def restart_process(self, why: str) -> None:
        """Restart in a fresh process, which runs the script from its beginning."""
        self.journal.warn(f"{why}: continuing in a fresh process")
        self.writer.wait()
        execution.exit_process(protocol.RECYCLE)

    def warn_custom_loop(self, by: str, *, resumable: str) -> None:
        """Warn once that the script has a training loop of its own.

        Such a loop cannot be resumed midway.

        Args:
            by: the API that the loop trains with.
            resumable: the alternative that would resume from its last checkpoint; "" if there is
                none.
        """
        if not self._own_loop:
            self._own_loop = True
            alternative = f"{resumable} would resume at its last checkpoint; " if resumable else ""
            self.journal.warn(
                f"the script trains in a loop of its own ({by}): after a failure the loop starts"
                f" from its beginning, with the same numbers; {alternative}checkpoints that the"
                f" script writes to the folder in ${CHECKPOINTS} survive"
            )

    def next_fit(self) -> int:
        """Count a fit that begins, and return its number."""
        self.fits += 1
        return self.fits

    @property
    def searched_fit(self) -> Optional[int]:
        """Number of the fit around which this pass searches; None if it does not search.

        Later fits act on the winner, so their state differs from that of the pass before.
        """
        return None if self.spec.search is None else int(self.spec.search.get("fit", 0))

    def fit_of(self, model: Any) -> Optional[int]:
        """Return the number of the last fit of this model; None if it was not fitted."""
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
        """Folder with the state of the search.

        A worker uses the folder of the run that it works for.
        """
        return os.path.join(self.spec.shared or self.spec.inside, "search")

    def fit_folder(self, fit: int, *, held_back: bool = False) -> str:
        """Return the folder of a fit's checkpoints.

        All passes share the fits up to the searched one; later fits have a folder per pass.

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
        """Return the folder with the results of a cross-validation that belongs to no fit."""
        parts = [f"pass-{self.spec.number_of_pass}"] if self.searched else []
        return os.path.join(self.spec.inside, "fits", *parts, f"candidates-{loop}")
