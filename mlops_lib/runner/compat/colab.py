"""Stand-ins for Google Colab's modules: mounted drives and files exchanged with a browser.

A mounted drive is a folder that this machine does not have: reads find the pushed file of that name
(mlops_lib.runner.script.path_redirection). An upload returns the pushed files, and a download needs
nothing, since all output is kept.
"""

import os
from typing import Any, Dict, Iterator, Mapping, Sequence, Tuple

from mlops_lib.runner.compat.names import Names

HERE = "mlops_lib.runner.compat.colab"


class Pushed(Mapping[str, bytes]):
    """Mapping of a folder's file names to their contents, read on access."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __getitem__(self, name: str) -> bytes:
        try:
            with open(os.path.join(self._folder, name), "rb") as stream:
                return stream.read()
        except OSError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(entry.name for entry in os.scandir(self._folder) if entry.is_file()))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def upload(*_: Any, **__: Any) -> Pushed:
    """Return the files pushed beside the notebook, in place of a choice in the browser."""
    return Pushed(os.getcwd())


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing: the call matters only in a browser."""


_PARTS: Mapping[str, Names] = {
    "drive": {"mount": f"{HERE}:nothing", "flush_and_unmount": f"{HERE}:nothing"},
    "files": {"upload": f"{HERE}:upload", "download": f"{HERE}:nothing"},
    "output": {"clear": f"{HERE}:nothing", "enable_custom_widget_manager": f"{HERE}:nothing"},
    "patches": {"cv2_imshow": f"{HERE}:nothing"},
}
MODULES: Dict[str, Tuple[Sequence[str], Names]] = {
    "google": ((), {}),
    "google.colab": ((), {part: f"google.colab.{part}" for part in _PARTS}),
    **{f"google.colab.{part}": ((), names) for part, names in _PARTS.items()},
}
