"""Look at a project's code and say what it is and what it needs, from the syntax tree.

source         bytes to tree, as far as it can be had
facts          what one file says: imports, calls by full name, data
visitor        from tree to facts (shapes: structures that no single call names, reading: data)
knowledge      what names mean (a table), meaning: how it is read
conclusion     framework and families of one file
age            which generation of its framework code was written for
distributions  import names to distributions (a table)
declared       requirements the project declares itself
files          the project's files and local modules
entry          which of them trains
findings       everything that is said about an entry
project        the whole way

A script must be looked at in less time than a shell needs to notice, so modules here load nothing that they may not need:
no dataclasses, no typing, patterns compiled when they are first used.
"""

from __future__ import annotations

from mlops_lib.detection.project import detect

__all__ = ["detect"]
