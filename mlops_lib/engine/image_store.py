"""The images that Docker stores: their working imports, sizes and removal."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_lib.engine import import_check
from mlops_lib.records import Record

LABEL_ENVIRONMENT = "org.mlops-lib.environment"
"""Label of every image made by this package: its row of the catalog."""
LABEL_HOME = "org.mlops-lib.home"
"""Label with a digest of the home that an image was built for."""
PROBE_BYTES = 1 << 30
PROBE_PIDS = 1024
UNPRIVILEGED = "65534:65534"


@dataclass(frozen=True, kw_only=True)
class StoredImage(Record):
    """One image or environment that an engine stores."""

    id: str
    tags: tuple[str, ...]
    environment: str
    bytes: int
    """Size, including the layers that it shares with others."""
    created: float
    """Unix time in seconds."""
    home: str = ""
    in_use: bool = False
    """Whether a container, running or ended, was created from it."""


def name_of_home(home: str) -> str:
    """Return the digest that stands for a home in labels."""
    return hashlib.sha256(os.fsencode(Path(home).resolve())).hexdigest()[:16]


def missing(client: Any, tag: str, imports: Collection[str]) -> list[import_check.Missing]:
    """Return the names that an image cannot import, tried in a caged container."""
    import requests

    container = client.containers.create(
        tag,
        import_check.arguments(imports),
        entrypoint=["python"],
        network_mode="none",
        cap_drop=["ALL"],
        read_only=True,
        security_opt=["no-new-privileges"],
        user=UNPRIVILEGED,
        init=True,
        working_dir="/tmp",
        tmpfs={"/tmp": f"rw,exec,nosuid,size={PROBE_BYTES},mode=1777"},
        environment={"HOME": "/tmp"},
        pids_limit=PROBE_PIDS,
        use_config_proxy=False,
    )
    try:
        container.start()
        try:
            container.wait(timeout=import_check.TIMEOUT_S)
        except requests.RequestException:
            container.kill()
        output = container.logs(stdout=True, stderr=False, tail=100 + 2 * len(imports)).decode(
            errors="replace"
        )
    finally:
        container.remove(force=True)
    return import_check.missing(output, imports)


def stored_images(client: Any) -> list[StoredImage]:
    """Return the images made by this package, largest first."""
    used_ids = {container["ImageID"] for container in client.api.containers(all=True)}
    images = []
    for image in client.api.images(filters={"label": LABEL_ENVIRONMENT}):
        labels = image.get("Labels") or {}
        tags = tuple(tag for tag in image.get("RepoTags") or () if tag != "<none>:<none>")
        images.append(
            StoredImage(
                id=image["Id"],
                tags=tags,
                environment=labels.get(LABEL_ENVIRONMENT, ""),
                bytes=int(image["Size"]),
                created=float(image["Created"]),
                home=labels.get(LABEL_HOME, ""),
                in_use=image["Id"] in used_ids,
            )
        )
    return sorted(images, key=lambda container: (-container.bytes, container.tags))


def remove(client: Any, images: Iterable[StoredImage]) -> list[StoredImage]:
    """Remove images without force; return the removed ones.

    The engine keeps images of which containers exist.
    """
    import docker.errors

    removed = []
    for image in images:
        try:
            for name in image.tags or (image.id,):
                client.images.remove(name)
        except docker.errors.ImageNotFound:
            pass  # somebody else was first
        except docker.errors.APIError as error:
            if error.status_code != 409:
                raise
            continue
        removed.append(image)
    return removed
