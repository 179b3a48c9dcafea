"""Proof of resume: the first boundary after a restart must be what it was before.

After each checkpoint, the next boundary of the loop leaves a digest of the tensors, the random
states and the whole numbers there. A process that begins at the checkpoint comes to the same
boundary, and must find the same digest. If it does not, the checkpoint is refuted: the generation
before is tried, then the beginning.
"""

import hashlib
import os
from typing import Any, Dict, List, Optional

from mlops_lib.runner.pytorch.graph import Table
from mlops_lib.runner.state import atomic, rng

KEPT = 2
"""Digests that are kept: one for each generation."""


def digest(table: Table, local: Dict[str, Any]) -> str:
    """A digest of what a boundary looks like.

    Args:
        table: the objects known since the loop's entry.
        local: the local variables of its frame.
    """
    whole = hashlib.sha256()
    whole.update(repr(table.checksums()).encode())
    state = rng.capture_python()
    whole.update(repr(state["python"]).encode())
    for name in ("numpy", "torch"):
        for one in state.get(name) or ():
            whole.update(one.tobytes() if hasattr(one, "tobytes") else repr(one).encode())
    numbers = sorted((name, value) for name, value in local.items() if type(value) in (int, bool))
    whole.update(repr(numbers).encode())
    return whole.hexdigest()


class Proof:
    """The digests of one run.

    Args:
        folder: where they are.
        is_smaller: whether batches are computed in parts, which gives other numbers.
    """

    def __init__(self, folder: str, *, is_smaller: bool = False) -> None:
        folder = os.path.join(folder, "proof")  # the store sweeps its own folder while it writes
        self._path = os.path.join(folder, "digests.json")
        self._refuted_path = os.path.join(folder, "refuted.json")
        self._is_smaller = is_smaller
        self._number = 0
        self._at = ""
        self._known: Optional[Dict[str, Any]] = None
        self.is_awaited = False
        """Whether the next boundary shows or keeps a digest."""
        self.proven = 0
        """How many restarts of this process were proven: one or none."""

    def expect(self, number: int, path: str) -> None:
        """A checkpoint was taken: the next boundary of its loop, or of one around it, leaves a
        digest.
        """
        self._number = number
        self._at = path
        self._known = None
        self.is_awaited = True

    def arrived(self, number: int, path: str) -> None:
        """This process begins at a checkpoint: the next boundary is compared, if there is what to
        compare it with.
        """
        self.expect(number, path)
        known = self._read().get(str(number))
        is_comparable = known is not None and known.get("smaller", False) == self._is_smaller
        self._known = known if is_comparable else None

    def concerns(self, path: str) -> bool:
        """Whether a boundary of this loop is the one that is awaited."""
        return self.is_awaited and (self._at + "/").startswith(path + "/")

    def show(self, path: str, n: int, digest_: str) -> bool:
        """Keep the digest of a boundary, or compare it: whether it is what it was."""
        self.is_awaited = False
        found = {"path": path, "n": n, "digest": digest_, "smaller": self._is_smaller}
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
        """The checkpoints that were found to be wrong."""
        known = atomic.read_json(self._refuted_path)
        return [int(one) for one in known] if isinstance(known, list) else []

    def refute(self, *numbers: int) -> None:
        """No process begins at these checkpoints any more."""
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        atomic.write_json(self._refuted_path, sorted({*self.refuted(), *numbers}))
