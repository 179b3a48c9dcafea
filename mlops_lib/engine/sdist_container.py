"""Build a source distribution in a container without network and privileges."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlops_lib.engine import buildkit, sdists
from mlops_lib.engine.image_store import LABEL_ENVIRONMENT, LABEL_HOME, UNPRIVILEGED
from mlops_lib.environments import images
from mlops_lib.errors import ImageError

BUILD_S = 900
MEMORY_BYTES = 4 << 30
TEMPORARY_BYTES = 2 << 30
PIDS = 512
LOG_LINES = 400
FILES = 16
"""Number of a build's files that are looked at."""
PIP = (
    "python",
    "-I",
    "-m",
    "pip",
    "wheel",
    "--disable-pip-version-check",
    "--progress-bar=off",
    "--no-cache-dir",
    "--no-deps",
    "--no-index",
    "--use-pep517",
)
VARIABLES = {
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "LC_ALL": "C.UTF-8",
    "SOURCE_DATE_EPOCH": "315532800",
}
"""Variables of a build.

The date, the earliest of a zip, makes its wheel reproducible.
"""


class ContainerBuilder:
    """Builds source distributions on a base image."""

    def __init__(self, client: Any, *, base_image: str, home: str) -> None:
        self._client = client
        self._base_image = base_image
        self._home = home
        self.identity = f"docker {base_image} {client.info().get('Architecture')}"

    def __call__(
        self, archive: Path, requires: Sequence[str], *, on_line: sdists.OnLine
    ) -> list[tuple[str, bytes]]:
        """Build one source distribution, as `sdists.Builder` specifies."""
        tag = self._image(requires, on_line)
        container = self._client.containers.create(
            tag,
            [
                *PIP,
                "--find-links",
                "/mlops/wheels",
                "--wheel-dir",
                "/mlops/out",
                f"/mlops/in/{archive.name}",
            ],
            entrypoint=[],
            # The build's own code runs here. All that it may need was downloaded before, by a
            # program that runs nothing of the archive.
            network_mode="none",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            user=UNPRIVILEGED,
            init=True,
            working_dir="/tmp",
            environment=VARIABLES,
            use_config_proxy=False,
            pids_limit=PIDS,
            mem_limit=MEMORY_BYTES,
            memswap_limit=MEMORY_BYTES,
            tmpfs={"/tmp": f"rw,exec,nosuid,size={TEMPORARY_BYTES},mode=1777"},
        )
        try:
            # Copied in, not mounted: the build never gets a path of this machine.
            container.put_archive("/mlops/in", _packed(archive))
            return self._run(container, archive, on_line)
        finally:
            container.remove(force=True)

    def _run(
        self, container: Any, archive: Path, on_line: sdists.OnLine
    ) -> list[tuple[str, bytes]]:
        import requests

        container.start()
        try:
            status = container.wait(timeout=BUILD_S)["StatusCode"]
        except requests.RequestException:
            container.kill()
            status = -1
        # A build can print without end, also within one line.
        output = container.logs(tail=LOG_LINES).decode(errors="replace")[-(1 << 20) :]
        lines = [sdists.printable(line) for line in output.splitlines()]
        for line in lines:
            on_line(line)
        if status != 0:
            raise ImageError(
                "a source distribution cannot be built"
                if status > 0
                else f"its build took longer than {BUILD_S} s",
                where=archive.name,
                log="".join(f"{line}\n" for line in lines),
                remedy="Pin a release that has a wheel. The build has no network, and no compiler"
                " unless apt.txt names one.",
            )
        return _wheels(container)

    def _image(self, requires: Sequence[str], on_line: sdists.OnLine) -> str:
        """Build the image with a build's own requirements if missing; return its tag."""
        text = (images.CONTAINERS / "Dockerfile.builder").read_text(encoding="utf-8")
        text = text.replace("@DOWNLOADING@", images.DOWNLOADING)
        fetch = (images.CONTAINERS / "fetch.py").read_bytes()
        content = json.dumps(
            [text, sorted(requires), self._base_image, hashlib.sha256(fetch).hexdigest()]
        )
        tag = f"mlops/sdist-builder:{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        requirements = "".join(f"{line}\n" for line in sorted(requires))
        files = {
            "Dockerfile": text.encode(),
            "requires.txt": requirements.encode(),
            "fetch.py": fetch,
        }
        labels = {LABEL_ENVIRONMENT: "sdist-builder", LABEL_HOME: self._home}
        return buildkit.helper_image(
            self._client, tag, files, base_image=self._base_image, labels=labels, on_line=on_line
        )


def _packed(archive: Path) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as packed, archive.open("rb") as stream:
        entry = tarfile.TarInfo(archive.name)
        entry.size, entry.mode, entry.mtime = archive.stat().st_size, 0o644, int(time.time())
        packed.addfile(entry, stream)
    return content.getvalue()


def _wheels(container: Any) -> list[tuple[str, bytes]]:
    """Return the wheels that a build left: a few regular files of bounded size."""
    stream, _ = container.get_archive("/mlops/out")
    wheels: list[tuple[str, bytes]] = []
    with tempfile.TemporaryFile() as packed:
        size = 0
        for block in stream:
            size += len(block)
            # The archive comes from a container that a stranger's code wrote: its size is unknown,
            # and its member names may be paths, of which only the last part is used.
            if size > sdists.ARCHIVE_BYTES:
                raise ImageError(
                    "its build left too much", where="/mlops/out", remedy="Pin another release."
                )
            packed.write(block)
        packed.seek(0)
        with tarfile.open(fileobj=packed) as opened:
            for member in opened:
                name = member.name.rpartition("/")[2]
                content = (
                    opened.extractfile(member) if member.isreg() and name.endswith(".whl") else None
                )
                if content is not None and len(wheels) < FILES:
                    wheels.append((name, content.read()))
    return wheels
