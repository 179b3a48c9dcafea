"""PyTorch's own builds: for processors, or for one release of CUDA, from an index of their own.

The usual index has builds for GPUs only, with 4 GB of libraries. PyTorch's index, or a mirror of
it, has a folder for each build (`cpu`, `cu126`). Only the distributions in `NAMES` are ever asked
of it, each without what it needs: whatever else somebody publishes there is never seen.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from mlops_lib.environments.requirement import name_of, read, release
from mlops_lib.errors import UsageError

NAMES = ("torch", "torchvision", "torchaudio")
"""All that comes from PyTorch's index."""
CUDA = ("11.8", "12.1", "12.4", "12.6", "12.8", "12.9", "13.0", "13.2")
"""Releases of CUDA that PyTorch has builds for, oldest first."""
_GPU_LIBRARIES = re.compile(
    r"nvidia-.+|cuda-(bindings|pathfinder|toolkit)|triton|pytorch-triton(-.+)?"
)
_BUILD = re.compile(r"(cpu|cu\d+|rocm[\d.]+|xpu)")
_LOCKED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(?:[^\n]*\\\n)*[^\n]*\n?", re.MULTILINE)


def is_for_gpus(name: str) -> bool:
    """Return whether a distribution is a library that only a build for GPUs needs."""
    return _GPU_LIBRARIES.fullmatch(name) is not None


def address(index: str, *, gpus: bool, cuda: str = "") -> str:
    """Return the address of the builds for an engine, "" if those of the usual index are right.

    Args:
        index: the operator's setting; a last part such as `cpu` or `cu126` stays as it is.
        gpus: whether trainings get GPUs.
        cuda: the newest CUDA that the GPUs' driver knows, such as "12.6"; "" if that is unknown.

    Raises:
        UsageError: it is no address, or it has a password, which image layers would show.

    Example:
        >>> address("https://torch.example/whl", gpus=False)
        'https://torch.example/whl/cpu'
        >>> address("https://torch.example/whl/", gpus=True, cuda="12.7")
        'https://torch.example/whl/cu126'
    """
    if not index:
        return ""
    parts = urlsplit(index)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or re.search(r"[\s\"'\\]", index)
    ):
        raise UsageError(
            f"{index!r} is no address of an index",
            where="torch_index",
            remedy="Name one such as https://mirror.example/whl.",
        )
    if "@" in parts.netloc or parts.query:
        raise UsageError(
            "the address has a password in it",
            where="torch_index",
            remedy="Name a mirror that needs none: the address stands in the images' history.",
        )
    plain = index.rstrip("/")
    if _BUILD.fullmatch(plain.rpartition("/")[2]):
        return plain
    if not gpus:
        return f"{plain}/cpu"
    builds = [one for one in CUDA if cuda and release(one) <= release(cuda)]
    return f"{plain}/cu{builds[-1].replace('.', '')}" if builds else ""


def lines(requirements: Iterable[str], locked: str = "") -> list[str]:
    """Return the requirements that PyTorch's index is asked for.

    Args:
        requirements: an environment's requirements.
        locked: the release of torch in the row's lock, which a requirement without versions gets.
    """
    found = []
    for text in requirements:
        line = read(text)
        if line is not None and line.name in NAMES:
            is_rows = line.name == "torch" and locked and not line.versions
            versions = (("==", locked),) if is_rows else line.versions
            found.append(str(line._replace(extras="", versions=versions)))
    return sorted(found)


def without_gpu_libraries(requirements: Iterable[str]) -> list[str]:
    """Return the requirements without what a build for GPUs brings."""
    return [line for line in requirements if not is_for_gpus(name_of(line))]


def unlocked(text: str) -> str:
    """Return a row's lock without PyTorch and what its builds for GPUs need."""

    def keep(match: re.Match[str]) -> str:
        name = name_of(match[1])
        return "" if name in NAMES or is_for_gpus(name) else match[0]

    return _LOCKED.sub(keep, text)


def wants_any(names: Collection[str]) -> bool:
    """Return whether some of these distributions are PyTorch's."""
    return not set(NAMES).isdisjoint(names)
