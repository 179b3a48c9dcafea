"""Find the methods of estimators that a project's source mentions."""

import os
from typing import Iterator, Sequence

PROBABILITIES = ("predict_proba", "predict_log_proba")
SUFFIXES = (".py", ".ipynb")
NOT_SOURCE = (".git", ".venv", "venv", "node_modules", "__pycache__", "site-packages")
MOST_FILES = 1000
MOST_BYTES = 4 << 20


def names(project: str, methods: Sequence[str]) -> bool:
    """Return whether a file of the project contains the name of one of these methods.

    True if there is more source than is read.
    """
    method_names = [method.encode() for method in methods]
    for count, path in enumerate(_sources(project)):
        if count >= MOST_FILES:
            return True
        try:
            with open(path, "rb") as stream:
                content = stream.read(MOST_BYTES + 1)
        except OSError:
            continue
        if len(content) > MOST_BYTES or any(name in content for name in method_names):
            return True
    return False


def _sources(project: str) -> Iterator[str]:
    for folder, folders, files in os.walk(project):
        folders[:] = sorted(name for name in folders if name not in NOT_SOURCE)
        for name in sorted(files):
            if name.endswith(SUFFIXES):
                yield os.path.join(folder, name)
