"""Proof of resume: the first boundary after a restart must be what it was before.

After each checkpoint, the next boundary of the training (the top of a loop, the end of a step or of
a boosting round) leaves a digest of what it looks like. A process that begins at the checkpoint
comes to the same boundary, and must find the same digest. If it does not, the checkpoint is refuted:
the generation before is tried, then the beginning.

Numbers repeat to the bit only on the same processor type and with as many threads: a digest that
was made under other conditions proves nothing, and is not compared.
"""

import hashlib
import os
import platform
import sys
from typing import Any, Dict, List, Optional

from mlops_lib.runner.journal import Journal
from mlops_lib.runner.state import atomic, checkpoint

KEPT = 2
"""Digests that are kept: one for each generation."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


def conditions(*libraries: str, more: Any = None) -> str:
    """Return what a computation depends on besides its inputs, as a digest.

    Args:
        libraries: the modules that compute; their versions count.
        more: anything else.
    """
    versions = [str(getattr(sys.modules.get(name), "__version__", "")) for name in libraries]
    threads = [os.environ.get(name, "") for name in THREADS]
    known = [*_processor(), len(os.sched_getaffinity(0)), threads, versions, more]
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def _processor() -> List[str]:
    """Return what names the processor type, with the instructions that it has."""
    found = {"model name": platform.processor(), "flags": "", "Features": ""}
    try:
        with open("/proc/cpuinfo") as stream:
            for line in stream:
                name, _, value = line.partition(":")
                if not line.strip():
                    break  # all processors are of one type
                if name.strip() in found:
                    found[name.strip()] = value.strip()
    except OSError:
        pass
    return [platform.machine(), *found.values()]


def load(store: checkpoint.Store, journal: Journal, fit: int) -> Optional[Dict[str, Any]]:
    """Return the newest state of a fit that was not found to be wrong, None if there is none.

    Args:
        store: the fit's checkpoints.
        journal: is warned if there was one that was found to be wrong.
        fit: its number.
    """
    refuted = Proof(store.folder, "").refuted()
    state = store.load(refuted)
    if refuted and state is None:
        journal.warn(
            f"no checkpoint of fit {fit} could be proven: it is trained from its beginning"
        )
    return state


def rounded(value: Any) -> Any:
    """Return a number, or lists of numbers, to four digits.

    Sums that threads add up in another order differ in the last of a number's digits. Another batch,
    or other weights, differ in the first ones.

    Example:
        >>> rounded([0.123456, [1234567.0]])
        [0.1235, [1235000.0]]
    """
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


class Proof:
    """The digests of one training.

    Args:
        folder: where the checkpoints are.
        conditions: those of this process; see `conditions`.
    """

    def __init__(self, folder: str, conditions: str) -> None:
        folder = os.path.join(folder, "proof")  # the store sweeps its own folder while it writes
        self._path = os.path.join(folder, "digests.json")
        self._refuted_path = os.path.join(folder, "refuted.json")
        self._conditions = conditions
        self._number = 0
        self._known: Optional[Dict[str, Any]] = None
        self.is_awaited = False
        """True if the next boundary shows or keeps a digest."""
        self.proven = 0
        """How many restarts of this process were proven: one or none."""

    def expect(self, number: int) -> None:
        """Let the next boundary leave its digest: a checkpoint was taken.

        The one that this process began at is proven first.

        Args:
            number: names the checkpoint.
        """
        if self.is_comparing:
            return
        self._number = number
        self._known = None
        self.is_awaited = True

    @property
    def is_comparing(self) -> bool:
        """Return whether the next boundary shows if this process goes on as before."""
        return self.is_awaited and self._known is not None

    def arrive(self, number: int) -> None:
        """Let the next boundary be compared, if there is a digest: this process begins at a
        checkpoint.
        """
        self.expect(number)
        known = self._read().get(str(number))
        is_comparable = isinstance(known, dict) and known.get("conditions") == self._conditions
        self._known = known if is_comparable else None

    def show(self, place: Any, digest: str) -> bool:
        """Keep the digest of a boundary, or compare it; return whether it is what it was.

        Args:
            place: names the boundary, as JSON values.
            digest: of what it looks like.
        """
        self.is_awaited = False
        found = {"place": place, "digest": digest, "conditions": self._conditions}
        if self._known is not None:
            self.proven += 1
            return self._known == found
        known = {**self._read(), str(self._number): found}
        kept = sorted(known, key=int)[-KEPT:]
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        atomic.write_json(self._path, {number: known[number] for number in kept}, lasting=False)
        return True

    def _read(self) -> Dict[str, Any]:
        known = atomic.read_json(self._path)
        return known if isinstance(known, dict) else {}

    def refuted(self) -> List[int]:
        """Return the checkpoints that were found to be wrong."""
        known = atomic.read_json(self._refuted_path)
        return [int(one) for one in known] if isinstance(known, list) else []

    def stands(self, journal: Journal, fit: int) -> bool:
        """Return whether a difference still counts, with a warning if it does not.

        Two checkpoints in a row that seem wrong are a training that does not repeat itself. To begin
        anew after each kill would lose all that was trained, for no better a result.

        Args:
            journal: gets the warning.
            fit: the number of the fit.
        """
        if not self.refuted():
            return True
        journal.warn(
            f"fit {fit} does not repeat itself, also after an older checkpoint: it goes on from there,"
            " unproven"
        )
        return False

    def refute(self, *numbers: int) -> None:
        """Let no process begin at these checkpoints any more."""
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        atomic.write_json(self._refuted_path, sorted({*self.refuted(), *numbers}))
