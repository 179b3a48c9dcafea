"""The learning curves as a PNG picture, for mails and chats, which show no SVG."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from mlops_lib import durable
from mlops_lib.reporting.charts import thinned
from mlops_lib.reporting.view import Fit, RunView, read_run
from mlops_lib.reporting.wording import is_share, metric_name

_LOOKS = {"train": ("#8a94a6", "--"), "validation": ("#2563c9", "-"), "only": ("#2563c9", "-")}


def curve_png(run_dir: Path, path: Path) -> Path | None:
    """Draw the judged metric and the loss of the judged fit over its epochs.

    The same run directory gives the same bytes with the same matplotlib.

    Args:
        run_dir: the run directory.
        path: the PNG file to write, 1200 × 450 pixels.

    Returns:
        `path`, or None where the run has no epochs to draw.
    """
    content = curve_bytes(read_run(run_dir))
    if content is None:
        return None
    durable.write_bytes(path, content)
    return path


def curve_bytes(view: RunView) -> bytes | None:
    """The picture's bytes; None where there are no epochs to draw."""
    fit = _chosen(view)
    if fit is None:
        return None
    # The figure without pyplot: no window system is asked for, and nothing global is changed.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = _metrics(fit, view)
    figure = Figure(figsize=(12, 4.5), dpi=100, facecolor="white", layout="constrained")
    for place, name in enumerate(names):
        _draw(figure.add_subplot(1, len(names), place + 1), name, fit, view)
    content = BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()


def _chosen(view: RunView) -> Fit | None:
    """The judged fit, else the last one with epochs."""
    drawn = [fit for fit in view.fits if fit.epochs > 1 and _bases(fit)]
    judged = view.verdict.judged_fit if view.verdict else None
    return next((fit for fit in drawn if fit.number == judged), drawn[-1] if drawn else None)


def _bases(fit: Fit) -> list[str]:
    """The metrics that have a finite value, a metric and its validation counted once."""
    return list(
        dict.fromkeys(
            name.removeprefix("val_")
            for name, points in fit.series.items()
            if any(value is not None for _, value in points)
        )
    )


def _metrics(fit: Fit, view: RunView) -> list[str]:
    judged = view.verdict.metric if view.verdict else None
    return sorted(_bases(fit), key=lambda name: (name != judged, name == "loss"))[:1] + [
        name for name in _bases(fit) if name == "loss" and name != judged and len(_bases(fit)) > 1
    ]


def _draw(axes: Any, name: str, fit: Fit, view: RunView) -> None:
    from matplotlib.ticker import MaxNLocator

    percent = is_share(name)
    for series, look in ((name, "train"), (f"val_{name}", "validation")):
        points = [(e + 1, v) for e, v in thinned(fit.series.get(series, ())) if v is not None]
        if points:
            colour, dashes = _LOOKS[look]
            scaled = [v * 100 if percent else v for _, v in points]
            axes.plot([e for e, _ in points], scaled, color=colour, linestyle=dashes, linewidth=2.2, label=_label(look))
    for number, epoch in enumerate(fit.restarts[:40]):
        axes.axvline(epoch + 0.5, color="#b45309", linestyle=":", linewidth=1.5, label="" if number else "restart")
    if view.verdict is not None and view.verdict.metric == name:
        target = view.verdict.target * (100 if percent else 1)
        axes.axhline(target, color="#15803d", linewidth=1.5, label="bar")
    axes.set_title(_plain(metric_name(name)) + (", %" if percent else ""), loc="left", fontsize=13, parse_math=False)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#e5e7eb", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _label(look: str) -> str:
    return "training" if look == "train" else "validation"


def _plain(name: str) -> str:
    """A script chose the name: what the font may lack is shown as a question mark."""
    return name.encode("ascii", "replace").decode()
