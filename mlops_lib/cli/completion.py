"""Completion scripts for shells, which shtab generates from the command's own parser.

They are static text: completing a word starts no process.
"""

from __future__ import annotations

import argparse

from mlops_lib.cli import grammar
from mlops_lib.cli.verbs import VERBS
from mlops_lib.errors import UsageError

SHELLS = ("bash", "zsh", "fish")
PATHS = {"project", "runs", "artifacts", "tensorboard", "run_dir", "home"}
"""Arguments that name files or folders."""


def script(shell: str) -> str:
    """Return the script for a shell to source.

    Raises:
        UsageError: the shell is not supported.
    """
    import shtab

    if shell not in SHELLS:
        raise UsageError(
            f"no completion for {shell!r}",
            where="mlops completion",
            remedy=f"Give one of {', '.join(SHELLS)}.",
        )
    parser = grammar.parser(list(VERBS))
    for action in _actions(parser):
        if action.dest in PATHS:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the arguments of a parser and of the parsers of its verbs."""
    actions = []
    for action in parser._actions:
        actions.append(action)
        if isinstance(action, argparse._SubParsersAction):
            for verb_parser in action.choices.values():
                actions += _actions(verb_parser)
    return actions
