"""Google Colab's own modules, outside of it: the drive that a notebook mounts and the files that it
asks a browser for.

A mounted drive is a folder that this machine does not have: what is read from it is the pushed file
of that name (mlops_lib.runner.script.path_redirection). What would be uploaded is what was pushed,
and what would be downloaded is kept anyway.
"""

import os
from typing import Any, Dict, Iterator, Mapping, Sequence, Tuple

from mlops_lib.runner.compat.names import Names

HERE = "mlops_lib.runner.compat.colab"


class Pushed(Mapping[str, bytes]):
    """The files in a folder, each with its contents, which are read when they are asked for."""

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
    """What a person would choose in the browser: the files that were pushed beside the notebook."""
    return Pushed(os.getcwd())


def nothing(*_: Any, **__: Any) -> None:
    """What has a meaning in the browser only."""


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
