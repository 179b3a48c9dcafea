"""Wheels without content, in place of downloads for GPUs that do not exist.

`tensorflow` and `tensorflow-cpu` contain the same files. Distributions that depend on TensorFlow
(tf_keras, tensorflow-hub, tensorflow-text) require the first, so that an installer would download
both: 570 MB more. A placeholder of that name and release that requires `tensorflow-cpu` satisfies
them.

XGBoost requires `nvidia-nccl-cu12`, 470 MB that it loads only to train on several GPUs.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from collections.abc import Collection
from dataclasses import dataclass

from mlops_lib.environments.requirement import name_of

NCCL = "nvidia-nccl-cu12"
_CPU = re.compile(r"tensorflow-cpu==(\d+\.\d+)\.\*(?=$|\s*;)")
"""The row's line with its release, which has wheels for one processor only."""


@dataclass(frozen=True)
class StandIn:
    """A distribution without content."""

    name: str
    version: str
    beside: str
    """The requirement that makes it necessary."""
    requires: str = ""
    """Its own requirements, in the syntax of a wheel's metadata."""
    machine: str = ""
    """The only processor that it is for, named as by `uname -m`; "" for all."""

    @property
    def file(self) -> str:
        """The wheel's file name."""
        return f"{self._stem}-py3-none-any.whl"

    @property
    def _stem(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}"

    def wheel(self) -> bytes:
        """The wheel: metadata only, reproducible byte by byte."""
        folder = f"{self._stem}.dist-info"
        asks = f"Requires-Dist: {self.requires}\n" if self.requires else ""
        files = {
            f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}\n{asks}",
            f"{folder}/WHEEL": "Wheel-Version: 1.0\nGenerator: mlops\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(
            f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items()
        )
        files[f"{folder}/RECORD"] = record + f"{folder}/RECORD,,\n"
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for path, text in files.items():
                archive.writestr(zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0)), text)
        return content.getvalue()


def needed(lines: Collection[str]) -> list[StandIn]:
    """Return the stand-ins for an environment with these requirements."""
    wheel_names = []
    release = next((cpu[1] for cpu in map(_CPU.match, lines) if cpu), "")
    if release:
        asks = f"tensorflow-cpu (=={release}.*)"
        wheel_names.append(
            StandIn(
                "tensorflow",
                f"{release}.0+cpu",
                beside="tensorflow-cpu",
                requires=asks,
                machine="x86_64",
            )
        )
    names = {name_of(line) for line in lines}
    if "xgboost" in names and NCCL not in names:
        wheel_names.append(StandIn(NCCL, "0+cpu", beside="xgboost"))
    return wheel_names


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
