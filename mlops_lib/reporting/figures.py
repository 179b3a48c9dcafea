"""The learning curves as pictures, for mails and chats, which show no SVG."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from mlops_lib import atomic
from mlops_lib.formatting import is_share, metric_name
from mlops_lib.records import PipelineResult, SearchResult
from mlops_lib.reporting.charts import thinned
from mlops_lib.reporting.sentences import winner_curves
from mlops_lib.reporting.view import Fit, Points, RunView, read_run

_LOOKS = (("#8a94a6", "--"), ("#2563c9", "-"))


@dataclass(frozen=True, kw_only=True)
class _Panel:
    metric: str
    title: str
    lines: Sequence[tuple[str, Points]]
    restarts: Sequence[int] = ()
    bar: float | None = None


def curve_png(run_dir: Path, path: Path) -> Path | None:
    """Draw the judged metric and the loss over the epochs.

    After a search, the winner is drawn beside the script as written. The same run directory gives
    the same bytes with the same matplotlib. A picture that already shows these curves is left
    alone, because loading matplotlib and drawing would dominate the time of an unchanged run.

    Args:
        run_dir: the run directory.
        path: the PNG file to write, 1200 × 450 pixels.

    Returns:
        `path`, or None if the run has no epochs to draw.
    """
    view = read_run(run_dir)
    if path.is_file() and _digest(_panels(view)) in path.read_bytes():
        return path
    content = curve_bytes(view)
    if content is None:
        return None
    atomic.write_bytes(path, content)
    return path


def _digest(panels: Sequence[_Panel]) -> bytes:
    """Return a digest of the curves; a picture carries it as its PNG text `Source`."""
    return hashlib.sha256(repr(panels).encode()).hexdigest().encode()


def curve_bytes(view: RunView) -> bytes | None:
    """Return the picture as PNG bytes, or None if there are no epochs to draw."""
    panels = _panels(view)
    if not panels:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    content = BytesIO()
    # Without the "Software" entry, which names matplotlib's version, and with the digest that
    # `curve_png` compares.
    FigureCanvasAgg(_figure(panels)).print_png(
        content, metadata={"Software": None, "Source": _digest(panels).decode()}
    )
    return content.getvalue()


def plot(result: SearchResult | PipelineResult) -> Any:
    """Draw a result as a matplotlib Figure.

    Args:
        result: a search, drawn as every trial's score and curve; or what `run` returned, drawn as
            the learning curves and, after a search, the winner's.

    Returns:
        A `matplotlib.figure.Figure`, which a notebook shows as a picture.

    Example:
        >>> from matplotlib.figure import Figure
        >>> from mlops_lib.records import SearchResult
        >>> figure = plot(SearchResult(metric="accuracy", selection="split", fit=1))
        >>> isinstance(figure, Figure)
        True
    """
    return (
        search_figure(result)
        if isinstance(result, SearchResult)
        else run_figure(Path(result.run_dir))
    )


def run_figure(run_dir: Path) -> Any:
    """Return a run's curves as a matplotlib Figure; without epochs, a message."""
    view = read_run(run_dir)
    return (
        _figure(_panels(view))
        if _panels(view)
        else _message_figure(f"{view.name}: no epochs to draw")
    )


def search_figure(search: SearchResult | None, *, target: float | None = None) -> Any:
    """Draw a search's trials as a matplotlib Figure.

    It shows every trial's score with the best so far, and the trials' curves with the winner's
    highlighted.

    Args:
        search: the search; None draws a message.
        target: the bar, drawn across.
    """
    if search is None or not any(trial.score is not None for trial in search.trials):
        return _message_figure("no trials")
    figure = _notebook_figure()
    curves = [
        (f"trial {t.number}", tuple(enumerate(t.curve))) for t in search.trials if len(t.curve) > 1
    ]
    scores = figure.add_subplot(1, 2 if curves else 1, 1)
    factor = 100 if is_share(search.metric) else 1
    points = [(t.number, t.score * factor) for t in search.trials if t.score is not None]
    better = max if search.mode == "max" else min
    best = [better(value for _, value in points[: place + 1]) for place in range(len(points))]
    numbers = [number for number, _ in points]
    scores.step(numbers, best, where="post", color="#2563c9", linewidth=2.2, label="best so far")
    scores.plot(numbers, [value for _, value in points], "o", color="#8a94a6", label="trials")
    _decorate(scores, f"search: {metric_name(search.metric)}", search.metric, target, "trial")
    if curves:
        axes = figure.add_subplot(1, 2, 2)
        for label, line in curves:
            is_winner = label == f"trial {search.winner}"
            look = (
                {"color": "#2563c9", "linewidth": 2.2, "label": f"{label}, the winner"}
                if is_winner
                else {"color": "#c3c9d4"}
            )
            axes.plot(
                [x + 1 for x, _ in line], [y * factor for _, y in line if y is not None], **look
            )
        _decorate(axes, f"trials: {metric_name(search.metric)}", search.metric, target, "epoch")
    return figure


