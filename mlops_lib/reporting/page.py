"""The report: a run on one self-contained page.

The page has two forms. `report.html` embeds its stylesheet. In the folder it lies beside the page,
because Jenkins serves archived pages under `sandbox allow-same-origin; default-src 'none'; img-src
'self'; style-src 'self'`, which blocks inline styles, scripts and data: addresses. Neither form has
a script, and both draw their charts the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_lib import atomic, formatting
from mlops_lib.reporting import charts, sentences, tables
from mlops_lib.reporting.figures import curve_bytes
from mlops_lib.reporting.view import Fit, RunView, read_run
from mlops_lib.runner import protocol

if TYPE_CHECKING:
    from jinja2 import Environment

    from mlops_lib.ci.builds import Branch

FITS_SHOWN = 8
CHARTS_SHOWN = 6
"""Most charts of one fit."""


def report(run_dir: Path, *, folder: Path | None = None, against: Branch | None = None) -> Path:
    """Write a run's report, whatever the run's state.

    The same run directory gives the same bytes.

    Args:
        run_dir: the run directory.
        folder: write index.html, style.css and the pictures here instead, for servers that forbid
            inline styles.
        against: the target branch of the run's pull request, with its result.

    Returns:
        `run_dir/report.html`, or the folder's `index.html`.

    Raises:
        OSError: the report cannot be written.
    """
    view = read_run(run_dir, against=against)
    if folder is None:
        path = run_dir / protocol.REPORT
        atomic.write_bytes(path, html(view, linked=False).encode())
        return path
    folder.mkdir(parents=True, exist_ok=True)
    picture = curve_bytes(view)
    if picture is not None:
        atomic.write_bytes(folder / protocol.CURVES, picture)
    if view.mistakes:
        (folder / "mistakes").mkdir(exist_ok=True)
    for number, mistake in enumerate(view.mistakes, 1):
        atomic.write_bytes(folder / "mistakes" / f"{number:02}.png", mistake.png)
    _write_pairs(view, folder / "pairs")
    atomic.write_bytes(folder / "style.css", stylesheet().encode())
    path = folder / "index.html"
    atomic.write_bytes(path, html(view, linked=True).encode())
    return path


def _write_pairs(view: RunView, folder: Path) -> None:
    """Write the pictures of judged examples and of the training examples they copy."""
    for number, pair in enumerate(view.pairs, 1):
        for side, name in ((pair.judged, "judged"), (pair.trained, "trained")):
            if side is not None and side.png:
                folder.mkdir(exist_ok=True)
                atomic.write_bytes(folder / f"{number:02}-{name}.png", side.png)


def html(view: RunView, *, linked: bool) -> str:
    """Return a run's page.

    Args:
        view: the run.
        linked: refer to style.css instead of embedding it.
    """
    from markupsafe import Markup

    return (
        _templates()
        .get_template("report.html.j2")
        .render(
            view=view,
            style=None if linked else Markup(stylesheet()),
            axis=Markup(_axis(view)),
            fits=[_fit(fit, view) for fit in view.fits if fit.series][:FITS_SHOWN],
            winner=_winner(view),
            timeline=Markup(_timeline(view)),
        )
    )


def stylesheet() -> str:
    """Return the page's stylesheet."""
    return files("mlops_lib.reporting").joinpath("templates/style.css").read_text("utf-8")


def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("mlops_lib.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        story=sentences,
        tables=tables,
        wording=formatting,
        sparkline=lambda values, title: Markup(charts.sparkline(values, title=title)),
    )
    environment.filters["code"] = _with_code
    return environment


def _with_code(text: str) -> Any:
    """Return a text with its parts in backquotes marked as code.

    Example:
        >>> str(_with_code("set `trials` to 0 <b>"))
        'set <code>trials</code> to 0 &lt;b&gt;'
    """
    from markupsafe import Markup, escape

    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:  # an open one
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts)
    )


@dataclass(frozen=True, kw_only=True)
class _Chart:
    title: str
    legend: tuple[tuple[str, str, str], ...]
    """Look, name and last value of each line."""
    svg: Any


@dataclass(frozen=True, kw_only=True)
class _FitCharts:
    fit: Fit
    charts: tuple[_Chart, ...]
    more: int
    """Number of metrics without a chart."""


def _fit(fit: Fit, view: RunView) -> _FitCharts:
    # Validation belongs into the chart of what it validates; the judged metric and the loss come
    # first.
    bases = list(dict.fromkeys(name.removeprefix("val_") for name in fit.series))
    judged_metric = view.verdict.metric if view.verdict else None
    bases.sort(key=lambda name: (name != judged_metric, name != "loss"))
    drawn_charts = [chart for name in bases if (chart := _chart(name, fit, view)) is not None]
    return _FitCharts(
        fit=fit,
        charts=tuple(drawn_charts[:CHARTS_SHOWN]),
        more=max(0, len(drawn_charts) - CHARTS_SHOWN),
    )


