"""Look at a project's code and say what it is and what it needs, from the syntax tree.

source         text to tree, as far as it can be had
facts          what one file says
knowledge      what calls mean (a table)
distributions  import names to distributions (a table)
declared       requirements the project declares itself
project        entry, local modules, conclusions
"""

from __future__ import annotations

from mlops_lib.detection.project import detect

__all__ = ["detect"]
