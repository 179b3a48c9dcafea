"""A run in a few lines of Markdown, for a pull request or a chat."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_lib.formatting import metric_value
from mlops_lib.gate import second_measurement
from mlops_lib.reporting import sentences, tables
from mlops_lib.reporting.view import RunView, read_run

if TYPE_CHECKING:
    from mlops_lib.ci.builds import Branch

_SIGNS = {"accepted": "✅", "rejected": "❌", "undecided": "❔", "failed": "💥"}
TRIALS_SHOWN = 10
_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")
_LINKING = re.compile(r"([@#]|://?|\bwww(?=\.))", re.IGNORECASE)
_LEADING = re.compile(r"^(\d*)([-+=.)])")


def markdown(run_dir: Path, *, against: Branch | None = None) -> str:
    """Return outcome, reasons, key numbers and the best trials as Markdown.

    Texts of a script are escaped: they cannot add markup, a link or a mention of a person.
    """
    view = read_run(run_dir, against=against)
    sign = _SIGNS.get(view.state, "⏳")
    parts = [
        f"### {sign} {escaped(view.name)}: {sentences.BADGES[view.state].lower()}",
        escaped(sentences.headline(view)),
    ]
    if view.verdict is not None and view.verdict.reasons:
        parts.append("\n".join(f"- {escaped(reason)}" for reason in view.verdict.reasons[:10]))
    parts += [part for part in (_numbers(view), _trials(view), _log(view)) if part]
    command = sentences.reproduce(view)
    if command:
        parts.append(f"Reproduce with\n\n{_fenced(command)}")
    return "\n\n".join(parts) + "\n"


def _numbers(view: RunView) -> str:
    rows = []
    verdict = view.verdict
    if verdict is not None and verdict.value is not None:
        rows.append((verdict.metric or "metric", metric_value(verdict.metric, verdict.value)))
        rows.append(("bar", sentences.bar_in_words(verdict)))
        if verdict.interval is not None:
            low, high = (metric_value(verdict.metric, end) for end in verdict.interval)
            rows.append(("95 % interval", f"{low} to {high}"))
        if verdict.seeds is not None:
            rows.append(("mean, which is judged", verdict.seeds.in_words))
        if second_measurement.measured_by(verdict):
            rows.append(("measured", second_measurement.measured_by(verdict)))
        if verdict.champion is not None:
            rows.append(
                ("champion on the same examples", metric_value(verdict.metric, verdict.champion))
            )
        if verdict.baseline is not None:
            rows.append(
                (
                    f"baseline: {verdict.baseline.name}",
                    metric_value(verdict.metric, verdict.baseline.value),
                )
            )
    rows += sentences.facts(view)
    return _table(("", ""), rows) if rows else ""


def _trials(view: RunView) -> str:
    search = view.search
    if search is None or not search.trials:
        return ""
    rows = tables.trial_rows(search)
    sign = -1 if search.mode == "max" else 1
    best = sorted(
        rows, key=lambda r: (not r.winner, r.trial.score is None, sign * (r.trial.score or 0.0))
    )[:TRIALS_SHOWN]
    cells = [
        (
            f"{row.trial.number}{' (winner)' if row.winner else ''}",
            "; ".join(row.changed),
            row.score,
            row.gain,
        )
        for row in sorted(best, key=lambda r: r.trial.number)
    ]
    paragraphs = [sentences.search_account(view)[:4000], sentences.selection_gap(view)]
    table = _table(("Trial", "Change", "Score", "Gain"), cells)
    return "\n\n".join([table, *(escaped(text) for text in paragraphs if text)])


def _log(view: RunView) -> str:
    if view.state not in ("failed", "stopped") or not view.log:
        return ""
    return (
        f"The end of the script's output:\n\n{_fenced(chr(10).join(view.log.splitlines()[-15:]))}"
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(escaped(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _fenced(code: str) -> str:
    """Return code in a fence that is longer than any run of backticks in it."""
    longest = max((len(row) for row in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{code}\n{fence}"


def escaped(text: str) -> str:
    """Return a text that Markdown, and the HTML in it, displays unchanged."""
    line = html.escape(" ".join(text.split()), quote=False)
    # A zero-width space keeps addresses, "@somebody" and "#1" from becoming links and mentions.
    line = _LINKING.sub("\\1\u200b", _SPECIAL.sub(r"\\\1", line))
    return _LEADING.sub(r"\1\\\2", line)
