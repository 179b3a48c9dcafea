"""The last outcome of each project that people were notified of.

The next outcome is news if it differs. Call `remember` after `notify`, never before: a program that
is killed in between composes the same notification again, and the outbox recognizes it. In the
other order the message would be lost.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from mlops_lib import atomic
from mlops_lib.records import RunResult, Verdict


def remember(
    name: str, outcome: Verdict | RunResult, *, home: Path, commit: str | None = None
) -> None:
    """Store a project's outcome, and its commit if it was accepted."""
    kind = "verdict" if isinstance(outcome, Verdict) else "result"
    accepted = isinstance(outcome, Verdict) and outcome.verdict == "accepted"
    green = commit if accepted and commit else last_accepted(name, home=home)
    atomic.write_json(
        _place(name, home=home), {"name": name, kind: outcome.to_json(), "accepted_commit": green}
    )


def last_accepted(name: str, *, home: Path) -> str | None:
    """Return the commit at which the project was last accepted, or None."""
    try:
        commit = atomic.read_json(_place(name, home=home))["accepted_commit"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return commit if isinstance(commit, str) else None


def recall(name: str, *, home: Path) -> Verdict | RunResult | None:
    """Return a project's stored outcome, or None if it is missing or unreadable."""
    try:
        record = atomic.read_json(_place(name, home=home))
        if "verdict" in record:
            return Verdict.from_json(record["verdict"])
        return RunResult.from_json(record["result"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _place(name: str, *, home: Path) -> Path:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return home / "notifications" / "states" / f"{digest}.json"