def _chart(base: str, fit: Fit, view: RunView) -> _Chart | None:
    from markupsafe import Markup

    both = f"val_{base}" in fit.series and base in fit.series
    lines = [
        charts.Line(
            name=("training" if name == base else "validation")
            if both
            else formatting.metric_name(name),
            look=("train" if name == base else "validation") if both else "only",
            points=fit.series[name],
        )
        for name in (base, f"val_{base}")
        if name in fit.series
    ]
    verdict = view.verdict
    picture = charts.curves(
        lines,
        title=_chart_title(base, fit, lines),
        number=_number(base),
        restarts=fit.restarts,
        bar=verdict.target if verdict is not None and verdict.metric == base else None,
    )
    if not picture:
        return None
    legend = tuple(
        (line.look, line.name, formatting.metric_value(base, line.points[-1][1])) for line in lines
    )
    return _Chart(title=formatting.metric_name(base), legend=legend, svg=Markup(picture))


def _winner(view: RunView) -> _Chart | None:
    """Return a chart of the winner's score beside that of the script as written.

    None if one of the two curves is missing.
    """
    from markupsafe import Markup

    search = view.search
    curves = sentences.winner_curves(view)
    if search is None or curves is None:
        return None
    first, best = curves
    lines = [
        charts.Line(name="as written", look="train", points=first),
        charts.Line(name=f"trial {search.winner}, the winner", look="validation", points=best),
    ]
    number = _number(search.metric)
    ends = [formatting.metric_value(search.metric, points[-1][1]) for points in curves]
    verdict = view.verdict
    comparable = verdict is not None and search.metric.removeprefix("val_") == verdict.metric
    picture = charts.curves(
        lines,
        title=(
            f"{formatting.metric_name(search.metric)} over the epochs: as written to {ends[0]}, "
            f"the winner to {ends[1]}"
        ),
        number=number,
        bar=verdict.target if verdict is not None and comparable else None,
    )
    legend = tuple((line.look, line.name, end) for line, end in zip(lines, ends, strict=True))
    return _Chart(
        title=(
            f"{formatting.metric_name(search.metric.removeprefix('val_'))}, as the search "
            "measures it"
        ),
        legend=legend,
        svg=Markup(picture),
    )


def _chart_title(base: str, fit: Fit, lines: list[charts.Line]) -> str:
    ends = ", ".join(
        f"{line.name} from {formatting.metric_value(base, line.points[0][1])} to "
        f"{formatting.metric_value(base, line.points[-1][1])}"
        for line in lines
    )
    restarts = (
        f"; restarted {formatting.counted(len(fit.restarts), 'time')}" if fit.restarts else ""
    )
    return (
        f"{formatting.metric_name(base)} of fit {fit.number} over "
        f"{formatting.counted(fit.epochs, 'epoch')}: {ends}{restarts}"
    )


def _number(metric: str) -> Callable[[float], str]:
    return lambda value: formatting.metric_value(metric, value)


def _axis(view: RunView) -> str:
    """Return the verdict's numbers on one axis; "" if there is no number."""
    verdict = view.verdict
    if verdict is None or verdict.value is None:
        return ""
    format_value = _number(verdict.metric or "")
    marks = [
        charts.Mark(
            name="This model",
            shown=format_value(verdict.value),
            value=verdict.value,
            look="model",
            interval=verdict.interval,
        )
    ]
    if verdict.seeds is not None:
        seeds = verdict.seeds
        marks.append(
            charts.Mark(
                name=formatting.counted(len(seeds.values), "seed"),
                shown=format_value(seeds.mean),
                value=seeds.mean,
                look="seeds",
                interval=seeds.interval,
                dots=tuple(seed.value for seed in seeds.values),
            )
        )
    if verdict.champion is not None:
        marks.append(
            charts.Mark(
                name="Champion",
                shown=format_value(verdict.champion),
                value=verdict.champion,
                look="champion",
            )
        )
    if verdict.baseline is not None:
        value = verdict.baseline.value
        marks.append(
            charts.Mark(name="Baseline", shown=format_value(value), value=value, look="baseline")
        )
    summary = ", ".join(f"{mark.name.lower()} {mark.shown}" for mark in marks)
    return charts.verdict_axis(
        marks,
        bar=verdict.target,
        bar_shown=f"bar: {sentences.bar_in_words(verdict)}",
        mode=verdict.mode,
        share=sentences.share_metric(view),
        title=(
            f"{formatting.metric_name(verdict.metric)} against the bar of "
            f"{format_value(verdict.target)}: {summary}"
        ),
        number=format_value,
    )


def _timeline(view: RunView) -> str:
    bars = [
        charts.Stretch(
            name=f"{'Search' if attempt.number_of_pass == 2 else 'Attempt'} {attempt.number}",
            began=attempt.began,
            ended=attempt.ended,
            look=attempt.outcome,
            shown=formatting.duration(attempt.ended - attempt.began),
        )
        for attempt in view.attempts[-20:]
    ]
    summary = ", ".join(f"{bar.name} {bar.look} after {bar.shown}" for bar in bars)
    return charts.stretches(bars, title=f"When the script ran: {summary}", span=formatting.duration)
