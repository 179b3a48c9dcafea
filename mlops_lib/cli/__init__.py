"""The `mlops` command: one verb a stage. Results on stdout, everything else on stderr.

Exit codes: 0 answered, and accepted where a verdict is asked for · 1 our own bug · 2 bad
configuration or usage · 3 detection · 4 image · 5 the training failed · 6 rejected · 7 engine · 8
search · 9 notification · 10 undecided.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any

from mlops_lib import config
from mlops_lib.cli import lists, stages
from mlops_lib.cli.answers import WRONG, bug, closed_output, failed, interrupted
from mlops_lib.cli.grammar import parse
from mlops_lib.cli.verbs import OPTIONS, PIPELINE, WITHOUT_PROJECT
from mlops_lib.errors import MlopsError, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    given = parse(sys.argv[1:] if arguments is None else arguments)
    as_json = given.pop("json")
    if "MLOPS_BUILD" in os.environ:
        return _noted(given, as_json=as_json)
    return _main(given, as_json=as_json)


def _noted(given: dict[str, Any], *, as_json: bool) -> int:
    """A build server's stage: how it ended is kept for the build's test report."""
    import time

    from mlops_lib.ci import builds

    verb = given["verb"]
    began = time.monotonic()
    WRONG.clear()
    code = _main(given, as_json=as_json)
    builds.note(verb, exit_code=code, seconds=time.monotonic() - began, what="; ".join(WRONG))
    return code


def _main(given: dict[str, Any], *, as_json: bool) -> int:
    try:
        return _dispatch(given, as_json=as_json)
    except MlopsError as error:
        return failed(error, as_json=as_json)
    except KeyboardInterrupt:
        sys.stderr.write("mlops: interrupted; what was done is kept\n")
        return interrupted()
    except BrokenPipeError:  # nobody reads the progress; the run is kept
        closed_output()
        return BROKEN_PIPE
    except OSError as error:
        if error.errno not in MACHINE:
            return bug(as_json=as_json)
        return failed(_machine_error(error), as_json=as_json)
    except Exception:  # noqa: BLE001 - the last resort: a bug of ours, reported as one
        return bug(as_json=as_json)


BROKEN_PIPE = 128 + 13
"""What a shell says of a program that SIGPIPE ended."""
MACHINE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
}
"""What the machine refuses is no bug of ours."""


def _machine_error(error: OSError) -> MlopsError:
    return UsageError(
        f"the machine refuses: {error.strerror}",
        where=str(error.filename or ""),
        remedy="Make room or mend the permissions there and start again: the run goes on.",
    )


def _dispatch(given: dict[str, Any], *, as_json: bool) -> int:
    verb = given.pop("verb")
    merged = {**_parameters(), **{key: value for key, value in given.items() if value is not None}}
    project = merged.pop("project", None)
    options = {key: merged.pop(key) for key in list(merged) if key in OPTIONS}
    for key in PIPELINE:
        merged.pop(key, None)
    unknown = [key for key in merged if key not in config.KNOWN]
    if unknown:
        raise config.unknown(unknown[0], where="argument", also=PIPELINE)
    if (
        verb not in WITHOUT_PROJECT | {"config", "watch"}
        and not project
        and not options.get("test")
    ):
        raise UsageError("no project given", where=f"mlops {verb}", remedy=f"mlops {verb} PROJECT")
    handler = stages.HANDLERS.get(verb) or lists.HANDLERS[verb]
    return handler(project, merged, options, as_json)


def _parameters() -> dict[str, Any]:
    return {
        key.replace("-", "_"): value
        for key, value in config.parameters().items()
        if value not in (None, "")
    }
