"""The model card: one Markdown page beside each registered model.

The headings follow Mitchell et al., "Model Cards for Model Reporting" (2019), as far as
measurements can fill them; the others are left out.
"""

from __future__ import annotations

import html
import re
import shlex
from datetime import datetime, timezone

from mlops_lib.gate import second_measurement
from mlops_lib.records import Comparison, ModelVersion, Verdict

_ACTIVE = re.compile(r"([\\`*_{}\[\]|#~!])")


def render(model: ModelVersion, verdict: Verdict) -> str:
    """Return the card's text.

    Values that come from a project are escaped: they cannot add markup, links or table cells.
    """
    return "\n".join(
        [
            f"# {_text(model.name)}, version {model.version}",
            "",
            *_table(_details(model)),
            "",
            "## Evaluation",
            "",
            *_table(_evaluation(verdict)),
            "",
            *(f"- {_text(reason)}" for reason in (*verdict.reasons, model.note) if reason),
            "",
            "## Lineage",
            "",
            *_table(_sources(model)),
            "",
            "Loading a model file can run code: load it only where you would run the script itself.",
            "",
        ]
    )


def _details(model: ModelVersion) -> list[tuple[str, str]]:
    created = datetime.fromtimestamp(model.created, tz=timezone.utc)
    date = created.strftime("%Y-%m-%d %H:%M UTC")
    return [("Registered", date), ("File", model.model), ("sha256", model.model_digest)]


def _evaluation(verdict: Verdict) -> list[tuple[str, str]]:
    rows = [("Verdict", verdict.verdict), ("Metric", verdict.metric or "none")]
    if verdict.value is not None:
        rows.append(("Value", f"{verdict.value:.4g}"))
    if verdict.interval is not None:
        rows.append(("95 % interval", f"{verdict.interval[0]:.4g} to {verdict.interval[1]:.4g}"))
    if verdict.seeds is not None:
        rows.append(("Mean, which is judged", verdict.seeds.in_words))
    rows.append(
        ("Bar", f"{'at least' if verdict.mode == 'max' else 'at most'} {verdict.target:.4g}")
    )
    if verdict.examples is not None:
        rows.append(("Examples", str(verdict.examples)))
    if verdict.baseline is not None:
        rows.append((f"Baseline ({verdict.baseline.name})", f"{verdict.baseline.value:.4g}"))
    rows.append(("Measure", verdict.source or "unknown"))
    rows.append(("Measured", second_measurement.measured_by(verdict) or "unknown"))
    if verdict.against is not None:
        rows.append(("Champion on the same examples", _champion(verdict.against)))
    if verdict.selection:
        rows.append(("Examples the search selected on", verdict.selection))
    return rows


def _champion(against: Comparison) -> str:
    number = "not measured" if against.value is None else f"{against.value:.4g}"
    if against.p_value is None or against.difference is None:
        return f"version {against.version}: {number}; {against.why}"
    return (
        f"version {against.version}: {number} (difference {against.difference:+.4g}, p "
        f"{against.p_value:.2g})"
    )


def _sources(model: ModelVersion) -> list[tuple[str, str]]:
    command = shlex.join([model.entry, *model.args])
    rows = [
        ("Script", command),
        ("Script's sha256", model.script_digest),
        ("Commit", model.commit or ""),
        ("Data", model.data_digest),
        ("Image", model.image),
        ("Seed", str(model.seed)),
        ("Run", model.run),
    ]
    return [(label, value or "unknown") for label, value in rows]


def _table(rows: list[tuple[str, str]]) -> list[str]:
    return [
        "| | |",
        "|---|---|",
        *(f"| {_text(label)} | {_text(value)} |" for label, value in rows),
    ]


def _text(value: str) -> str:
    """Return `value` on one line, with Markdown and HTML escaped."""
    printable = "".join(character if character.isprintable() else " " for character in value)
    return _ACTIVE.sub(r"\\\1", html.escape(" ".join(printable.split()), quote=False))
