"""Journal of adaptations for an old script: each once, with the script's own line."""

import os
import sys
from typing import Optional, Tuple

from mlops_lib.runner.journal import Journal


class Notes:
    """Writer of one warning for each adaptation.

    Example of a warning: `train.py:12: keras.layers.Convolution2D is Conv2D since Keras 2`.
    """

    def __init__(self, journal: Journal, work: str) -> None:
        self._journal = journal
        self.work = os.path.realpath(work)
        """The folder of the script's own files."""
        self._said: "set[str]" = set()

    def say(self, message: str, *, line: Optional[Tuple[str, int]] = None) -> None:
        """Journal an adaptation, unless it was journaled before.

        Args:
            message: the old form and its present meaning.
            line: file and line, if no frame of the script shows them.
        """
        key = message if line is None else f"{line[0]}: {message}"
        if key in self._said:
            return
        self._said.add(key)
        place = line or self._place()
        self._journal.warn(message if place is None else f"{place[0]}:{place[1]}: {message}")

    def _place(self) -> Optional[Tuple[str, int]]:
        frame = sys._getframe(1)
        while frame is not None:
            name = frame.f_code.co_filename
            if os.path.isabs(name) and os.path.realpath(name).startswith(self.work + os.sep):
                return os.path.relpath(os.path.realpath(name), self.work), frame.f_lineno
            frame = frame.f_back  # type: ignore[assignment]
        return None
