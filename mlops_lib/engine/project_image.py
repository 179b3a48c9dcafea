"""Images that contain the project too, so that `docker run IMAGE` trains.

They are the environment's image with one layer on top. Files are left out by the project's own
.dockerignore and by a list of files that do not belong into images (history, secrets, virtual
environments).
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from mlops_lib.engine import buildkit
from mlops_lib.environments import images
from mlops_lib.errors import RefusedFileError, UsageError
from mlops_lib.project import files
from mlops_lib.records import RunSpec

IGNORED_PATTERNS = (
    "**/.git",
    "**/.hg",
    "**/.svn",
    "**/.env",
    "**/.env.*",
    "**/.envrc",
    "**/.netrc",
    "**/.pypirc",
    "**/pip.conf",
    "**/.aws",
    "**/.azure",
    "**/.config/gcloud",
    "**/.docker",
    "**/.kaggle",
    "**/.kube",
    "**/.ssh",
    "**/.git-credentials",
    "**/kaggle.json",
    "**/credentials",
    "**/credentials.*",
    "**/*credentials*.json",
    "**/client_secret*.json",
    "**/service-account*.json",
    "**/secrets.*",
    "**/id_rsa*",
    "**/id_ed25519*",
    "**/id_ecdsa*",
    "**/*.pem",
    "**/*.key",
    "**/*.p12",
    "**/*.pfx",
    "**/*.jks",
    "**/.venv",
    "**/venv",
    "**/node_modules",
    "**/__pycache__",
    "**/.mlops",
    "**/.tox",
    "**/.mypy_cache",
    "**/.pytest_cache",
    "**/.ipynb_checkpoints",
    "**/.idea",
    "**/.vscode",
    "**/.DS_Store",
)
"""Patterns of files that never belong into an image, in .dockerignore's syntax."""
LABEL = "org.mlops-lib.baked"
"""Prefix of the lineage's labels.

They differ from the labels of runs, because a container inherits the labels of its image.
"""


def bake(spec: RunSpec, *, on_line: Callable[[str], None]) -> str:
    """Build the image of a run's project on its built environment; return its tag.

    Raises:
        UsageError: data is mounted into the run, which an image cannot contain.
        ImageError: the build failed.
    """
    if spec.mounts:
        raise UsageError(
            "the run has data mounted from outside the project",
            where="--with-code",
            remedy="Put the data into the project, or give it to `docker run` by -v.",
        )
    program = buildkit.client_program()
    tag = tag_of(spec)
    with tempfile.TemporaryDirectory(prefix="mlops-bake-") as folder:
        recipe = Path(folder, "Dockerfile")
        recipe.write_text(dockerfile(spec), encoding="utf-8")
        # Beside the recipe and named after it, it takes the place of the project's own
        # .dockerignore, which it includes.
        Path(folder, "Dockerfile.dockerignore").write_text(
            ignored(Path(spec.project)), encoding="utf-8"
        )
        command = [
            program,
            "build",
            "--progress=plain",
            "--tag",
            tag,
            "--file",
            str(recipe),
            spec.project,
        ]
        buildkit.run(command, tag, on_line)
    return tag


def tag_of(spec: RunSpec) -> str:
    """Return `mlops-code/<name>:<digest>`.

    The digest covers the run and its environment.
    """
    safe = re.sub(r"[^a-z0-9]+", "-", spec.name.lower()).strip("-") or "project"
    return f"mlops-code/{safe[:60]}:{spec.digest[:12]}-{spec.image.tag.rpartition(':')[2][:12]}"


def dockerfile(spec: RunSpec) -> str:
    """Return the Dockerfile: one layer with the project, its command and its lineage."""
    orders = {
        "seed": spec.seed,
        "input": list(spec.input),
        "metric_pattern": spec.metric_pattern,
        "metrics_file": spec.metrics_file,
        **spec.around,
    }
    lineage = {
        "run": spec.digest,
        "commit": spec.commit or "",
        "entry": spec.entry,
        "data": spec.data_digest,
        "environment": spec.image.tag,
        "framework": spec.framework,
        "seed": str(spec.seed),
    }
    labels = " \\\n    ".join(
        f"{LABEL}.{name}={images.quoted(value)}" for name, value in lineage.items()
    )
    return f"""\
FROM {spec.image.tag}
LABEL {labels}
COPY --chown=65534:65534 . {images.PROJECT}
ENV MLOPS_SPEC={images.quoted(json.dumps(orders))} PYTHONHASHSEED={images.quoted(str(spec.seed % 2**32))}
# Metrics, the model and what the script wrote: docker run -v RESULTS:{images.INSIDE} IMAGE
VOLUME {images.INSIDE}
USER 65534:65534
CMD {json.dumps([spec.entry, *spec.args])}
"""


def ignored(project: Path) -> str:
    """Return the project's .dockerignore followed by `IGNORED_PATTERNS`, which wins."""
    try:
        own = files.read_text(".dockerignore", root=project)
    except RefusedFileError as refused:
        if refused.reason != "missing":
            raise
        own = ""
    return own.rstrip("\n") + "\n" + "".join(f"{line}\n" for line in IGNORED_PATTERNS)
