"""`mlops_lib.lazy_regex`: compiled at the first use, the same answers as `re`."""

from __future__ import annotations

import copy
import re
import subprocess
import sys

import pytest

from mlops_lib.lazy_regex import lazy_regex


def test_the_methods_answer_as_those_of_a_compiled_pattern() -> None:
    lazy = lazy_regex(r"(?P<key>\w+)=(\d+)", re.IGNORECASE)
    eager = re.compile(r"(?P<key>\w+)=(\d+)", re.IGNORECASE)
    text = "a=1, B=22"
    assert lazy.findall(text) == eager.findall(text) == [("a", "1"), ("B", "22")]
    assert lazy.sub("x", text) == eager.sub("x", text)
    assert [found.span() for found in lazy.finditer(text)] == [(0, 3), (5, 9)]
    assert (lazy.pattern, lazy.flags) == (eager.pattern, eager.flags)


def test_bytes_are_searched_too() -> None:
    found = lazy_regex(rb"\bfit\(").search(b"model.fit(x)")
    assert found is not None
    assert found.start() == 6


def test_a_wrong_expression_is_noticed_at_the_first_use_only() -> None:
    wrong = lazy_regex("(")
    with pytest.raises(re.error):
        wrong.match("x")


def test_a_copy_does_not_compile_for_ever() -> None:
    assert copy.copy(lazy_regex("a+")).fullmatch("aaa")


def test_importing_detection_compiles_next_to_nothing() -> None:
    """Each expression that is compiled at import costs every command a part of a millisecond."""
    code = (
        "import re._compiler as c; compile = c.compile; sources = []\n"
        "def noted(p, flags=0): sources.append(p); return compile(p, flags)\n"
        "c.compile = noted\n"
        "import shlex, json, tomllib, string; sources.clear()\n"
        "import mlops_lib.detection.project; print(len(sources))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) <= 3
