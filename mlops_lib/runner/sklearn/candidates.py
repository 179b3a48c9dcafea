"""Cross-validation and parameter searches of scikit-learn: a candidate that was fitted and scored
is not fitted again.

scikit-learn hands its candidates to `joblib.Parallel`. Their results are kept as they come in, and
a restarted search is given those it had; only the rest is computed.
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
    """The import hooks for scikit-learn's own loops over candidates."""

    def loops(module: ModuleType) -> None:
        with run.journal.guard("patch sklearn candidates"):
            module.Parallel = _kept(run, module.Parallel)  # type: ignore[attr-defined]

    return {"sklearn.model_selection._search": loops, "sklearn.model_selection._validation": loops}


def _kept(run: Context, parallel_class: Any) -> Any:
    class Parallel(parallel_class):  # type: ignore[misc]
        """Computes what was not computed before."""

        def __call__(self, iterable: Any) -> Any:
            if run.nested != 1:
                return super().__call__(iterable)
            candidates = Candidates(run, _folder(run))
            tasks = list(iterable)
            known: List[Any] = []
            with run.journal.guard("load candidates"):
                known = candidates.load()[: len(tasks)]
            self.return_as = "generator"
            self.return_generator = True
            self.return_ordered = True
            results = list(known)
            with run.shutdown.waiting_for(candidates):
                for result in (
                    super().__call__(tasks[len(known) :]) if len(known) < len(tasks) else ()
                ):
                    results.append(result)
                    run.journal.progress("fit", step=len(results), steps=len(tasks))
                    with run.journal.guard("keep candidates"):
                        candidates.add(result, last=len(results) == len(tasks))
            return results

    Parallel.__name__ = Parallel.__qualname__ = parallel_class.__name__
    return Parallel


def _folder(run: Context) -> str:
    """Where the results of the loop that begins now are: a search's with its fit, a
    cross-validation's by themselves.
    """
    fit = run.estimator_fit
    if fit is None:
        run.loops += 1
        return run.loop_folder(run.loops)
    fit.loops += 1
    return os.path.join(run.fit_folder(fit.number), f"candidates-{fit.loops}")


class Candidates:
    """The results of one loop, in files of several each, written when that is within the budget."""

    def __init__(self, run: Context, folder: str) -> None:
        self._run = run
        self._folder = folder
        self._pending: List[Any] = []
        self._random: Any = None
        """The random state as the last pending result left it."""
        self._lock = threading.Lock()
        self._written = 0
        self._pace = checkpoint.Pace(run.spec.checkpoint_budget, 0.0)

    def load(self) -> List[Any]:
        """The results that are whole, up to the first that is not; the random state is put where
        the last left it.
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
        """Keep one more."""
        with self._lock:
            self._pending.append(result)
            self._random = rng.capture()
            if not last and self._pace.is_due():
                self._write()

    @property
    def unsaved(self) -> bool:
        """Whether there is a result that is not kept yet."""
        return bool(self._pending)

    def keep(self) -> None:
        """Keep all results so far: the process is about to end."""
        with self._lock:
            if self._pending:
                self._write()

    def _write(self) -> None:
        began = time.monotonic()
        try:
            self._write_pending()
        finally:
            self._pace.wrote(time.monotonic() - began)

    def _write_pending(self) -> None:
        kept: Tuple[List[Any], Any] = (self._pending, self._random)
        try:
            content = pickle.dumps(kept, protocol=4)
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
