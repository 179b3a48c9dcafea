"""The `mlops` command: one verb for each stage.

Results go to stdout, everything else to stderr.

Exit codes: 0 success, and accepted if there is a verdict · 1 internal error · 2 bad configuration
or usage · 3 detection · 4 image · 5 the training failed · 6 rejected · 7 engine · 8 search ·
9 notification · 10 undecided.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any, cast

from mlops_lib import config
from mlops_lib.cli import lists, stages
from mlops_lib.cli.answers import (
    ERRORS,
    discard_output,
    interrupted_exit_code,
    report_error,
    report_internal_error,
)
from mlops_lib.cli.command import Command, Options
from mlops_lib.cli.grammar import parse
from mlops_lib.cli.verbs import OPTIONS, PIPELINE, WITHOUT_PROJECT
from mlops_lib.errors import MlopsError, UsageError
from mlops_lib.settings_arguments import SettingsArguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    arguments_by_name = parse(sys.argv[1:] if arguments is None else arguments)
    as_json = arguments_by_name.pop("json")
    if "MLOPS_BUILD" in os.environ:
        return _main_in_build(arguments_by_name, as_json=as_json)
    return _main(arguments_by_name, as_json=as_json)


def _main_in_build(arguments: dict[str, Any], *, as_json: bool) -> int:
    """Run a stage of a build; its outcome is recorded for the build's test report."""
    import time

    from mlops_lib.ci import builds

    verb = arguments["verb"]
    began = time.monotonic()
    ERRORS.clear()
    code = _main(arguments, as_json=as_json)
    builds.record_stage(
        verb, exit_code=code, seconds=time.monotonic() - began, what="; ".join(ERRORS)
    )
    return code


def _main(arguments: dict[str, Any], *, as_json: bool) -> int:
    try:
        return _dispatch(arguments, as_json=as_json)
    except MlopsError as error:
        return report_error(error, as_json=as_json)
    except KeyboardInterrupt:
        sys.stderr.write("mlops: interrupted; finished work is kept\n")
        return interrupted_exit_code()
    except BrokenPipeError:  # the reader of stderr has gone; the run is kept
        discard_output()
        return BROKEN_PIPE
    except OSError as error:
        if error.errno not in ENVIRONMENT_ERRORS:
            return report_internal_error(as_json=as_json)
        return report_error(_operating_system_error(error), as_json=as_json)
    except Exception:  # noqa: BLE001 - the last resort: every other exception is our own fault
        return report_internal_error(as_json=as_json)


BROKEN_PIPE = 128 + 13
"""Exit code that a shell reports for a program that SIGPIPE ended."""
ENVIRONMENT_ERRORS = {
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
"""Operating system errors that the user can remedy, so that they are not internal errors."""


def _operating_system_error(error: OSError) -> MlopsError:
    return UsageError(
        f"operating system error: {error.strerror}",
        where=str(error.filename or ""),
        remedy="Free disk space or fix the file permissions, then start again: the run continues.",
    )


def _dispatch(arguments: dict[str, Any], *, as_json: bool) -> int:
    command = _command(arguments, as_json=as_json)
    handler = stages.HANDLERS.get(command.verb) or lists.HANDLERS[command.verb]
    return handler(command)


def _command(arguments: dict[str, Any], *, as_json: bool) -> Command:
    """Return the command made of the arguments and MLOPS_PARAMS; arguments win.

    Raises:
        UsageError: a setting is unknown, or no project is given.
    """
    verb = arguments.pop("verb")
    merged = {
        **_parameters(),
        **{key: value for key, value in arguments.items() if value is not None},
    }
    project = merged.pop("project", None) or ""
    options = {key: merged.pop(key) for key in list(merged) if key in OPTIONS}
    # The Jenkins pipeline has used these itself; they are neither settings nor misspelt.
    for key in PIPELINE:
        merged.pop(key, None)
    unknown = [key for key in merged if key not in config.KNOWN]
    if unknown:
        raise config.unknown(unknown[0], where="argument", also=PIPELINE)
    # `config` and `watch` take a project, but work without one too.
    needs_project = verb not in WITHOUT_PROJECT | {"config", "watch"}
    if needs_project and not project and not options.get("test"):
        raise UsageError("no project given", where=f"mlops {verb}", remedy=f"mlops {verb} PROJECT")
    return Command(
        verb=verb,
        project=project,
        settings=cast("SettingsArguments", merged),
        options=cast("Options", options),
        as_json=as_json,
    )


def _parameters() -> dict[str, Any]:
    return {
        key.replace("-", "_"): value
        for key, value in config.parameters().items()
        if value not in (None, "")
    }
