"""Numbers, times and verdicts as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from mlops_lib.lazy_regex import lazy_regex

NARROW = "\u202f"
"""Narrow no-break space, between a number and its unit."""


def is_share(metric: str | None) -> bool:
    """Return whether a metric of this name is shown in per cent."""
    # `mlops detect` needs this module but no metrics, and must answer at once.
    from mlops_lib.runner import protocol

    return bool(metric) and protocol.is_proportion(metric or "")


def metric_value(metric: str | None, value: float | None) -> str:
    """Return a metric's value: shares in per cent, others with four significant digits."""
    if value is None:
        return "not a number"
    if is_share(metric) and 0 <= value <= 1:
        return f"{_trim(f'{value * 100:.1f}')}{NARROW}%"
    return plain_number(value)


def plain_number(value: float) -> str:
    """Return a number with four significant digits; a whole number without decimals."""
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3g}"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def difference(metric: str | None, value: float) -> str:
    """Return a signed difference between two values of a metric: points for shares."""
    sign = "+" if value > 0 else "−" if value < 0 else "±"
    if is_share(metric):
        return f"{sign}{_trim(f'{abs(value) * 100:.1f}')} points"
    return f"{sign}{plain_number(abs(value))}"


def _trim(digits: str) -> str:
    return digits[:-2] if digits.endswith(".0") else digits


def whole(value: int | None) -> str:
    """Return a count with thousands separated; a dash for None."""
    return "–" if value is None else f"{value:,}"


def counted(value: int, noun: str) -> str:
    """Return a count with its noun: 1 trial, 2 trials."""
    return f"{value:,} {noun}" if value == 1 else f"{value:,} {noun}s"


def duration(seconds: float) -> str:
    """Return seconds in the two largest units: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds > 1e9:
        return "more than thirty years"
    if seconds < 0.1:
        return f"{seconds * 1000:.0f}{NARROW}ms" if seconds >= 0.001 else f"0{NARROW}s"
    if seconds < 9.95:
        return f"{seconds:.1f}{NARROW}s"
    for size, unit, smaller, small in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if round(seconds) >= size:
            many, rest = divmod(round(seconds), size)
            less = rest // smaller
            return f"{many:,}{NARROW}{unit}" + (f" {less}{NARROW}{small}" if less else "")
    return f"{round(seconds)}{NARROW}s"


_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], *, width: int = 24) -> str:
    """Return a curve as at most `width` characters; "" for fewer than two values.

    >>> sparkline([0.1, 0.4, 0.6, 0.7])
    '▁▅▇█'
    """
    if len(values) < 2:
        return ""
    step = -(-len(values) // width)
    points = values[::-step][::-1]  # the last value is always among them
    low = min(points)
    spread = (max(points) - low) or 1.0
    last = len(_BLOCKS) - 1
    return "".join(
        _BLOCKS[min(last, int((value - low) / spread * len(_BLOCKS)))] for value in points
    )


def size(n_bytes: int) -> str:
    """Return bytes with a unit of 1024."""
    value = float(n_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return (
                f"{value:.0f}{NARROW}{unit}"
                if value >= 100 or unit == "bytes"
                else f"{value:.1f}{NARROW}{unit}"
            )
        value /= 1024
    raise AssertionError("unreachable")


def moment(unix: float) -> str:
    """Return a time in UTC, so that the same run gives the same report everywhere."""
    try:
        return datetime.fromtimestamp(unix, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return "unknown"


def metric_name(metric: str | None) -> str:
    """Return a metric's name without underscores and with Keras' `val_` prefix in words."""
    name = metric or "metric"
    return (
        f"{name[4:]} (validation)".replace("_", " ")
        if name.startswith("val_")
        else name.replace("_", " ")
    )


def printable(text: str) -> str:
    r"""Return the text with characters that cannot be shown replaced; line breaks stay.

    >>> printable("a\x1b[2Jb\u202ec\nd")
    'a�[2Jb�c\nd'
    """
    if text.isprintable():
        return text
    return "".join(map(_printable_character, text))


def _printable_character(character: str) -> str:
    if character.isprintable() or character in "\n\t":
        return character
    return " " if character.isspace() else "�"


def one_line(text: str) -> str:
    r"""Return the text as one line, so that nothing in it can pass for another one.

    >>> one_line("digits\nmlops: accepted")
    'digits mlops: accepted'
    """
    return printable(text).replace("\n", " ").replace("\t", " ")


_TERMINAL_CONTROL = lazy_regex(
    r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\^_])"
)


def terminal_text(text: str) -> str:
    r"""Return the text as a terminal would have left it.

    Control sequences are removed, and of a line that overwrites itself, as progress bars do, the
    last version remains. Other characters that cannot be shown become spaces. `printable` is for
    text in which they should be noticed.

    >>> terminal_text("\x1b[31mepoch 1\repoch 2\x1b[0m\nend")
    'epoch 2\nend'
    """
    lines = _TERMINAL_CONTROL.sub("", text).replace("\r\n", "\n").replace("\t", "    ").split("\n")
    last = (line.rstrip("\r").rpartition("\r")[2] for line in lines)
    return "\n".join(
        "".join(character if character.isprintable() else " " for character in line).rstrip()
        for line in last
    )


def terminal_line(text: str) -> str:
    r"""Return `terminal_text` on one line, with runs of white space as single spaces.

    >>> terminal_line("a\n  b\tc")
    'a b c'
    """
    return " ".join(terminal_text(text.replace("\r", " ")).split())
