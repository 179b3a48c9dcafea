"""What holds: the attacks of the test suite, counted by barrier.

`python -m bench.attack [-k WORDS] [--no-docker]` runs all tests that are marked `attack`, prints a
line for each barrier (a file of tests) and "held N of N", and ends with 1 if one did not hold. A
test that cannot run here is no test that
holds: it is counted apart.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Barrier:
    """The attacks of one file."""

    path: Path
    outcomes: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What the file says it is about."""
        said = ast.get_docstring(ast.parse(self.path.read_text())) or self.path.stem
        return said.split("\n\n")[0].replace("\n", " ")

    def line(self) -> str:
        """The barrier in one line."""
        count = self.outcomes["passed"] + self.outcomes["failed"]
        skipped = (
            f", {self.outcomes['skipped']} cannot run here" if self.outcomes["skipped"] else ""
        )
        return f"{self.outcomes['passed']:4} of {count:<4} {self.title}  [{self.path.relative_to(ROOT)}{skipped}]"


class Counting:
    """Counts outcomes as pytest reports them."""

    def __init__(self) -> None:
        self.barriers: dict[str, Barrier] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of one test: its call, or a setup that failed or skipped."""
        if report.when != "call" and report.outcome == "passed":
            return
        path = report.nodeid.partition("::")[0]
        barrier = self.barriers.setdefault(path, Barrier(ROOT / path))
        barrier.outcomes[report.outcome] += 1
        if report.outcome == "failed":
            barrier.broken.append(report.nodeid)


def main() -> int:
    """Run the attacks and count what holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "-k", dest="words", default="", help="only attacks whose names match, as pytest's -k"
    )
    parser.add_argument(
        "--no-docker", action="store_true", help="leave out what needs a container engine"
    )
    options = parser.parse_args()
    marked = "attack and not docker" if options.no_docker else "attack"
    counting = Counting()
    words = ["-k", options.words] if options.words else []
    code = pytest.main(
        [
            "-q",
            "-m",
            marked,
            *words,
            "--continue-on-collection-errors",
            "--rootdir",
            str(ROOT),
            str(ROOT / "tests"),
        ],
        plugins=[counting],
    )
    total: Counter[str] = Counter()
    print()
    for barrier in sorted(counting.barriers.values(), key=lambda one: one.path):
        print(barrier.line())
        total.update(barrier.outcomes)
    for barrier in counting.barriers.values():
        for name in barrier.broken:
            print(f"BROKEN {name}")
    print(f"held {total['passed']} of {total['passed'] + total['failed']}")
    return 0 if code == pytest.ExitCode.OK else 1


if __name__ == "__main__":
    sys.exit(main())
