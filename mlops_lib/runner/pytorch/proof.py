"""Proof of resume for the script's own loops: a digest of the state at a boundary."""

import hashlib
from typing import Any, Dict

from mlops_lib.runner.pytorch.graph import Table
from mlops_lib.runner.state import proof, rng


def digest(table: Table, local: Dict[str, Any]) -> str:
    """Return a digest of tensors, random states and whole numbers at a boundary.

    Args:
        table: the objects known since the loop's entry.
        local: the local variables of its frame.
    """
    sha = hashlib.sha256()
    sha.update(repr(table.checksums()).encode())
    state = rng.capture_python()
    sha.update(repr(state["python"]).encode())
    for name in ("numpy", "torch"):
        for part in state.get(name) or ():
            sha.update(part.tobytes() if hasattr(part, "tobytes") else repr(part).encode())
    # Only whole numbers: strings and floats of a script may hold times.
    numbers = sorted((name, value) for name, value in local.items() if type(value) in (int, bool))
    sha.update(repr(numbers).encode())
    return sha.hexdigest()


class LoopProof:
    """The digests of the loops of one run.

    Args:
        folder: the folder of the checkpoints.
        is_smaller: whether batches are computed in parts, which changes the numbers.
    """

    def __init__(self, folder: str, *, is_smaller: bool = False) -> None:
        self._proof = proof.Proof(folder, proof.conditions(more=is_smaller))
        self._at = ""
        self.refuted = self._proof.refuted
        self.refute = self._proof.refute
        self.forget_after = self._proof.forget_after

    def expect(self, number: int, path: str) -> None:
        """Let the next boundary of a loop, or of one around it, leave a digest."""
        self._at = path
        self._proof.expect(number)

    def arrive(self, number: int, path: str) -> None:
        """Let the next boundary be compared: this process begins at a checkpoint."""
        self._at = path
        self._proof.arrive(number)

    def concerns(self, path: str) -> bool:
        """Return whether a boundary of this loop is the awaited one."""
        return self._proof.is_awaited and (self._at + "/").startswith(path + "/")

    def show(self, path: str, n: int, digest_: str) -> bool:
        """Store the digest of a boundary, or compare it; return False if it differs."""
        return self._proof.show([path, n], digest_)
