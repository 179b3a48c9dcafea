"""CSVLoggers of a resumed fit: their files have a header already."""

import contextlib
import io
from typing import Any, Iterator, List


class ResumedHeaders:
    """The CSVLoggers of a fit whose first epoch after a resume writes no header."""

    def __init__(self) -> None:
        self._loggers: List[Any] = []
        """Loggers and the script's own settings."""

    def suppress(self, callbacks: List[Any]) -> None:
        """Suppress the headers of all CSVLoggers among the callbacks."""
        self._loggers = suppress_headers(callbacks)

    @contextlib.contextmanager
    def as_set(self) -> Iterator[None]:
        """Give resumed CSVLoggers the script's own setting within the block.

        Checkpoints have to contain that setting, not the one that suppresses a second header.
        """
        for logger, setting in self._loggers:
            logger.append_header = setting
        try:
            yield
        finally:
            for logger, _ in self._loggers:
                logger.append_header = False

    def release(self) -> None:
        """Give all of them the script's own setting again."""
        for logger, setting in self._loggers:
            logger.append_header = setting
        self._loggers = []


def suppress_headers(callbacks: List[Any]) -> List[Any]:
    """Make CSVLoggers append to their restored files; return their settings."""
    loggers = [
        (callback, callback.append_header)
        for callback in callbacks
        if type(callback).__name__ == "CSVLogger"
    ]
    for logger, _ in loggers:
        # The file is restored with its header. `on_train_begin` would write another one in its
        # middle.
        logger.append_header = False
        logger.writer = None
        # The legacy Keras opens the file by TensorFlow, which keeps its own position in it.
        if not isinstance(logger.csv_file, io.IOBase):
            logger.csv_file.close()
            logger.csv_file = type(logger.csv_file)(logger.filename, "a")
    return loggers
