"""Positions of calls in the script: the places that a suggested patch changes."""

import os
import sys
from typing import Any, Dict, Optional

Site = Dict[str, Any]
"""Keys: file (relative to the working directory), line (from 1), column (from 0), end_line,
end_column.

Columns are None before Python 3.11.
"""


def caller(root: str) -> Optional[Site]:
    """Return the innermost running call in the project's code; None if there is none.

    Args:
        root: the working directory, which contains the project's code.
    """
    frame = sys._getframe(1)
    prefix = root.rstrip(os.sep) + os.sep
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(prefix) and "site-packages" not in name:
            return _place(frame, name[len(prefix) :])
        if not os.path.isabs(name) and os.path.exists(os.path.join(root, name)):
            return _place(frame, os.path.normpath(name))
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _place(frame: Any, name: str) -> Site:
    site: Site = {
        "file": name,
        "line": frame.f_lineno,
        "column": None,
        "end_line": None,
        "end_column": None,
    }
    if hasattr(frame.f_code, "co_positions"):
        for i, (line, end_line, column, end_column) in enumerate(frame.f_code.co_positions()):
            # `f_lasti` counts bytes, and an instruction has two.
            if i == frame.f_lasti // 2:
                site.update(line=line, end_line=end_line, column=column, end_column=end_column)
                break
    return site


def watch_layers(layer_class: Any, root: str) -> None:
    """Record on each Keras layer the position in the script that creates it."""
    plain = layer_class.__new__

    def __new__(cls: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807 - what Python calls
        layer = plain(cls, *args, **kwargs)
        # Keras tracks attributes that are set the usual way.
        object.__setattr__(layer, "_mlops_site", caller(root))
        return layer

    layer_class.__new__ = staticmethod(__new__)


def of(layer: Any) -> Optional[Site]:
    """Return the position at which the script created a layer."""
    site: Optional[Site] = layer.__dict__.get("_mlops_site")
    return site
