"""The command line grammar: verbs, their options and the settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from mlops_lib import __version__, config
from mlops_lib.cli.verbs import EXAMPLES, OWN, VERBS, WITHOUT_PROJECT


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Return verb, options and settings of a command line.

    None for those that are not given.
    """
    words = list(arguments)
    return vars(parser(words).parse_args(words))


def parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of all verbs; only the verbs among `words` get their settings."""
    root = argparse.ArgumentParser(
        prog="mlops",
        description="Push ML code, get a model that meets its bar.",
        epilog="Example: mlops run model_repo/digits_cnn --target 0.9",
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"mlops {__version__}")
    verbs = root.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, text in VERBS.items():
        verb_parser = verbs.add_parser(
            verb,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            allow_abbrev=False,
            usage=_usage(verb),
            epilog="examples:\n" + "\n".join(f"  {line}" for line in EXAMPLES.get(verb, ())),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add_own(verb_parser, verb)
        # Forty settings on each of the verbs would slow every start down.
        if verb in words:
            settings = verb_parser.add_argument_group(
                "settings", "`mlops config` shows where values come from that are not given here."
            )
            for setting in config.SETTINGS:
                _add(settings, setting)
            for key in config.REMOVED:  # so that the error names the remedy
                settings.add_argument(f"--{key}", help=argparse.SUPPRESS)
    return root


def _usage(verb: str) -> str:
    """Return the usage line: the verb and its positional arguments."""
    words = []
    for names, keywords in OWN.get(verb, ()):
        if not names[0].startswith("-"):
            word = keywords.get("metavar", "ACTION")
            words.append(f"[{word}]" if keywords.get("nargs") == "?" else word)
    if not words and verb not in WITHOUT_PROJECT:
        words = ["[PROJECT|RUN]" if verb in ("watch", "config") else "PROJECT|RUN"]
    if verb == "compare":
        words = 2 * words
    return " ".join(["mlops", verb, *words, "[options]"])


def _add_own(verb_parser: argparse.ArgumentParser, verb: str) -> None:
    """Add the project and the options that only this verb has."""
    if verb not in WITHOUT_PROJECT:
        verb_parser.add_argument(
            "project",
            nargs="?",
            metavar="PROJECT|RUN",
            help="folder, script, notebook or run directory",
        )
    verb_parser.add_argument("--json", action="store_true", help="print one JSON record")
    for names, keywords in OWN.get(verb, ()):
        verb_parser.add_argument(*names, **keywords)


def _add(parser: argparse._ActionsContainer, setting: config.Setting) -> None:
    flag = "--" + setting.key.replace("_", "-")
    if setting.kind == "flag":
        parser.add_argument(
            flag, action=argparse.BooleanOptionalAction, default=None, help=setting.help
        )
    elif setting.key == "mount":
        parser.add_argument(flag, action="append", metavar="SRC:DST", help=setting.help)
    else:
        default = "" if setting.default in ("", (), {}) else f" (default: {setting.default})"
        parser.add_argument(
            flag, metavar=setting.kind.upper(), help=f"{setting.help}{default}".replace("%", "%%")
        )
