"""Wheels that hold nothing but a name: `tensorflow`, where `tensorflow-cpu` is what is installed.

The two bring the same files, and what builds on TensorFlow (tf_keras, tensorflow-hub, tensorflow-text) asks for the first, so
that an installer would download both: 570 MB more, for GPUs that are not there. A distribution of that name and release that
asks for `tensorflow-cpu` answers for it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from collections.abc import Iterable

MACHINE = "x86_64"
"""The only processor that tensorflow-cpu is built for."""
_CPU = re.compile(r"tensorflow-cpu==(\d+\.\d+)\.\*(?=$|\s*;)")


def series(lines: Iterable[str]) -> str:
    """The release of tensorflow-cpu that requirements ask for, such as "2.21"; "" where they do not."""
    return next((found[1] for found in map(_CPU.match, lines) if found), "")


def name(release: str) -> str:
    """The wheel's file name."""
    return f"tensorflow-{release}.0+cpu-py3-none-any.whl"


def wheel(release: str) -> bytes:
    """The wheel: metadata only, and the same bytes every time."""
    folder = f"tensorflow-{release}.0+cpu.dist-info"
    files = {
        f"{folder}/METADATA": (
            f"Metadata-Version: 2.1\nName: tensorflow\nVersion: {release}.0+cpu\nRequires-Dist: tensorflow-cpu (=={release}.*)\n"
        ),
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nGenerator: mlops\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
    files[f"{folder}/RECORD"] = record + f"{folder}/RECORD,,\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0)), text)
    return content.getvalue()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
