"""Fork runners from a process that has imported their framework already.

The import takes longer than most scripts. Orders are lines of JSON on stdin; the answers are the
child's process id, then its exit code (negative: the signal). The child is a runner like any other:
`python -m mlops_lib.runner` with its own environment.
"""

import importlib
import json
import os
import sys


def main() -> None:
    """Serve until stdin ends."""
    for name in filter(None, os.environ["PRELOAD"].split(",")):
        importlib.import_module(name)
    answer("ready")
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            run(order)
        answer(child)
        answer(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def answer(value: object) -> None:
    """Write one line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def run(order: dict) -> None:
    """Run as the runner."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(order["environment"])
    from mlops_lib.runner import __main__ as runner

    code = 70
    try:
        code = runner.main(order["arguments"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
