"""Charts as SVG text, without libraries, scripts or inline styles.

Colours come from the page's stylesheet by class. One chart is therefore right in both forms of the
report (a server may forbid inline styles), in light and dark mode, on paper and on a phone. Equal
numbers give equal bytes. All text is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

POINTS_SHOWN = 240
"""Points drawn of one line; the eye cannot separate more."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart."""

    name: str
    look: Literal["train", "validation", "only"]
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One row of the verdict's axis."""

    name: str
    shown: str
    value: float
    look: Literal["model", "champion", "baseline", "seeds"]
    interval: tuple[float, float] | None = None
    dots: tuple[float, ...] = ()
    """Single values that `value` summarizes."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """One bar of the timeline."""

    name: str
    began: float
    ended: float
    look: Literal["finished", "failed", "killed", "unknown"]
    shown: str


@dataclass(frozen=True)
class _Scale:
    """A mapping from data to pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if self.log:
            share = (math.log10(value) - math.log10(self.low)) / (
                math.log10(self.high) - math.log10(self.low)
            )
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.02, max(-0.02, share)) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values on the scale."""
        if self.log:
            first = math.floor(math.log10(self.low))
            last = math.ceil(math.log10(self.high))
            step = max(1, (last - first) // 5)
            return [
                10.0**e for e in range(first, last + 1, step) if self.low <= 10.0**e <= self.high
            ]
        return round_values(self.low, self.high, 5)


def round_values(low: float, high: float, about: int) -> list[float]:
    """Return about `about` round values from `low` to `high`.

    >>> [round(value, 1) for value in round_values(0, 1, 5)]
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _range(values: Sequence[float], *, margin: float = 0.06) -> tuple[float, float]:
    low = min(values)
    high = max(values)
    # The difference of two finite numbers may not be finite; a chart of such values shows their
    # order only.
    spread = min(high - low, 1e300) or abs(high) * 0.1 or 1.0
    return max(low - spread * margin, -1e300), min(high + spread * margin, 1e300)


def curves(
    lines: Sequence[Line],
    *,
    title: str,
    number: Callable[[float], str],
    restarts: Sequence[int] = (),
    bar: float | None = None,
) -> str:
    """Draw a metric over the epochs, with restarts and the bar as lines across it.

    Args:
        lines: points as (epoch from 0, value).
        title: describes the picture in words, for screen readers.
        number: formats a value.
        restarts: epochs at which a new attempt began.
        bar: the value to reach, if this is the judged metric.
    """
    values = [v for line in lines for _, v in line.points if v is not None]
    if not values:
        return ""
    epochs = [x for line in lines for x, _ in line.points]
    low, high = _range([*values, *([bar] if bar is not None else [])])
    log = min(values) > 0 and max(values) / min(values) > 200
    if log:
        low = min(values) * 0.8
        high = max(values) * 1.25
    y = _Scale(low, high, 190, 8, log)
    x = _Scale(min(epochs), max(max(epochs), min(epochs) + 1), 52, 392)
    body = [_grid(y, number), _epochs_axis(x)]
    for epoch in list(restarts)[:40]:
        at = _n(x(epoch - 0.5))
        body.append(f'<line class="restart" x1="{at}" x2="{at}" y1="8" y2="190"/>')
        body.append(f'<path class="restart-mark" d="M{at} 8l-4 -6h8z"/>')
    if bar is not None:
        at = _n(y(bar))
        body.append(f'<line class="bar" x1="52" x2="392" y1="{at}" y2="{at}"/>')
        body.append(
            f'<text class="bar-text" x="390" y="{_n(y(bar) - 4)}" text-anchor="end">bar '
            f"{escape(number(bar))}</text>"
        )
    body += [_line_path(line, x, y) for line in lines]
    return _svg(400, 224, title, body, "curves")


def _grid(y: _Scale, number: Callable[[float], str]) -> str:
    parts = []
    for value in y.ticks():
        at = _n(y(value))
        parts.append(f'<line class="grid" x1="52" x2="392" y1="{at}" y2="{at}"/>')
        parts.append(
            f'<text x="46" y="{_n(y(value) + 4)}" text-anchor="end">{escape(number(value))}</text>'
        )
    return "".join(parts)


