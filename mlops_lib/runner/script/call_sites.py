"""Where in the script something was called: the place to change in a suggested patch."""

import os
import sys
from typing import Any, Dict, Optional

Site = Dict[str, Any]
"""file (relative to the working directory), line and column from 1 and 0, end_line, end_column;
columns None before 3.11.
"""


def caller(root: str) -> Optional[Site]:
    """The innermost call under way that the project's own code makes; None where there is none.

    Args:
        root: the working directory, where the project's code is.
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
            if i == frame.f_lasti // 2:
                site.update(line=line, end_line=end_line, column=column, end_column=end_column)
                break
    return site


def watch_layers(layer_class: Any, root: str) -> None:
    """Note, on each Keras layer that the script makes, where it does."""
    plain = layer_class.__new__

    def __new__(cls: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807 - what Python calls
        made = plain(cls, *args, **kwargs)
        object.__setattr__(made, "_mlops_site", caller(root))
        return made

    layer_class.__new__ = staticmethod(__new__)


def of(layer: Any) -> Optional[Site]:
    """Where the script made a layer."""
    site: Optional[Site] = layer.__dict__.get("_mlops_site")
    return site
