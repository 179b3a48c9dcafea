"""Resume scikit-learn's cross-validations and parameter searches.

scikit-learn passes its candidates to `joblib.Parallel`. Their results are stored as they arrive. A
restarted search receives the stored ones, and only the rest is computed.
"""

import os
import pickle
import threading
import time
from types import ModuleType
from typing import Any, Callable, Dict, List, Tuple

from mlops_lib.runner.context import Context
from mlops_lib.runner.state import atomic, checkpoint, rng


def install(run: Context) -> Dict[str, Callable[[ModuleType], None]]:
    """Return the import hooks for scikit-learn's own loops over candidates."""

    def loops(module: ModuleType) -> None:
        with run.journal.guard("patch sklearn candidates"):
            module.Parallel = _resuming(run, module.Parallel)  # type: ignore[attr-defined]

    return {"sklearn.model_selection._search": loops, "sklearn.model_selection._validation": loops}


def _resuming(run: Context, parallel_class: Any) -> Any:
    class Parallel(parallel_class):  # type: ignore[misc]
        """Compute only the results that are not stored."""

        def __call__(self, iterable: Any) -> Any:
            # Depth 1 is the script's own search or cross-validation; deeper loops are parts of its
            # candidates.
            if run.nested != 1:
                return super().__call__(iterable)
            candidates = Candidates(run, _folder(run))
            tasks = list(iterable)
            stored: List[Any] = []
            with run.journal.guard("load candidates"):
                stored = candidates.load()[: len(tasks)]
            # Results must arrive one by one, in order; the attribute's name depends on joblib's
            # version.
            self.return_as = "generator"
            self.return_generator = True
            self.return_ordered = True
            results = list(stored)
            with run.shutdown.waiting_for(candidates):
                for result in (
                    super().__call__(tasks[len(stored) :]) if len(stored) < len(tasks) else ()
                ):
                    results.append(result)
                    run.journal.progress("fit", step=len(results), steps=len(tasks))
                    with run.journal.guard("keep candidates"):
                        candidates.add(result, last=len(results) == len(tasks))
            return results

    Parallel.__name__ = Parallel.__qualname__ = parallel_class.__name__
    return Parallel


def _folder(run: Context) -> str:
    """Return the folder of the results of the loop that begins now.

    A search's loop belongs to its fit, a cross-validation has a folder of its own.
    """
    fit = run.estimator_fit
    if fit is None:
        run.loops += 1
        return run.loop_folder(run.loops)
    fit.loops += 1
    return os.path.join(run.fit_folder(fit.number), f"candidates-{fit.loops}")


class Candidates:
    """The results of one loop, in files of several each.

    They are written within the time budget of checkpoints.
    """

    def __init__(self, run: Context, folder: str) -> None:
        self._run = run
        self._folder = folder
        self._pending: List[Any] = []
        self._random: Any = None
        """The random state after the last pending result."""
        self._lock = threading.Lock()
        self._written = 0
        self._pace = checkpoint.Pace(run.spec.checkpoint_budget, 0.0)

    def load(self) -> List[Any]:
        """Return the intact results, up to the first damaged one.

        The random state is restored to that after the last of them.
        """
        results: List[Any] = []
        state = None
        while True:
            try:
                with open(self._path(), "rb") as stream:
                    content = atomic.unseal(stream.read())
            except OSError:
                break
            if content is None:
                break
            part, state = pickle.loads(content)
            results += part
            self._written += 1
        if state is not None:
            rng.restore(state)
        return results

    def _path(self) -> str:
        return os.path.join(self._folder, str(self._written))

    def add(self, result: Any, *, last: bool) -> None:
        """Add one result."""
        with self._lock:
            self._pending.append(result)
            self._random = rng.capture()
            if not last and self._pace.is_due():
                self._write()

    @property
    def unsaved(self) -> bool:
        """True if there is a result that is not stored yet."""
        return bool(self._pending)

    def keep(self) -> None:
        """Store all results so far, because the process is about to end."""
        with self._lock:
            if self._pending:
                self._write()

    def _write(self) -> None:
        began = time.monotonic()
        try:
            self._write_pending()
        finally:
            self._pace.record_write(time.monotonic() - began)

    def _write_pending(self) -> None:
        batch: Tuple[List[Any], Any] = (self._pending, self._random)
        try:
            content = pickle.dumps(batch, protocol=4)
        except Exception as error:  # noqa: BLE001 - a score may be any object of the script's own
            self._run.journal.warn(
                f"the candidates' results cannot be stored ({error}): a restart computes them again"
            )
            return
        try:
            os.makedirs(self._folder, exist_ok=True)
            atomic.write_atomic(self._path(), *atomic.seal(content))
        except OSError as error:
            self._run.journal.warn(checkpoint.describe_write_error(error))
            return
        self._written += 1
        self._pending = []
