"""Proof of resume for the script's own loops: what the top of an iteration looks like."""

import hashlib
from typing import Any, Dict

from mlops_lib.runner.pytorch.graph import Table
from mlops_lib.runner.state import proof, rng


def digest(table: Table, local: Dict[str, Any]) -> str:
    """Return a digest of the tensors, the random states and the whole numbers at a boundary.

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


class LoopProof:
    """The digests of the loops of one run.

    Args:
        folder: where the checkpoints are.
        is_smaller: whether batches are computed in parts, which gives other numbers.
    """

    def __init__(self, folder: str, *, is_smaller: bool = False) -> None:
        self._proof = proof.Proof(folder, proof.conditions(more=is_smaller))
        self._at = ""
        self.refuted = self._proof.refuted
        self.refute = self._proof.refute

    def expect(self, number: int, path: str) -> None:
        """Let the next boundary of a loop, or of one around it, leave a digest."""
        self._at = path
        self._proof.expect(number)

    def arrive(self, number: int, path: str) -> None:
        """Let the next boundary be compared: this process begins at a checkpoint."""
        self._at = path
        self._proof.arrive(number)

    def concerns(self, path: str) -> bool:
        """Return whether a boundary of this loop is the one that is awaited."""
        return self._proof.is_awaited and (self._at + "/").startswith(path + "/")

    def show(self, path: str, n: int, digest_: str) -> bool:
        """Keep the digest of a boundary, or compare it; return whether it is what it was."""
        return self._proof.show([path, n], digest_)