def _epochs_axis(x: _Scale) -> str:
    parts = ['<line class="axis" x1="52" x2="392" y1="190" y2="190"/>']
    # People count epochs from 1.
    labels = sorted(
        {round(v) for v in round_values(x.low + 1, x.high + 1, 5) if v >= 1} | {round(x.low) + 1}
    )
    for value in labels:
        parts.append(f'<text x="{_n(x(value - 1))}" y="206" text-anchor="middle">{value}</text>')
    parts.append('<text class="quiet" x="222" y="221" text-anchor="middle">epoch</text>')
    return "".join(parts)


def _line_path(line: Line, x: _Scale, y: _Scale) -> str:
    path = []
    pen_down = False
    count = 0
    for epoch, value in thinned(line.points):
        if value is None or (y.log and value <= 0):
            pen_down = False
            path.append(f'<path class="lost" d="M{_n(x(epoch) - 3)} 184l6 6m0 -6l-6 6"/>')
            continue
        count += 1
        path.append(f"{'L' if pen_down else 'M'}{_n(x(epoch))} {_n(y(value))}")
        pen_down = True
    gaps = [p for p in path if p.startswith("<")][:20]
    steps = "".join(p for p in path if not p.startswith("<"))
    shapes = [f'<path class="line {line.look}" d="{steps}"/>' if count else "", *gaps]
    last = next(
        ((e, v) for e, v in reversed(line.points) if v is not None and not (y.log and v <= 0)), None
    )
    if last is not None and last[1] is not None:
        shapes.append(
            f'<circle class="dot {line.look}" cx="{_n(x(last[0]))}" cy="{_n(y(last[1]))}" r="3"/>'
        )
    return "".join(shapes)


