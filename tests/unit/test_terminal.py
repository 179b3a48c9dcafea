"""What a person sees while a run is under way: a live view in a terminal, plain lines in a log,
HTML in a notebook.
"""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from mlops_lib.display.notebook import Page
from mlops_lib.display.terminal import Plain, Terminal, leaderboard
from mlops_lib.formatting import sparkline

EVENTS: list[dict[str, Any]] = [
    {"event": "stage", "stage": "train"},
    {"event": "fit", "fit": 1, "epochs": 3, "model": "Sequential", "state": "started"},
    *(
        {
            "event": "epoch",
            "fit": 1,
            "epoch": n,
            "metrics": {"loss": 2.0 - n, "val_accuracy": 0.3 * n},
        }
        for n in range(3)
    ),
    {"event": "warning", "message": "\x1b[31mred</pre><script>"},
    {"event": "verdict", "verdict": {"verdict": "rejected", "mode": "max", "reasons": ["too low"]}},
    {"event": "stage", "stage": "search"},
    {"event": "trial", "trial": {"number": 0, "score": 0.6, "edits": [], "state": "finished"}},
    {
        "event": "trial",
        "trial": {"number": 1, "score": 0.9, "edits": ["widen <b>"], "curve": [0.5, 0.7, 0.9]},
    },
    {"event": "trial", "trial": {"number": 2, "state": "running", "edits": ["deepen"]}},
    {"event": "note", "message": "trial 1 brought +0.300 over trial 0: widen"},
]


def shown(*, terminal: bool) -> str:
    stream = io.StringIO()
    view: Any = (
        Terminal(Console(file=stream, force_terminal=True, width=140))
        if terminal
        else Plain(stream)
    )
    for event in EVENTS:
        view(event)
    view.close()
    return stream.getvalue()


def test_a_log_gets_the_first_and_the_last_of_many_epochs() -> None:
    stream = io.StringIO()
    view = Plain(stream)
    for epoch in range(500):
        view({"event": "epoch", "fit": 1, "epoch": epoch, "metrics": {}})
    view({"event": "warning", "message": "the training ends"})
    for epoch in range(500, 502):
        view({"event": "epoch", "fit": 2, "epoch": epoch, "metrics": {}})
    view.close()
    numbers = re.findall(r"epoch (\d+)|(the training ends)", stream.getvalue())
    assert numbers == [("1", ""), ("500", ""), ("", "the training ends"), ("502", "")]


def test_a_terminal_shows_bars_curves_and_the_leaderboard() -> None:
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown(terminal=True))
    assert "3/3 ▁▅█" in text
    assert "rejected. too low" in text
    best = text[text.rindex("changed") :]
    assert best.index("widen <b>") < best.index("as written") < best.index("deepen")


def test_a_log_has_lines_without_control_characters() -> None:
    lines = shown(terminal=False).splitlines()
    assert "   fit 1 epoch 3  loss 0  val_accuracy 0.6" in lines
    assert not any(character in line for line in lines for character in "\x1b\r")
    assert any("trial 1: 0.9000  widen <b>" in line for line in lines)
    assert "   trial 1 brought +0.300 over trial 0: widen" in lines


def test_a_notebook_shows_the_same_as_harmless_html() -> None:
    page = Page()
    for event in EVENTS:
        page(event)
    html = page.html()
    assert "widen &lt;b&gt;" in html
    assert "<script>" not in html
    assert "\x1b" not in html
    assert "<polyline" in html


def test_where_lower_is_better_the_lowest_comes_first() -> None:
    console = Console(file=io.StringIO(), width=100)
    trials = [{"number": n, "score": float(n), "edits": [str(n)]} for n in (3, 1, 2)]
    console.print(leaderboard(trials, is_lower_better=True))
    rows = console.file.getvalue().splitlines()[1:]  # type: ignore[attr-defined]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("values", "line"), [([], ""), ([1.0], ""), ([1.0, 1.0], "▁▁"), ([0, 1, 2, 3], "▁▃▆█")]
)
def test_sparklines(values: list[float], line: str) -> None:
    assert sparkline(values) == line
    assert len(sparkline(list(map(float, range(1000))))) <= 25
