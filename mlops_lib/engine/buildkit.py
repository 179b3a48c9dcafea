"""Building images: the `docker build` command with BuildKit, which has cache mounts and secrets;
the SDK has neither.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from mlops_lib.engine import package_index, programs, resolver_timeout
from mlops_lib.engine.image_store import LABEL_ENVIRONMENT, LABEL_HOME
from mlops_lib.environments import images
from mlops_lib.errors import EngineError, ImageError
from mlops_lib.records import Image

LOG_LINES = 200
"""How much of a failed build's output its error carries."""


def build(
    image: Image, *, on_line: Callable[[str], None], home: str = "", built: Collection[Path] = ()
) -> None:
    """Build an image; `on_line` gets the builder's output, `home` is a label, `built` are wheels
    that no index has.

    Raises:
        EngineError: there is no command that can build.
        ImageError: the build failed; carries the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-build-") as folder:
        run(
            command(image, Path(folder), home=home, built=built),
            image.tag,
            on_line,
            pinned=images.pinned(image.environment),
        )


def command(
    image: Image, folder: Path, *, home: str = "", built: Collection[Path] = ()
) -> list[str]:
    """The command that builds an image; its context and secrets are written into an empty folder.

    Raises:
        EngineError: there is no command that can build.
    """
    context = folder / "context"
    context.mkdir()
    images.context(image, context)
    for wheel in built:
        shutil.copyfile(wheel, context / "built" / wheel.name)
    return command_of(
        context,
        image.tag,
        folder,
        base_image=image.base_image,
        labels={LABEL_ENVIRONMENT: image.environment.name, LABEL_HOME: home},
    )


def command_of(
    context: Path, tag: str, folder: Path, *, base_image: str, labels: Mapping[str, str]
) -> list[str]:
    """Return the command that builds a context of ours; the secrets that it names are written below
    `folder`.

    Raises:
        EngineError: there is no command that can build.
    """
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700)
    return [
        client_program(),
        "build",
        "--progress=plain",
        "--tag",
        tag,
        "--build-arg",
        f"BASE_IMAGE={base_image}",
        *(word for name, value in labels.items() for word in ("--label", f"{name}={value}")),
        *_secrets(secrets),
        *_no_proxies(),
        str(context),
    ]


def made(
    client: Any,
    tag: str,
    files: Mapping[str, bytes],
    *,
    base_image: str,
    labels: Mapping[str, str],
    on_line: Callable[[str], None] = lambda line: None,
) -> str:
    """Build a helper's image from a few files of ours, unless the engine has it; returns its tag.

    Args:
        client: the engine's docker client.
        tag: the image's name, which has to say all that it is made of.
        files: the context: its Dockerfile and what that copies.
        base_image: what the Dockerfile starts from.
        labels: the image's labels.
        on_line: is told each line of the build.

    Raises:
        EngineError: there is no command that can build.
        ImageError: it could not be built.
    """
    import docker.errors

    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        with tempfile.TemporaryDirectory(prefix="mlops-build-") as folder:
            context = Path(folder, "context")
            context.mkdir()
            for name, content in files.items():
                (context / name).write_bytes(content)
            run(
                command_of(context, tag, Path(folder), base_image=base_image, labels=labels),
                tag,
                on_line,
            )
    return tag


def _secrets(folder: Path) -> list[str]:
    """The index's settings, certificates and proxies: files of the steps that download, in no layer
    and no history.
    """
    found = package_index.settings()
    bundle = package_index.certificates(found)
    options = [] if bundle is None else ["--secret", f"id=ca,src={bundle}"]
    cert = "" if bundle is None else "/run/secrets/ca"
    for name, text in (
        ("pip", package_index.pip_conf(found, cert=cert)),
        ("proxies", package_index.proxy_script()),
    ):
        if text:
            (folder / name).write_text(text, encoding="utf-8")
            options += ["--secret", f"id={name},src={folder / name}"]
    return options


def _no_proxies() -> list[str]:
    """Empty arguments: else the docker command gives every step the proxies of its own settings,
    with their passwords.
    """
    return [word for name in package_index.PROXIES for word in ("--build-arg", f"{name}=")]


def run(
    command: list[str], tag: str, on_line: Callable[[str], None], *, pinned: bool = False
) -> None:
    """Run a build; one that finds no releases that go together is ended where there are versions to
    loosen (`pinned`).

    Raises:
        ImageError: it failed; carries the end of its log.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=programs.FOLDER,
        env={**os.environ, "PATH": programs.search_path(), "DOCKER_BUILDKIT": "1"},
    ) as process:
        mask = package_index.Mask()
        lines = resolver_timeout.followed(process, lambda line: on_line(mask(line)), asked=pinned)
    if process.returncode != 0:
        raise ImageError(
            "the image cannot be built",
            where=tag,
            remedy="The builder's reason is above; `mlops build PROJECT --print` shows the Dockerfile.",
            log=mask("".join(lines[-LOG_LINES:])),
        )


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
            [program, "build", "--help"],
            capture_output=True,
            text=True,
            check=False,
            cwd=programs.FOLDER,
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
        )
        if done.returncode == 0 and "--secret" in done.stdout:
            return program
    raise EngineError(
        "no docker command that builds with BuildKit",
        where="PATH",
        remedy="Install docker with its buildx plugin, or use --backend process.",
    )
