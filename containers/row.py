"""Install a row of the catalog: `python -I row.py LAYER PIP-ARGUMENT…`.

From the layer's lock, file by file as its hashes say, where the lock is for this Python and processor; else what the row asks for,
in the newest releases that fit. Only the standard library and the pip of the image.
"""

import os
import platform
import runpy
import sys

PYTHON = (3, 11)
COMMON = ["install", "--disable-pip-version-check", "--progress-bar=off", "--root-user-action=ignore", "--only-binary", ":all:"]

if __name__ == "__main__":
    layer, asked = sys.argv[1], sys.argv[2:]
    lock = "/mlops/locks/%s/%s.txt" % (layer, platform.machine())
    if sys.version_info[:2] == PYTHON and os.path.isfile(lock):
        asked = ["--no-deps", "--require-hashes", "-r", lock]
    sys.argv = ["pip", *COMMON, *asked]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
