"""What deciding on, building and checking an environment costs, beside `docker build` of the same
Dockerfile by hand.

    python -m bench.build [--requirement tabulate]

Needs a Docker engine and a package index. Four situations, each once with `mlops build` (the whole
command: detection, plan, build, probe) and once with `docker build` alone. Both get a base image of
their own, so that no layer is there before; pip's cache is as it is, the same for both. Everything
made is removed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from mlops_lib.engine import buildkit
from mlops_lib.pipeline import stages
from mlops_lib.pipeline.job import prepare

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
x, y = load_iris(return_X_y=True)
print(LogisticRegression(max_iter={turns}).fit(x, y).score(x, y))
"""


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Seconds of a command that has to succeed."""
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return time.perf_counter() - began


class Bench:
    """One project, two bases, two ways to build."""

    def __init__(self, folder: Path) -> None:
        self.project, self.home, self.mark = (
            folder / "project",
            folder / "home",
            uuid.uuid4().hex[:8],
        )
        self.project.mkdir()
        self.docker = buildkit.client_program()
        self.environment = {
            **os.environ,
            "MLOPS_HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "DOCKER_BUILDKIT": "1",
        }
        self.bases = [self._base(folder, kind) for kind in ("ours", "hand")]
        self.tags: set[str] = set()

    def _base(self, folder: Path, kind: str) -> str:
        tag, place = f"mlops-bench-{kind}:{self.mark}", folder / kind
        place.mkdir()
        (place / "Dockerfile").write_text(
            f"FROM python:3.11-slim\nRUN echo {self.mark}-{kind} >/etc/bench\n"
        )
        timed([self.docker, "build", "--tag", tag, str(place)], self.environment)
        return tag

    def ours(self) -> float:
        """`mlops build`."""
        command = [
            sys.executable,
            "-m",
            "mlops_lib",
            "build",
            str(self.project),
            "--backend",
            "docker",
        ]
        seconds = timed([*command, "--base-image", self.bases[0], "--json"], self.environment)
        self.tags.add(self._image(self.bases[0]).tag)
        return seconds

    def hand(self, folder: Path) -> float:
        """`docker build`."""
        image = self._image(self.bases[1])
        self.tags.add(image.tag)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            return timed(buildkit.command(image, Path(place)), self.environment)

    def _image(self, base: str) -> stages.Image:
        given = {"home": str(self.home), "backend": "docker", "base_image": base}
        return prepare(self.project, **given).spec.image

    def clean(self) -> None:
        """Remove the images."""
        subprocess.run(
            [self.docker, "rmi", *self.tags, *self.bases], capture_output=True, check=False
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requirement", default="tabulate", help="the one that is added")
    asked = parser.parse_args()
    print(f"{'':34} {'mlops build':>12} {'docker build':>13} {'ratio':>7}")
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        try:
            for number, (situation, script, requirement) in enumerate(
                (
                    ("cold: no layer is there", SCRIPT, ""),
                    ("warm: nothing changed", SCRIPT, ""),
                    ("the script changed", SCRIPT + "print('more')\n", ""),
                    (f"a new requirement ({asked.requirement})", SCRIPT, asked.requirement),
                )
            ):
                (bench.project / "train.py").write_text(script.format(turns=1000 + number))
                if requirement:
                    (bench.project / "requirements.txt").write_text(
                        f"scikit-learn\n{requirement}\n"
                    )
                ours, hand = bench.ours(), bench.hand(Path(name))
                print(f"{situation:34} {ours:11.2f}s {hand:12.2f}s {ours / hand:7.2f}", flush=True)
        finally:
            bench.clean()


if __name__ == "__main__":
    main()
