"""The outcome of an improvement as HTML, for a notebook's output."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from mlops_lib.display.html import COLOURS, escaped, trials_table
from mlops_lib.records import SearchResult

if TYPE_CHECKING:
    from mlops_lib.tuning.in_memory import Improvement


def improvement_html(improvement: Improvement) -> str:
    """Return the outcome of an improvement as HTML."""
    colour = COLOURS["accepted" if improvement.met else "rejected"]
    reached = "not measured" if improvement.value is None else f"{improvement.value:.4g}"
    before = "" if improvement.before is None else f", before {improvement.before:.4g}"
    if improvement.gained is not None:
        before += f" ({improvement.gained.words()}{'' if improvement.gained.is_clear else ': no clear difference'})"
    interval = (
        ""
        if improvement.interval is None
        else f" [{improvement.interval[0]:.3f}, {improvement.interval[1]:.3f}]"
    )
    on = f" on {improvement.examples} examples" if improvement.examples else ""
    parts = [
        "<p style='margin:0 0 4px'><strong"
        f" style='color:{colour}'>{'met' if improvement.met else 'not met'}</strong>: "
        f"{escaped(improvement.metric)} {reached}{interval}{on}, bar {improvement.target:g}{before}</p>"
    ]
    if improvement.search is not None:
        judged_metric = {"metric": improvement.search.metric, "mode": improvement.mode}
        parts.append(trials_table([t.to_json() for t in improvement.search.trials], judged_metric))
        parts.append(_layers(improvement.search))
    parts += [
        f"<p style='margin:0;opacity:.75'>{escaped(note)}</p>" for note in improvement.notes[:10]
    ]
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
    rows = "".join(
        f"<div style='{colours.get(line[0], '')}'>{escaped(line[:200])}</div>"
        for line in lines[:200]
    )
    return (
        "<details><summary>architecture</summary><div"
        f" style='font-family:monospace;white-space:pre'>{rows}</div></details>"
    )
