"""Numbers that a script reports itself: in its output, or in files that it writes."""

import contextlib
import os
import re
from typing import Any, Iterable, Iterator, NamedTuple, Optional, Tuple

from mlops_lib.runner.state import atomic

ACCURACY_FILE = re.compile(r"(?:^|[^a-z])acc(?:uracy|uracies)?(?:[^a-z]|$)|accuracy", re.IGNORECASE)
RESULT_FILE = re.compile(r"score|result|output|metric|report|performance|data", re.IGNORECASE)
TEXT_SUFFIXES = ("", ".txt", ".log", ".json", ".csv", ".dat", ".out", ".text")
MAX_FILE_BYTES = 1 << 16
MAX_METRICS_FILE_BYTES = 1 << 20
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_FIRST_NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?\s*%?")
_LABELLED_NUMBER = re.compile(
    rf"acc(?:uracy)?[\w %()]*[\"']?\s*[:=]?\s*[\[(]?\s*({_NUMBER})\s*(%?)", re.IGNORECASE
)
_SINGLE_NUMBER = re.compile(rf"\s*[\[(]*\s*(?:{_NUMBER}\s*,\s*)*({_NUMBER})\s*(%?)\s*[\])]*\s*")


class Reported(NamedTuple):
    """A number that the script reports."""

    metric: str
    value: float
    source: str
    """Either printed or file."""


def in_output(pattern: str, output: str) -> Iterator[Reported]:
    """Yield the last number of the output that matches the setting's pattern.

    Args:
        pattern: a regular expression whose group is the number.
        output: the script's output.
    """
    matches = re.findall(pattern, output)
    if matches:
        last = matches[-1] if isinstance(matches[-1], str) else matches[-1][0]
        yield from _number("accuracy" if "acc" in pattern.lower() else "metric", last, "printed")


def in_metrics_file(path: str) -> Iterator[Reported]:
    """Yield the numbers of a JSON object by name, or the first number of the file.

    Args:
        path: the file; nothing is yielded if it is missing, unreadable or large.
    """
    with contextlib.suppress(OSError, ValueError):
        if os.path.getsize(path) >= MAX_METRICS_FILE_BYTES:
            return
        content = atomic.read_json(path)
        if isinstance(content, dict):
            for metric, value in content.items():
                yield from _number(str(metric), value, "file")
            return
        with open(path) as stream:
            match = _FIRST_NUMBER.search(stream.read())
        if match:
            yield from _number("accuracy", match.group(), "file")


def _number(metric: str, text: Any, source: str) -> Iterator[Reported]:
    """Yield a value as a number, or nothing if it is none; an accuracy as a share."""
    if isinstance(text, bool):
        return
    percent = isinstance(text, str) and text.strip().endswith("%")
    try:
        value = float(text.strip().rstrip("%")) if isinstance(text, str) else float(text)
    except (TypeError, ValueError):
        return
    # Scripts print an accuracy as 0.93, as 93 or as 93 %.
    if metric.startswith("acc") and (percent or 1 < value <= 100):
        value /= 100
    yield Reported(metric, value, source)


def accuracy_in_files(work: str, paths: Iterable[str]) -> Optional[Tuple[str, float]]:
    """Return the first accuracy in files that are named for one, with its file.

    Args:
        work: the working directory.
        paths: the files that the script wrote, relative to it.

    Returns:
        The file and the accuracy, or None.
    """
    # Files named for the accuracy come before files with a general name such as `results.txt`.
    for path in sorted(paths, key=lambda path: (-_accuracy_file_rank(path), path)):
        value = read_accuracy(os.path.join(work, path)) if _accuracy_file_rank(path) else None
        if value is not None:
            return path, value
    return None


def _accuracy_file_rank(path: str) -> int:
    stem, suffix = os.path.splitext(os.path.basename(path))
    if suffix.lower() not in TEXT_SUFFIXES:
        return 0
    return 2 if ACCURACY_FILE.search(stem) else 1 if RESULT_FILE.search(stem) else 0


def read_accuracy(path: str) -> Optional[float]:
    """Return the accuracy in a file, or None if the content is ambiguous.

    The file may contain a single number, a list (the last number counts) or a number after the
    word.
    """
    try:
        if os.path.getsize(path) > MAX_FILE_BYTES:
            return None
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return None
    alone = _SINGLE_NUMBER.fullmatch(text)
    if alone is not None and _accuracy_file_rank(path) < 2 and "." not in alone[1]:
        return None  # a whole number may be a count
    matches = [alone] if alone is not None else list(_LABELLED_NUMBER.finditer(text))
    if not matches:
        return None
    number, percent = matches[-1].group(1, 2)
    value = float(number)
    if number.lstrip("+") == "1" and not percent:
        return None  # 1 may mean everything or one per cent
    if percent or 1 < value <= 100:
        value /= 100
    return value if 0 <= value <= 1 else None
