"""Building images: the `docker build` command with BuildKit, which has cache mounts and secrets; the SDK has neither."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from mlops_lib import images, requirements
from mlops_lib.engine import index, patience, programs
from mlops_lib.engine.store import LABEL_ENVIRONMENT, LABEL_HOME
from mlops_lib.errors import EngineError, ImageError
from mlops_lib.records import Image

LOG_LINES = 200
"""How much of a failed build's output its error carries."""


def build(image: Image, *, on_line: Callable[[str], None], home: str = "") -> None:
    """Build an image; `on_line` gets the builder's output, `home` is a label.

    Raises:
        EngineError: there is no command that can build.
        ImageError: the build failed; carries the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-build-") as folder:
        run(command(image, Path(folder), home=home), image.tag, on_line, pinned=images.pinned(image.environment))


def command(image: Image, folder: Path, *, home: str = "") -> list[str]:
    """The command that builds an image; its context and secrets are written into an empty folder.

    Raises:
        EngineError: there is no command that can build.
    """
    context, secrets = folder / "context", folder / "secrets"
    context.mkdir()
    secrets.mkdir(mode=0o700)
    images.context(image, context)
    return [
        client_program(), "build", "--progress=plain", "--tag", image.tag, "--build-arg", f"BASE_IMAGE={image.base_image}",
        "--label", f"{LABEL_ENVIRONMENT}={image.environment.name}", "--label", f"{LABEL_HOME}={home}",
        *_secrets(secrets), *_proxies(), str(context),
    ]  # fmt: skip


def _secrets(folder: Path) -> list[str]:
    """The index's settings and certificates: files that exist while pip runs, and are in no layer and no history."""
    found = index.settings()
    bundle = index.certificates(found)
    options = [] if bundle is None else ["--secret", f"id=ca,src={bundle}"]
    cert = "" if bundle is None else "/run/secrets/ca"
    text = index.pip_conf(found, cert=cert, only_wheels=requirements.only_wheels())
    if text:
        (folder / "pip.conf").write_text(text, encoding="utf-8")
        options += ["--secret", f"id=pip,src={folder / 'pip.conf'}"]
    return options


def _proxies() -> list[str]:
    """BuildKit knows these arguments and keeps them out of the image's history; the values pass by the environment."""
    return [word for name in index.PROXIES if os.environ.get(name) for word in ("--build-arg", name)]


def run(command: list[str], tag: str, on_line: Callable[[str], None], *, pinned: bool = False) -> None:
    """Run a build; one that finds no releases that go together is ended where there are versions to loosen (`pinned`).

    Raises:
        ImageError: it failed; carries the end of its log.
    """
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", cwd=programs.FOLDER, env={**os.environ, "PATH": programs.search_path(), "DOCKER_BUILDKIT": "1"},
    ) as process:  # fmt: skip
        lines = patience.followed(process, on_line, asked=pinned)
    if process.returncode != 0:
        raise ImageError(
            "the image cannot be built", where=tag,
            remedy="The builder's reason is above; `mlops build PROJECT --print` shows the Dockerfile.",
            log="".join(lines[-LOG_LINES:]),
        )  # fmt: skip


def client_program() -> str:
    """The first `docker` command on PATH that can build with BuildKit.

    Raises:
        EngineError: there is none.
    """
    for folder in programs.search_path().split(os.pathsep):
        program = shutil.which("docker", path=folder)
        if program is None:
            continue
        done = subprocess.run(
            [program, "build", "--help"], capture_output=True, text=True, check=False, cwd=programs.FOLDER,
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
        )  # fmt: skip
        if done.returncode == 0 and "--secret" in done.stdout:
            return program
    raise EngineError(
        "no docker command that builds with BuildKit", where="PATH",
        remedy="Install docker with its buildx plugin, or use --backend process.",
    )  # fmt: skip
