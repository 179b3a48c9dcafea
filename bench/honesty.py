"""What this project says of itself as an honest judge, counted: `python -m bench.honesty [SECTION
…]`.

Each section is a module `bench/honesty_<section>.py` that prints its counts, and ends with an exit
code other than 0 if a limit is not kept:

    aa          a search among candidates that differ by their seed alone, and the interval of a verdict
    leaks       the leak radar: what it finds, and how often it warns where nothing leaks
    champion    equal models swap the crown, better ones win it

Arguments after `--` are given to every section that is run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def sections() -> list[str]:
    """Return the sections there are."""
    return sorted(
        path.stem.removeprefix("honesty_") for path in Path(__file__).parent.glob("honesty_*.py")
    )


def main() -> int:
    """Run the sections asked for; return how many did not keep their limits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("section", nargs="*", choices=[[], *sections()], help="all unless given")
    own, further = sys.argv[1:], []
    if "--" in own:
        own, further = own[: own.index("--")], own[own.index("--") + 1 :]
    failed = 0
    for name in parser.parse_args(own).section or sections():
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"bench.honesty_{name}", *further]
        failed += subprocess.run(command, cwd=ROOT, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
