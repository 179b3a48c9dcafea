"""A parsed command: what every handler of a verb receives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

from mlops_lib.settings_arguments import SettingsArguments


class Options(TypedDict, total=False):
    """Options of single verbs, as arguments and as keys of MLOPS_PARAMS.

    They are no settings.
    """

    until_done: bool
    artifacts: str
    print_dockerfile: bool
    test: bool
    open: bool
    markdown: bool
    tensorboard: str
    runs: list[str]
    state: str
    action: str
    model: str
    version: str
    alias: str
    shell: str
    keep: int
    quiet: bool
    with_code: bool
    prune: bool
    sarif: bool


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command, checked: a known verb, with settings that `config.resolve` knows."""

    verb: str
    project: str = ""
    """The project or run; "" if none is given, which only some verbs allow."""
    settings: SettingsArguments
    options: Options
    as_json: bool = False


Handler = Callable[[Command], int]
"""Executes a command, writes its answer to stdout and returns the exit code."""