def _message_figure(words: str) -> Any:
    figure = _notebook_figure()
    figure.text(0.5, 0.5, _plain(words), ha="center")
    return figure


def _notebook_figure() -> Any:
    """Return a Figure that a notebook displays, without pyplot and its global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        def _repr_png_(self) -> bytes:
            content = BytesIO()
            FigureCanvasAgg(self).print_png(content)
            return content.getvalue()

    return NotebookFigure(figsize=(12, 4.5), dpi=100, facecolor="white", layout="constrained")


def _figure(panels: Sequence[_Panel]) -> Any:
    figure = _notebook_figure()
    for place, panel in enumerate(panels):
        _draw(figure.add_subplot(1, len(panels), place + 1), panel)
    return figure


def _main_fit(view: RunView) -> Fit | None:
    """Return the judged fit, else the last one with several epochs."""
    candidates = [fit for fit in view.fits if fit.epochs > 1 and _bases(fit)]
    judged_fit = view.verdict.judged_fit if view.verdict else None
    return next(
        (fit for fit in candidates if fit.number == judged_fit),
        candidates[-1] if candidates else None,
    )


def _bases(fit: Fit) -> list[str]:
    """Return the metrics with a finite value; a metric and its validation count once."""
    return list(
        dict.fromkeys(
            name.removeprefix("val_")
            for name, points in fit.series.items()
            if any(value is not None for _, value in points)
        )
    )


def _panels(view: RunView) -> list[_Panel]:
    """Return at most two panels.

    After a search these are the search and the judged metric, else the judged metric and the loss.
    """
    fit = _main_fit(view)
    names = _bases(fit) if fit is not None else []
    judged_metric = view.verdict.metric if view.verdict else None
    names.sort(key=lambda name: (name != judged_metric, name == "loss"))
    shown_names = [*names[:1], *(name for name in names[1:] if name == "loss")]
    fit_panels = [_metric_panel(name, fit, view) for name in shown_names if fit is not None]
    search_panel = _search_panel(view)
    return [search_panel, *fit_panels][:2] if search_panel is not None else fit_panels


def _metric_panel(name: str, fit: Fit, view: RunView) -> _Panel:
    lines = [
        (label, fit.series.get(series, ()))
        for label, series in (("training", name), ("validation", f"val_{name}"))
    ]
    lines = [(label, points) for label, points in lines if points]
    return _Panel(
        metric=name,
        title=metric_name(name),
        lines=lines,
        restarts=fit.restarts,
        bar=_bar(name, view),
    )


def _search_panel(view: RunView) -> _Panel | None:
    search = view.search
    curves = winner_curves(view)
    if search is None or curves is None:
        return None
    lines = [("as written", curves[0]), (f"trial {search.winner}, the winner", curves[1])]
    title = f"search: {metric_name(search.metric)}"
    return _Panel(
        metric=search.metric,
        title=title,
        lines=lines,
        bar=_bar(search.metric.removeprefix("val_"), view),
    )


def _bar(metric: str, view: RunView) -> float | None:
    return (
        view.verdict.target if view.verdict is not None and view.verdict.metric == metric else None
    )


def _draw(axes: Any, panel: _Panel) -> None:
    factor = 100 if is_share(panel.metric) else 1
    # The last line is the one that matters, and gets the stronger look.
    for (label, points), (colour, dashes) in zip(
        panel.lines, _LOOKS[-len(panel.lines) :], strict=True
    ):
        visible = [
            (epoch + 1, value * factor) for epoch, value in thinned(points) if value is not None
        ]
        epochs = [epoch for epoch, _ in visible]
        values = [value for _, value in visible]
        axes.plot(epochs, values, color=colour, linestyle=dashes, linewidth=2.2, label=label)
    for place, epoch in enumerate(panel.restarts[:40]):
        axes.axvline(
            epoch + 0.5,
            color="#b45309",
            linestyle=":",
            linewidth=1.5,
            label="" if place else "restart",
        )
    _decorate(axes, panel.title, panel.metric, panel.bar, "epoch")


def _decorate(axes: Any, title: str, metric: str, bar: float | None, across: str) -> None:
    """Add the bar, the title, the grid and the legend."""
    from matplotlib.ticker import MaxNLocator

    factor = 100 if is_share(metric) else 1
    if bar is not None:
        axes.axhline(bar * factor, color="#15803d", linewidth=1.5, label="bar")
    axes.set_title(
        _plain(title) + (", %" if factor == 100 else ""), loc="left", fontsize=13, parse_math=False
    )
    axes.set_xlabel(across)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#e5e7eb", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _plain(name: str) -> str:
    """Return a name that the script chose as short ASCII, which every font has."""
    return name[:48].encode("ascii", "replace").decode()