def thinned(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """Return at most about `POINTS_SHOWN` points.

    The lowest and the highest of each stretch are kept, so that no spike is lost.
    """
    if len(points) <= POINTS_SHOWN:
        return list(points)
    stretch = math.ceil(len(points) / (POINTS_SHOWN // 2))
    result: list[tuple[float, float | None]] = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        values = [(v, i) for i, (_, v) in enumerate(part) if v is not None]
        extremes = sorted({min(values)[1], max(values)[1]}) if values else [0]
        result += [part[i] for i in extremes]
    return result


def sparkline(values: Sequence[float], *, title: str) -> str:
    """Draw a small curve without axes."""
    if not values:
        return ""
    points = thinned(list(enumerate(values)))
    low, high = _range(values)
    x = _Scale(0, max(1, len(values) - 1), 3, 93)
    y = _Scale(low, high, 24, 4)
    steps = "".join(
        f"{'L' if i else 'M'}{_n(x(e))} {_n(y(v))}"
        for i, (e, v) in enumerate(points)
        if v is not None
    )
    end = (
        f'<circle class="dot only" cx="{_n(x(len(values) - 1))}" cy="{_n(y(values[-1]))}" r="2.5"/>'
    )
    return _svg(96, 28, title, [f'<path class="line only" d="{steps}"/>', end], "spark")


def verdict_axis(
    marks: Sequence[Mark],
    *,
    bar: float,
    bar_shown: str,
    mode: Literal["max", "min"],
    share: bool,
    title: str,
    number: Callable[[float], str],
) -> str:
    """Draw the verdict's numbers on one axis, a row each, and the bar across all rows.

    The side on which the bar is met is shaded.
    """
    values = [bar, *(m.value for m in marks), *(v for m in marks if m.interval for v in m.interval)]
    values += [value for mark in marks for value in mark.dots]
    low, high = _range(values, margin=0.12)
    if share:
        low, high = max(0.0, low), min(1.0, high)
    x = _Scale(low, high, 96, 400)
    bottom = 34 + 34 * len(marks)
    left, right = (x(bar), 400.0) if mode == "max" else (96.0, x(bar))
    width = _n(max(0.0, right - left))
    body = [
        f'<rect class="met" x="{_n(left)}" y="22" width="{width}" height="{bottom - 22}"/>',
    ]
    body.append(f'<line class="axis" x1="96" x2="400" y1="{bottom}" y2="{bottom}"/>')
    for value in x.ticks():
        at = _n(x(value))
        body.append(f'<line class="axis" x1="{at}" x2="{at}" y1="{bottom}" y2="{bottom + 4}"/>')
        body.append(
            f'<text class="quiet" x="{at}" y="{bottom + 18}" text-anchor="middle">'
            f"{escape(number(value))}</text>"
        )
    at = _n(x(bar))
    body.append(f'<line class="bar" x1="{at}" x2="{at}" y1="18" y2="{bottom}"/>')
    anchor = "end" if x(bar) > 350 else "start" if x(bar) < 150 else "middle"
    body.append(
        f'<text class="bar-text" x="{at}" y="13" text-anchor="{anchor}">{escape(bar_shown)}</text>'
    )
    body += [_row(mark, x, 42 + 34 * place) for place, mark in enumerate(marks)]
    return _svg(480, bottom + 24, title, body, "verdict-axis")


def _row(mark: Mark, x: _Scale, y: int) -> str:
    at = _n(x(mark.value))
    parts = [
        f'<text class="name {mark.look}" x="86" y="{y + 5}" text-anchor="end">'
        f"{escape(mark.name)}</text>",
        f'<text class="name {mark.look}" x="410" y="{y + 5}">{escape(mark.shown)}</text>',
    ]
    if mark.interval is not None:
        left = _n(x(mark.interval[0]))
        right = _n(x(mark.interval[1]))
        parts.append(
            f'<path class="interval" d="M{left} {y}H{right}M{left} {y - 6}v12M{right} {y - 6}v12"/>'
        )
    shape = {
        "model": f'<circle class="mark model" cx="{at}" cy="{y}" r="5"/>',
        "champion": f'<path class="mark champion" d="M{at} {y - 7}l7 7l-7 7l-7 -7z"/>',
        "baseline": f'<path class="mark baseline" d="M{at} {y - 6}l7 12h-14z"/>',
        "seeds": f'<path class="mark seeds" d="M{at} {y - 8}v16" stroke-width="2"/>',
    }[mark.look]
    parts += [f'<circle class="dot" cx="{_n(x(value))}" cy="{y}" r="3"/>' for value in mark.dots]
    return "".join([*parts, shape])


def stretches(bars: Sequence[Stretch], *, title: str, span: Callable[[float], str]) -> str:
    """Draw a run's attempts along the time."""
    if not bars:
        return ""
    began = min(b.began for b in bars)
    length = max(max(b.ended for b in bars) - began, 1e-3)
    x = _Scale(0, length, 96, 640)
    bottom = 10 + 26 * len(bars)
    body = []
    for value in round_values(0, length, 4):
        at = _n(x(value))
        body.append(f'<line class="grid" x1="{at}" x2="{at}" y1="4" y2="{bottom}"/>')
        body.append(
            f'<text class="quiet" x="{at}" y="{bottom + 16}" text-anchor="middle">'
            f"{escape(span(value))}</text>"
        )
    for place, bar in enumerate(bars):
        y = 8 + 26 * place
        left = x(bar.began - began)
        right = x(bar.ended - began)
        width = max(3.0, right - left)
        body.append(f'<text x="86" y="{y + 14}" text-anchor="end">{escape(bar.name)}</text>')
        body.append(
            f'<rect class="stretch {bar.look}" x="{_n(left)}" y="{y}" width="{_n(width)}" '
            'height="18" rx="3"/>'
        )
        if bar.look in ("failed", "killed"):
            body.append(
                f'<path class="stretch-end" d="M{_n(left + width - 4)} {y + 5}l8 8m0 -8l-8 8"/>'
            )
        body.append(f'<text class="quiet" x="650" y="{y + 14}">{escape(bar.shown)}</text>')
    return _svg(760, bottom + 24, title, body, "stretches")


def _n(value: float) -> str:
    """Return a coordinate with one decimal, which is finer than a pixel of any screen."""
    return f"{value:.1f}".removesuffix(".0")


def _svg(width: int, height: int, title: str, body: Sequence[str], kind: str) -> str:
    label = escape(title)
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        f"<title>{label}</title>{''.join(body)}</svg>"
    )
