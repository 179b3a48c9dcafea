"""One entry of a marked loop, and the stack of the entries that are running.

A position in a script is the path of the running loops. Each part of the path is the loop's site
(file, line, column) and the number of the entry within the parent's iteration, so that the second
training loop of a function that is called twice has a path of its own.
"""

import collections
import contextlib
import operator
import time
import zlib
from typing import Any, Callable, Dict, List, Optional

from mlops_lib.runner.pytorch import graph


class Loop:
    """One entry of a loop.

    Attributes:
        n: the running iteration, from 0; -1 before the first.
        table: the objects at the entry, None if the loop is not checkpointed.
        shape: what `shape_of` returned at the entry.
        record: the snapshot of this iteration's top.
        done: records of the loops that ended in this iteration, by path.
        trained: whether an optimizer has stepped within this entry.
        leads: whether it did so within another loop of this one.
        order: a checksum of the indices that its items drew.
        over: whether its end was restored from a checkpoint.
        source: the iterable of a `for`, before its iterator was made.
        on_turn: called at the top of each iteration but the first, with its number.
    """

    def __init__(self, site: str, frame: Any, items: Any, path: str, depth: int) -> None:
        self.site = site
        self.frame = frame
        self.items = items
        self.source: Any = None
        self.on_turn: Optional[Callable[[int], None]] = None
        self.path = path
        self.depth = depth
        self.n = -1
        self.children: "collections.Counter[str]" = collections.Counter()
        self.table: Optional[graph.Table] = None
        self.shape: Any = None
        self.record: Optional[Dict[str, Any]] = None
        self.done: Dict[str, Dict[str, Any]] = {}
        self.trained = False
        self.leads = False
        self.order = 0
        self.over = False
        self.line = int(site.split(":")[-2]) if site else 0
        self.evaluations = 0
        self.began = self.turned = time.monotonic()
        self.iteration_s = 0.0


class LoopStack:
    """The running loops, outermost first, and the facts known of each site.

    Args:
        on_empty: called when the outermost loop was left.

    Attributes:
        root: stands for the script itself; its `done` holds the outermost loops that ended.
        trained_sites: sites in which an optimizer has stepped.
        leading_sites: sites of loops around those.
        untrained_sites: sites of loops that were left without any step.
        durations: seconds of the last entry of each site.
    """

    def __init__(self, on_empty: Callable[[], None]) -> None:
        self.root = Loop("", None, None, "", -1)
        self.running: List[Loop] = []
        self.trained_sites: "set[str]" = set()
        self.leading_sites: "set[str]" = set()
        self.untrained_sites: "set[str]" = set()
        self.durations: Dict[str, float] = {}
        self._on_empty = on_empty

    def push(self, site: str, frame: Any, items: Any) -> Loop:
        """Begin an entry of the loop at `site`; drop loops whose frames have ended."""
        # `leave` ignores calls while the runner itself works (`run.nested`), so a loop may still
        # stand here although its frame has ended.
        while self.running and not _is_running(self.running[-1].frame, frame):
            self.pop()
        parent = self.running[-1] if self.running else self.root
        number = parent.children[site]
        # The n-th entry within this iteration of the parent; the counter is cleared at each top.
        parent.children[site] += 1
        loop = Loop(site, frame, items, f"{parent.path}/{site}#{number}", len(self.running))
        self.running.append(loop)
        return loop

    def pop(self) -> None:
        """End the innermost loop."""
        loop = self.running.pop()
        if loop.n >= 0:
            self.durations[loop.site] = time.monotonic() - loop.began
            if loop.site in self.trained_sites:
                self.untrained_sites.discard(loop.site)
            else:
                self.untrained_sites.add(loop.site)
        if not self.running:
            self._on_empty()
        # The frame, and with it the script's objects, must not live longer than the script lets it.
        loop.frame = loop.table = loop.items = None

    def parent(self, loop: Loop) -> Loop:
        """Return the loop around the innermost one; the root if there is none."""
        return self.running[-2] if loop.depth else self.root

    @property
    def is_reachable(self) -> bool:
        """Return whether a restart can reach the innermost loop.

        Each loop around it is at its first iteration, or has a record of the present one.
        """
        return all(loop.n == 0 or loop.record is not None for loop in self.running[:-1])

    def note_step(self) -> None:
        """Note that an optimizer has stepped in the running loops."""
        for loop in self.running:
            if not loop.trained:
                loop.trained = True
                self.trained_sites.add(loop.site)
        for loop in self.running[:-1]:
            if not loop.leads:
                loop.leads = True
                self.leading_sites.add(loop.site)


class Drawing:
    """Adds the indices drawn for a loop to its checksum."""

    __slots__ = ("_loop",)

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def __call__(self, representation: bytes) -> None:
        self._loop.order = zlib.crc32(representation, self._loop.order)


def _is_running(frame: Any, at: Any) -> bool:
    """Return whether `frame` is `at` or one of its callers."""
    while at is not None:
        if at is frame:
            return True
        at = at.f_back
    return False


def shape_of(loop: Loop) -> Any:
    """Return a summary of a loop's items and of the whole numbers around it.

    A script that resumes from a checkpoint of its own has another start or count; the runner's
    snapshot does not fit there.
    """
    items = loop.items
    summary = type(items).__name__
    if isinstance(items, type(iter(range(0)))):
        summary = repr(items.__reduce__()[1])
    else:
        with contextlib.suppress(TypeError):
            summary += str(operator.length_hint(items))
    local = loop.frame.f_locals
    if local is loop.frame.f_globals:
        local = {}
    numbers = sorted((k, v) for k, v in local.items() if type(v) in (int, bool))
    return summary, repr(numbers)
