"""Build images with `docker build` and BuildKit.

The SDK is not enough: it has neither cache mounts nor secrets.
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
"""Number of lines of a failed build's output that its error carries."""


def build(
    image: Image, *, on_line: Callable[[str], None], home: str = "", built: Collection[Path] = ()
) -> None:
    """Build an environment's image.

    Args:
        image: the image.
        home: folder of mlops' own files; its digest becomes a label.
        on_line: receives each line of the build's output.
        built: wheels of source distributions, which no index has.

    Raises:
        EngineError: no command on this machine can build.
        ImageError: the build failed; the error carries the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-build-") as folder:
        run(
            command(image, Path(folder), home=home, built=built),
            image.tag,
            on_line,
            pinned=images.has_pins(image.environment),
        )


def command(
    image: Image, folder: Path, *, home: str = "", built: Collection[Path] = ()
) -> list[str]:
    """Return the build command; write its context and secrets to a folder.

    Raises:
        EngineError: no command on this machine can build.
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
    """Return the command that builds a context, and write its secrets below `folder`.

    Raises:
        EngineError: no command on this machine can build.
    """
    secrets = folder / "secrets"
    # The index's address may hold a password; the folder is beside the context, so that no COPY can
    # take it.
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


def helper_image(
    client: Any,
    tag: str,
    files: Mapping[str, bytes],
    *,
    base_image: str,
    labels: Mapping[str, str],
    on_line: Callable[[str], None] = lambda line: None,
) -> str:
    """Build a helper image from a few files unless the engine has it; return its tag.

    Args:
        client: the engine's docker client.
        tag: the image's name, which has to identify all its contents.
        files: the context: the Dockerfile and the files that it copies.
        base_image: the image that the Dockerfile starts from.
        labels: the image's labels.
        on_line: receives each line of the build's output.

    Raises:
        EngineError: no command on this machine can build.
        ImageError: the build failed.
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
    """Write the index's settings, certificates and proxies as build secrets.

    They are files of the steps that download; no layer and no history contains them.
    """
    index = package_index.settings()
    bundle = package_index.certificates(index)
    options = [] if bundle is None else ["--secret", f"id=ca,src={bundle}"]
    cert = "" if bundle is None else "/run/secrets/ca"
    for name, text in (
        ("pip", package_index.pip_conf(index, cert=cert)),
        ("torch", package_index.pip_conf(package_index.without_indexes(index), cert=cert)),
        ("proxies", package_index.proxy_script()),
    ):
        if text:
            (folder / name).write_text(text, encoding="utf-8")
            options += ["--secret", f"id={name},src={folder / name}"]
    return options


def _no_proxies() -> list[str]:
    """Return build arguments that clear the proxies.

    Otherwise the docker command passes the proxies of its own settings, with their passwords, to
    every step.
    """
    return [word for name in package_index.PROXIES for word in ("--build-arg", f"{name}=")]


def run(
    command: list[str], tag: str, on_line: Callable[[str], None], *, pinned: bool = False
) -> None:
    """Run a build command.

    With `pinned`, a resolver that finds no compatible releases is stopped after a while: the caller
    can loosen the versions.

    Raises:
        ImageError: the build failed; the error carries the end of its log.
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
        lines = resolver_timeout.follow(process, lambda line: on_line(mask(line)), asked=pinned)
    if process.returncode != 0:
        raise ImageError(
            "the image cannot be built",
            where=tag,
            remedy="The builder's reason is above; `mlops build PROJECT --print` shows the"
            " Dockerfile.",
            log=mask("".join(lines[-LOG_LINES:])),
        )


def client_program() -> str:
    """Return the first `docker` command on PATH that can build with BuildKit.

    Raises:
        EngineError: there is none.
    """
    for folder in programs.search_path().split(os.pathsep):
        program = shutil.which("docker", path=folder)
        if program is None:
            continue
        result = subprocess.run(
            [program, "build", "--help"],
            capture_output=True,
            text=True,
            check=False,
            cwd=programs.FOLDER,
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
        )
        if result.returncode == 0 and "--secret" in result.stdout:
            return program
    raise EngineError(
        "no docker command that builds with BuildKit",
        where="PATH",
        remedy="Install docker with its buildx plugin, or use --backend process.",
    )
