"""Tables of names, written as people read them: words with spaces between."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


def each(value: str, text: str) -> dict[str, str]:
    """Every word of a text, all meaning the same."""
    return dict.fromkeys(text.split(), value)
