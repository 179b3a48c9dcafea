"""Install a row of the catalog: `python -I row.py LAYER PIP-ARGUMENT…`.

From the layer's lock, file by file as its hashes say, where the lock is for this Python and processor; else what the row asks for,
in the newest releases that fit. The layer `torch` is PyTorch from an index of its own: without what it needs, and nothing that is
installed later may take its place. Only the standard library and the pip of the image.
"""

import importlib.metadata
import os
import platform
import sys

PYTHON = (3, 11)
COMMON = ["install", "--disable-pip-version-check", "--progress-bar=off", "--root-user-action=ignore", "--only-binary", ":all:"]
TORCH = ("torch", "torchvision", "torchaudio")
HELD = "/mlops/torch-held.txt"


def arguments(layer, asked):
    """Return pip's arguments for a layer."""
    lock = "/mlops/locks/%s/%s.txt" % (layer, platform.machine())
    if sys.version_info[:2] == PYTHON and os.path.isfile(lock):
        return ["--no-deps", "--require-hashes", "-r", lock]
    if layer == "torch":
        return ["--no-deps", *asked]
    return [*asked, "-c", HELD] if os.path.isfile(HELD) else asked


def hold():
    """Write down the releases of PyTorch that are installed, as constraints."""
    with open(HELD, "w", encoding="utf-8") as stream:
        for one in importlib.metadata.distributions():
            name = (one.metadata["Name"] or "").lower()
            if name in TORCH:
                stream.write("%s==%s\n" % (name, one.version))


if __name__ == "__main__":
    from pip._internal.cli.main import main

    status = main([*COMMON, *arguments(sys.argv[1], sys.argv[2:])])
    if not status and sys.argv[1] == "torch":
        hold()
    sys.exit(status)
