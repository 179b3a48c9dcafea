"""Digests of checkpoints: which of them a resumed process compares with."""

from __future__ import annotations

from pathlib import Path

from mlops_lib.runner.state.proof import Proof


def proof(folder: Path) -> Proof:
    return Proof(str(folder), "one machine")


def test_a_digest_is_compared_by_the_process_that_begins_at_its_checkpoint(tmp_path: Path) -> None:
    first = proof(tmp_path)
    first.expect(2)
    assert first.show(["loop", 5], "digest")
    resumed = proof(tmp_path)
    resumed.arrive(2)
    assert resumed.is_comparing
    assert not resumed.show(["loop", 5], "another digest")


def test_a_digest_of_a_checkpoint_that_never_became_durable_is_dropped(tmp_path: Path) -> None:
    """A process was killed after the digest of checkpoint 3, before its writer had written it."""
    first = proof(tmp_path)
    for number in (2, 3):
        first.expect(number)
        first.show(["loop", number], "digest")
    second = proof(tmp_path)
    second.arrive(2)
    assert second.show(["loop", 2], "digest")
    second.expect(3)  # at another boundary: its pace differs
    third = proof(tmp_path)
    third.arrive(3)
    assert not third.is_comparing
