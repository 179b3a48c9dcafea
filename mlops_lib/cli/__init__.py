"""The `mlops` command: one verb for each stage.

Results go to stdout, everything else to stderr.

Exit codes: 0 success, and accepted if there is a verdict · 1 internal error · 2 bad configuration
or usage · 3 detection · 4 image · 5 the training failed · 6 rejected · 7 engine · 8 search · 9
notification · 10 undecided.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    # `mlops detect` answers before the other verbs have loaded.
    from mlops_lib.cli.dispatch import main as dispatch

    return dispatch(arguments)
