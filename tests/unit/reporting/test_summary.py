"""`reporting.summary`: texts of a script in Markdown."""

from __future__ import annotations

import html
from pathlib import Path

import pytest

from mlops_lib import atomic
from mlops_lib.environments import images
from mlops_lib.records import Environment, RunSpec, Verdict
from mlops_lib.reporting import summary
from mlops_lib.run_directory import write_spec
from mlops_lib.runner import protocol


def shown(text: str) -> str:
    """What a reader of the Markdown sees."""
    plain = html.unescape(text.replace("\u200b", ""))
    return plain.replace("\\", "")


@pytest.mark.parametrize(
    "text",
    [
        "**bold** `code` [link](x) | cell",
        "<img src=x onerror=alert(1)>",
        "@somebody #1 https://evil.example www.evil.example",
        "- item",
        "1. item",
        "# heading",
        "$x$ ~~gone~~",
    ],
)
def test_a_scripts_text_adds_no_markup(text: str) -> None:
    escaped = summary.escaped(text)
    assert shown(escaped) == text
    assert "<img" not in escaped
    for markup in ("**bold**", "@somebody", "https://evil", "www.evil", " | ", "~~gone~~"):
        assert markup not in escaped
    assert not escaped.startswith(("- ", "1. ", "# "))


def test_lines_become_one() -> None:
    assert summary.escaped("a\n\n- b\r\nc") == "a - b c"


def test_a_fence_is_longer_than_any_in_the_text() -> None:
    assert summary._fenced("a ```` b").startswith("`````text\n")


def test_a_run_in_a_few_lines(tmp_path: Path) -> None:
    image = images.plan(Environment(name="python", framework="none", family="none"))
    spec = RunSpec(
        digest="d",
        name="fraud_v2",
        project="/p",
        entry="train.py",
        backend="process",
        image=image,
    )
    write_spec(tmp_path, spec)
    verdict = Verdict(
        verdict="rejected",
        metric="accuracy",
        value=0.75,
        interval=(0.7, 0.8),
        target=0.8,
        reasons=("misses the bar: *raise* `trials`",),
    )
    atomic.write_json(tmp_path / protocol.VERDICT, verdict.to_json())
    text = summary.markdown(tmp_path)
    assert text.startswith("### ❌ fraud\\_v2: rejected")
    assert "- misses the bar: \\*raise\\* \\`trials\\`" in text
    assert "| accuracy | 75" in text
    assert "| 95 % interval | 70" in text
