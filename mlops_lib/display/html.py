"""Records as HTML for a notebook; knows dataclasses, but no particular record."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from mlops_lib.formatting import printable

LINES = 8
TRIALS = 15
"""The most lines and trials that are shown while a run is under way."""


CELL = "padding:2px 10px;text-align:left;vertical-align:top"


COLOURS = {"accepted": "#1a7f37", "rejected": "#cf222e", "undecided": "#9a6700"}


class Fragment:
    """HTML that a notebook displays."""

    def __init__(self, html: str) -> None:
        self._html = html

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return "mlops"


def meter(share: float) -> str:
    """Return a progress bar.

    Args:
        share: the finished part, from 0 to 1.
    """
    width = f"{100 * min(1.0, max(0.0, share)):.0f}%"
    return (
        "<div style='max-width:30em;height:6px;background:rgba(128,128,128,.25);margin:4px 0'>"
        f"<div style='width:{width};height:6px;background:#2563c9'></div></div>"
    )


def trials_table(trials: Sequence[Mapping[str, Any]], search: Mapping[str, Any]) -> str:
    """Return the best trials as a table in their order, the best one marked."""
    lower = search.get("mode") == "min"
    scored = [t for t in trials if isinstance(t.get("score"), (int, float))]
    best = (min if lower else max)(scored, key=lambda t: t["score"], default=None)
    # The newest trials too: the search works on one of them.
    listed_trials = sorted(scored, key=lambda t: t["score"], reverse=not lower)[
        : TRIALS - 3
    ] + list(trials[-3:])
    rows = []
    for trial in [t for t in trials if any(t is listed_trial for listed_trial in listed_trials)]:
        score = trial.get("score")
        curve = trial.get("curve") or ()
        score_text = f"{score:.4f}" if isinstance(score, (int, float)) else str(trial.get("state"))
        weight = "font-weight:bold" if trial is best else ""
        words = "; ".join(map(str, trial.get("edits") or ["as it was"]))[:300]
        cells = (str(trial.get("number")), words, score_text)
        rows.append(
            f"<tr style='{weight}'>"
            + "".join(f"<td style='{CELL}'>{escaped(cell)}</td>" for cell in cells)
            + f"<td style='{CELL}'>{_spark(curve)}</td></tr>"
        )
    head = "".join(
        f"<th style='{CELL}'>{name}</th>"
        for name in ("trial", "changed", escaped(search.get("metric") or "score"), "")
    )
    return f"<table style='margin-top:6px'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _spark(curve: Iterable[Any]) -> str:
    values = [float(v) for v in curve if isinstance(v, (int, float)) and v == v]
    if len(values) < 2:
        return ""
    low = min(values)
    high = max(values)
    spread = (high - low) or 1.0
    step = 80 / (len(values) - 1)
    points = " ".join(
        f"{i * step:.1f},{18 - 16 * (v - low) / spread:.1f}" for i, v in enumerate(values)
    )
    return (
        f"<svg width='80' height='20' role='img' aria-label='from {values[0]:.3g} to"
        f" {values[-1]:.3g}'>"
        f"<polyline points='{points}' fill='none' stroke='#2563c9' stroke-width='1.5'/></svg>"
    )


def escaped(value: Any) -> str:
    """Return a value as text that is safe in HTML."""
    # Names and messages come from a script: control characters go first, markup is escaped.
    return escape(printable(str(value)))


def record_html(record: Any) -> str:
    """Return a record as a table of its fields, without empty ones.

    Its verdict comes first.
    """
    values = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    parts = [f"<p style='margin:0 0 4px'><strong>{escaped(type(record).__name__)}</strong></p>"]
    if isinstance(values.get("verdict"), str) and "value" in values:
        parts = [_outcome(values)]
    if {"trials", "metric", "mode"} <= set(values):
        trials = [trial.to_json() for trial in values.pop("trials")]
        parts.append(trials_table(trials, {"metric": values["metric"], "mode": values["mode"]}))
    rows = [
        (name, _value(value))
        for name, value in values.items()
        if name != "schema" and value not in (None, "", (), {})
    ]
    cells = "".join(
        f"<tr><th style='{CELL}'>{escaped(n.replace('_', ' '))}</th><td"
        f" style='{CELL}'>{v}</td></tr>"
        for n, v in rows
    )
    return f"<div>{''.join(parts)}<table><tbody>{cells}</tbody></table></div>"


def _outcome(values: Mapping[str, Any]) -> str:
    verdict = str(values["verdict"])
    value = values.get("value")
    value_text = f": {values.get('metric')} {value:.4g}" if isinstance(value, float) else ""
    bar = f", bar {values['target']:g}" if isinstance(values.get("target"), float) else ""
    colour = COLOURS.get(verdict, "inherit")
    return (
        "<p style='margin:0 0 4px'><strong"
        f" style='color:{colour}'>{escaped(verdict)}</strong>{escaped(value_text + bar)}</p>"
    )


def _value(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        return record_html(value)
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        return _table([record.to_json() for record in value[:50]])
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        return "<br>".join(
            escaped(f"{part:.4g}" if isinstance(part, float) else part) for part in value[:50]
        )
    if isinstance(value, Mapping):
        return "<br>".join(escaped(f"{key}={part}") for key, part in list(value.items())[:50])
    return escaped(str(value)[:2000])


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = [name for name in rows[0] if name != "schema"]
    head = "".join(f"<th style='{CELL}'>{escaped(name)}</th>" for name in names)
    body = "".join(
        "<tr>"
        + "".join(f"<td style='{CELL}'>{escaped(str(row.get(name))[:200])}</td>" for name in names)
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
