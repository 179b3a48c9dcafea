"""How each project stood when people were last told, which is what makes the next outcome a change
or not.

`remember` after `notify`, never before: a program killed in between composes the same notification
again, and the ledger knows it; the other way round it would be lost.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from mlops_lib import atomic
from mlops_lib.records import RunResult, Verdict


def remember(
    name: str, outcome: Verdict | RunResult, *, home: Path, commit: str | None = None
) -> None:
    """Keep how the project stands now, and the commit at which it was accepted last."""
    kind = "verdict" if isinstance(outcome, Verdict) else "result"
    accepted = isinstance(outcome, Verdict) and outcome.verdict == "accepted"
    green = commit if accepted and commit else last_accepted(name, home=home)
    atomic.write_json(
        _place(name, home=home), {"name": name, kind: outcome.to_json(), "accepted_commit": green}
    )


def last_accepted(name: str, *, home: Path) -> str | None:
    """The commit at which the project was accepted last; None if it never was, or not in a
    checkout.
    """
    try:
        commit = atomic.read_json(_place(name, home=home))["accepted_commit"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return commit if isinstance(commit, str) else None


def recall(name: str, *, home: Path) -> Verdict | RunResult | None:
    """How the project stood when it was last remembered; None if never, or if that cannot be read."""
    try:
        kept = atomic.read_json(_place(name, home=home))
        if "verdict" in kept:
            return Verdict.from_json(kept["verdict"])
        return RunResult.from_json(kept["result"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _place(name: str, *, home: Path) -> Path:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return home / "notifications" / "states" / f"{digest}.json"
