"""The outcome of an improvement as HTML, for a notebook's output."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from mlops_lib.display.html import COLOURS, escaped, trials_table
from mlops_lib.records import SearchResult

if TYPE_CHECKING:
    from mlops_lib.tuning.in_memory import Improvement


def improvement_html(found: Improvement) -> str:
    """Return the outcome of an improvement as HTML."""
    colour = COLOURS["accepted" if found.met else "rejected"]
    reached = "not measured" if found.value is None else f"{found.value:.4g}"
    before = "" if found.before is None else f", before {found.before:.4g}"
    if found.gained is not None:
        before += (
            f" ({found.gained.words()}{'' if found.gained.is_clear else ': no clear difference'})"
        )
    interval = (
        "" if found.interval is None else f" [{found.interval[0]:.3f}, {found.interval[1]:.3f}]"
    )
    on = f" on {found.examples} examples" if found.examples else ""
    parts = [
        "<p style='margin:0 0 4px'><strong"
        f" style='color:{colour}'>{'met' if found.met else 'not met'}</strong>: "
        f"{escaped(found.metric)} {reached}{interval}{on}, bar {found.target:g}{before}</p>"
    ]
    if found.search is not None:
        asked = {"metric": found.search.metric, "mode": found.mode}
        parts.append(trials_table([t.to_json() for t in found.search.trials], asked))
        parts.append(_layers(found.search))
    parts += [f"<p style='margin:0;opacity:.75'>{escaped(note)}</p>" for note in found.notes[:10]]
    return f"<div>{''.join(parts)}</div>"


def _layers(search: SearchResult) -> str:
    lines = [
        line
        for line in difflib.ndiff(list(search.before), list(search.after))
        if not line.startswith("?")
    ]
    if not any(line[0] in "+-" for line in lines):
        return ""
    colours = {"+": "color:#1a7f37", "-": "color:#cf222e"}
    shown = "".join(
        f"<div style='{colours.get(line[0], '')}'>{escaped(line[:200])}</div>"
        for line in lines[:200]
    )
    return (
        "<details><summary>architecture</summary><div"
        f" style='font-family:monospace;white-space:pre'>{shown}</div></details>"
    )
