"""Which folders are mlops' own, wherever they lie: a home, and the directory of a run.

None of them is part of a project, whose folder they may lie in: a run would copy itself into its own working directory, and
the project would be another one after each run. The runner has its own copy of this rule (runner/workdir.py).
"""

from __future__ import annotations

from collections.abc import Collection

HOME = ".mlops-home"
"""File that marks a home."""


def is_ours(names: Collection[str]) -> bool:
    """Whether a folder with these entries is one."""
    return HOME in names or ("spec.json" in names and "inside" in names)
