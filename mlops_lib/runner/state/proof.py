"""Proof of resume: the first boundary after a restart repeats the one before.

After each checkpoint, a digest of the state is stored at the next boundary of the training (the top
of a loop, the end of a step or of a boosting round). A process that begins at the checkpoint comes
to the same boundary, and its digest must be the same. If it is not, the checkpoint is refuted: the
generation before is tried, then the beginning.

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
    """Return a digest of everything that affects a computation besides its inputs.

    Args:
        libraries: the modules that compute; their versions count.
        more: any other condition.
    """
    versions = [str(getattr(sys.modules.get(name), "__version__", "")) for name in libraries]
    threads = [os.environ.get(name, "") for name in THREADS]
    factors = [*_processor(), len(os.sched_getaffinity(0)), threads, versions, more]
    return hashlib.sha256(repr(factors).encode()).hexdigest()[:16]


def _processor() -> List[str]:
    """Return the name of the processor type and its instruction sets."""
    properties = {"model name": platform.processor(), "flags": "", "Features": ""}
    try:
        with open("/proc/cpuinfo") as stream:
            for line in stream:
                name, _, value = line.partition(":")
                if not line.strip():
                    break  # all processors are of one type
                if name.strip() in properties:
                    properties[name.strip()] = value.strip()
    except OSError:
        pass
    return [platform.machine(), *properties.values()]


def load(store: checkpoint.Store, journal: Journal, fit: int) -> Optional[Dict[str, Any]]:
    """Return the newest state of a fit that was not refuted, or None.

    Args:
        store: the fit's checkpoints.
        journal: gets a warning if all of them were refuted.
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
        folder: the folder of the checkpoints.
        conditions: those of this process; see `conditions`.
    """

    def __init__(self, folder: str, conditions: str) -> None:
        folder = os.path.join(folder, "proof")  # the store sweeps its own folder while it writes
        self._path = os.path.join(folder, "digests.json")
        self._refuted_path = os.path.join(folder, "refuted.json")
        self._conditions = conditions
        self._number = 0
        self._expected: Optional[Dict[str, Any]] = None
        self.is_awaited = False
        """True if the next boundary shows or keeps a digest."""
        self.proven = 0
        """Number of restarts that this process has proven: one or none."""

    def expect(self, number: int) -> None:
        """Expect a digest at the next boundary, after a checkpoint was taken.

        The checkpoint that this process began at is proven first.

        Args:
            number: names the checkpoint.
        """
        if self.is_comparing:
            return
        self._number = number
        self._expected = None
        self.is_awaited = True

    @property
    def is_comparing(self) -> bool:
        """Return whether the next boundary will be compared with a stored digest."""
        return self.is_awaited and self._expected is not None

    def arrive(self, number: int) -> None:
        """Compare the next boundary with the digest of the checkpoint it resumes from.

        Args:
            number: names the checkpoint.
        """
        self.expect(number)
        self.forget_after(number)
        stored = self._read().get(str(number))
        is_comparable = isinstance(stored, dict) and stored.get("conditions") == self._conditions
        self._expected = stored if is_comparable else None

    def forget_after(self, number: int) -> None:
        """Drop the digests of later checkpoints, whose numbers this process gives again.

        The digest of a checkpoint may be stored before the checkpoint itself: a process that is
        killed in between leaves a digest without one. The next checkpoint of that number may be of
        another boundary.

        Args:
            number: the checkpoint that this process begins at; 0 if it begins anew.
        """
        digests = self._read()
        valid = {key: digest for key, digest in digests.items() if int(key) <= number}
        if len(valid) != len(digests):
            atomic.write_json(self._path, valid, lasting=False)

    def show(self, place: Any, digest: str) -> bool:
        """Store or compare the digest of a boundary; return whether it is unchanged.

        Args:
            place: names the boundary, as JSON values.
            digest: of the training's state there.
        """
        self.is_awaited = False
        current = {"place": place, "digest": digest, "conditions": self._conditions}
        if self._expected is not None:
            self.proven += 1
            return self._expected == current
        digests = {**self._read(), str(self._number): current}
        newest = sorted(digests, key=int)[-KEPT:]
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        atomic.write_json(self._path, {number: digests[number] for number in newest}, lasting=False)
        return True

    def _read(self) -> Dict[str, Any]:
        content = atomic.read_json(self._path)
        return content if isinstance(content, dict) else {}

    def refuted(self) -> List[int]:
        """Return the numbers of the refuted checkpoints."""
        content = atomic.read_json(self._refuted_path)
        return [int(number) for number in content] if isinstance(content, list) else []

    def stands(self, journal: Journal, fit: int) -> bool:
        """Return whether a difference refutes the checkpoint; warn if it does not.

        Two checkpoints in a row that seem wrong belong to a training that does not repeat itself.
        Starting
        from the beginning after each kill would lose the whole training, for no better a result.

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
        """Keep every process from beginning at these checkpoints."""
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        atomic.write_json(self._refuted_path, sorted({*self.refuted(), *numbers}))
