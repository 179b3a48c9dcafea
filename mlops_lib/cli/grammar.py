"""What can be said to the `mlops` command: its verbs, their options and the settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from mlops_lib import __version__, config
from mlops_lib.cli.verbs import EXAMPLES, OWN, VERBS, WITHOUT_PROJECT


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """The words of a command as the verb, its options and settings; None for what was not given."""
    words = list(arguments)
    return vars(parser(words).parse_args(words))


def parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The whole grammar; only a verb among the words gets its settings."""
    whole = argparse.ArgumentParser(
        prog="mlops",
        description="Push ML code, get a model that meets its bar.",
        epilog="Example: mlops run model_repo/digits_cnn --target 0.9",
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"mlops {__version__}")
    verbs = whole.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, text in VERBS.items():
        one = verbs.add_parser(
            verb,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            allow_abbrev=False,
            usage=_usage(verb),
            epilog="examples:\n" + "\n".join(f"  {line}" for line in EXAMPLES.get(verb, ())),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add_own(one, verb)
        # Start-up counts: only the verb that is asked for gets its options.
        if verb in words:
            settings = one.add_argument_group(
                "settings", "What is not given here comes from elsewhere: `mlops config`."
            )
            for setting in config.SETTINGS:
                _add(settings, setting)
    return whole


def _usage(verb: str) -> str:
    """The verb with what it is about; its options and forty settings are listed below it."""
    own = [how for names, how in OWN.get(verb, ()) if not names[0].startswith("-")]
    words = [
        f"[{how['metavar']}]" if how.get("nargs") == "?" else how.get("metavar", "ACTION")
        for how in own
    ]
    project = "[PROJECT|RUN]" if verb in ("watch", "config") else "PROJECT|RUN"
    about = words or ([] if verb in WITHOUT_PROJECT else [project])
    return " ".join(["mlops", verb, *(2 * about if verb == "compare" else about), "[options]"])


def _add_own(one: argparse.ArgumentParser, verb: str) -> None:
    """What only this verb takes."""
    if verb not in WITHOUT_PROJECT:
        one.add_argument(
            "project",
            nargs="?",
            metavar="PROJECT|RUN",
            help="folder, script, notebook or run directory",
        )
    one.add_argument("--json", action="store_true", help="print one JSON record")
    for names, how in OWN.get(verb, ()):
        one.add_argument(*names, **how)


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
