"""Detect a search whose trials all fail alike.

The cause is then not in the change that a trial makes.
"""

import re
from typing import Any, Iterable, List, Mapping

SAME_FAILURES = 3
"""So many trials that fail by one cause, and none that does not, are enough to stop a search."""
_VARIABLE = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)?|'[^']*'|\"[^\"]*\"|\([^()]*\)")
"""The parts in which two messages of one cause differ: numbers, addresses, quotations, settings."""


def common_failure(trials: Iterable[Mapping[str, Any]]) -> str:
    """Return the message with which all trials so far have failed, or "".

    Args:
        trials: the records of the trials in order; number 0, the script as written, does not count.

    Example:
        >>> messages = ["no 1", "no 2", "no 3"]
        >>> common_failure({"state": "failed", "message": message} for message in messages)
        'no 3'
    """
    changed_trials: List[Mapping[str, Any]] = [
        trial for trial in trials if trial.get("number") != 0
    ]
    messages = [
        str(trial.get("message", "")) for trial in changed_trials if trial.get("state") == "failed"
    ]
    # One trial that trains shows that the script and its data can be searched.
    if len(messages) < SAME_FAILURES or len(messages) < len(changed_trials):
        return ""
    return messages[-1] if len({_VARIABLE.sub("…", message) for message in messages}) == 1 else ""


def explanation(message: str) -> str:
    """Return the note that a search leaves when it stops because of `common_failure`."""
    return f"the search stopped: every trial failed for the same reason, {message}"
