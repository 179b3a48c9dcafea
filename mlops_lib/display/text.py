"""Text from outside made fit for a terminal or a log.

The names of folders, branches, metrics and models come from a push. Their control characters would move the cursor, set a
window's title or begin a log line of their own; their direction overrides would show another name.
"""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return the text with other characters in place of those that cannot be shown; lines stay lines.

    >>> printable("a\x1b[2Jb\u202ec\nd")
    'a�[2Jb�c\nd'
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else " " if one.isspace() else "�" for one in text)


def one_line(text: str) -> str:
    r"""Return the text as one line, so that nothing in it can pass for another one.

    >>> one_line("digits\nmlops: accepted")
    'digits mlops: accepted'
    """
    return printable(text).replace("\n", " ").replace("\t", " ")
