"""What the site adds to the pages: the reference from the command and the docstrings, the notebooks, the decisions."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import mlops_lib
from mlops_lib import config
from mlops_lib.cli import grammar

HERE = Path(__file__).parent
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+[^)]*\)")
"""A link that leaves docs/: right in the repository, nowhere on the site."""


def on_config(config: Any) -> Any:
    """Leave out what is not there, and add what is there by number."""
    made = {"reference/command.md", "reference/python.md"}
    config.nav = [*_present(config.nav, made)]
    config.nav.append({"Notebooks": [{_title(path): _page(path)} for path in _notebooks()]})
    config.nav.append(
        {
            "Decisions": [
                f"decisions/{path.name}" for path in sorted((HERE / "decisions").glob("*.md"))
            ]
        }
    )
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from code."""
    pages = {"reference/command.md": _command(), "reference/python.md": _python()}
    pages |= {_page(path): _notebook(path) for path in _notebooks()}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Keep the words of links that lead out of docs/, and lead those to a notebook to its page."""
    inside = OUTSIDE.sub(r"\1", markdown).replace(".ipynb)", ".md)")
    return inside.replace("](decisions/)", "](decisions/0001-modules-are-nouns.md)")


def _present(nav: list[Any], made: set[str]) -> Iterator[Any]:
    for entry in nav:
        for title, place in entry.items():
            if isinstance(place, list):
                yield {title: [*_present(place, made)]}
            elif place in made or (HERE / place).is_file():
                yield entry


def _notebooks() -> list[Path]:
    return sorted((HERE / "notebooks").glob("*.ipynb"))


def _page(path: Path) -> str:
    return f"notebooks/{path.stem}.md"


def _title(path: Path) -> str:
    return path.stem.replace("-", " ").capitalize()


def _command() -> str:
    parser = grammar.parser(["--help"])
    verbs = next(iter(parser._subparsers._group_actions)).choices  # type: ignore[union-attr]
    parts = [
        "# Every verb and setting",
        "",
        f"`mlops {mlops_lib.__version__}`, as `--help` says it.",
        "",
    ]
    for verb, one in verbs.items():
        parts += [
            f"## {verb}",
            "",
            one.description,
            "",
            "```text",
            one.format_help().strip(),
            "```",
            "",
        ]
    parts += ["## Settings", "", "| setting | default | who | what |", "|---|---|---|---|"]
    for setting in config.SETTINGS:
        who = "operator" if setting.operator else "project"
        default = json.dumps(
            list(setting.default) if isinstance(setting.default, tuple) else setting.default
        )
        parts.append(f"| `{setting.key}` | `{default}` | {who} | {setting.help} |")
    return "\n".join(parts)


def _python() -> str:
    parts = ["# Python", "", inspect.getdoc(mlops_lib) or "", ""]
    for name in mlops_lib.__all__:
        value = getattr(mlops_lib, name)
        if callable(value):
            signature = str(inspect.signature(value)).replace("mlops_lib.records.", "")
            parts += [
                f"## {name}",
                "",
                "```python",
                f"{name}{signature}",
                "```",
                "",
                *_sections(inspect.getdoc(value) or ""),
            ]
    from mlops_lib import records

    parts += ["## Records", ""]
    for name, value in vars(records).items():
        if (
            inspect.isclass(value)
            and issubclass(value, records.Record)
            and value is not records.Record
        ):
            parts += [f"### {name}", "", *_sections(inspect.getdoc(value) or ""), "```text"]
            parts += [f"{field}: {kind}" for field, kind in value.__annotations__.items()]
            parts += ["```", ""]
    return "\n".join(parts)


def _sections(text: str) -> list[str]:
    """A docstring with its Args, Returns and Raises as literal blocks."""
    parts = []
    for block in text.split("\n\n"):
        head, _, rest = block.partition("\n")
        if re.fullmatch(r"(Args|Returns|Raises):", head):
            parts += [f"**{head}**", "", "```text", inspect.cleandoc(rest), "```", ""]
        else:
            parts += [block, ""]
    return parts


def _notebook(path: Path) -> str:
    """A notebook with its outputs as a page."""
    parts: list[str] = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts += [source, ""]
            continue
        parts += ["```python", source, "```", ""]
        for output in cell.get("outputs", ()):
            parts += [*_output(output), ""]
    return "\n".join(parts)


def _output(output: dict[str, Any]) -> Iterator[str]:
    data = {kind: "".join(value) for kind, value in output.get("data", {}).items()}
    if "image/png" in data:
        yield f'<img alt="Plot" src="data:image/png;base64,{data["image/png"].strip()}">'
    elif "text/html" in data:
        yield data["text/html"].replace("\n\n", "\n")
    else:
        yield from ("```text", data.get("text/plain") or "".join(output.get("text", ())), "```")
