"""How long a training that died is away: the watchdog beside pollers, side by side in one run.

`python -m bench.restart [--kills 30] [--backend docker process]` kills the training container again
and again, at random moments, and measures from its death to its replacement running, by the
engine's own clock. The pollers (every 60 s, every 5 s) look at a container of the same image in the
same run and start it again as soon as they see that it is gone; of the 60 s poller the time to the
next look is taken from the moment of the kill and its restart measured, not slept through.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlops_lib.engine import LABEL_RUN, Container, Engine, Launch, choose
from mlops_lib.environments import images
from mlops_lib.records import Environment, Image, RunSpec
from mlops_lib.training import cancellation, restart_policy, supervision

SCRIPT = "import time\nprint('ready', flush=True)\ntime.sleep(3600)\n"
ENVIRONMENT = Environment(name="python", framework="none", family="none")
POLLS_S = (5.0, 60.0)
SLEPT_S = 5.0
"""A poller's look is slept for up to this; the rest of a longer interval is added."""


@dataclass(frozen=True)
class Site:
    """Where the containers of one engine run."""

    engine: Engine
    image: Image
    project: Path
    home: Path


def until(condition: Callable[[], Any], *, timeout_s: float = 60.0) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError("it never came")
        time.sleep(0.005)
    return answer


def watched(site: Site, kills: int) -> list[float]:
    """Seconds from the death of a training under `mlops train` to its replacement running."""
    run_dir = site.home / "runs" / f"watched-{site.engine.name}"
    spec = RunSpec(
        digest=f"bench-{random.random()}",
        name="bench",
        project=str(site.project),
        entry="train.py",
        backend=site.engine.name,
        image=site.image,
    )
    run_dir.mkdir(parents=True)
    stopped = cancellation.Stop()
    keywords: dict[str, Any] = {"restarts": kills + 1, "home": site.home, "stopped": stopped}
    attending = threading.Thread(
        target=_attend, args=(spec, site.engine, run_dir, keywords), daemon=True
    )
    # The pause before later restarts is a choice, not a cost: without progress in between it would
    # be measured.
    restart_policy.BACK_OFF = replace(restart_policy.BACK_OFF, first_s=0.0)
    attending.start()
    seconds = []
    one = until(lambda: _running(site, spec, other_than=""))
    for _ in range(kills):
        time.sleep(random.uniform(0.3, 1.5))
        killed = time.time()
        site.engine.kill(one.id)
        fresh = until(lambda before=one.id: _running(site, spec, other_than=before))
        seconds.append(_since(site, fresh) - killed)
        one = fresh
    stopped.set()
    attending.join()
    return seconds


def _attend(spec: RunSpec, engine: Engine, run_dir: Path, keywords: dict[str, Any]) -> None:
    try:
        supervision.train(spec, engine=engine, run_dir=run_dir, **keywords)
    except cancellation.Interrupted:
        return


def _running(site: Site, spec: RunSpec, *, other_than: str) -> Container | None:
    found = [one for one in site.engine.find({LABEL_RUN: spec.digest}) if one.state == "running"]
    return next((one for one in found if one.id != other_than and _ran(site, one)), None)


def _since(site: Site, container: Container) -> float:
    """Since when the script itself is under way: Docker's own time, or when its supervisor had
    started it.
    """
    if site.engine.name == "docker":
        return container.started
    return (site.home / "containers" / container.id / "child.json").stat().st_mtime


def _ran(site: Site, container: Container) -> bool:
    """Whether the script itself is under way, not only its supervisor."""
    return (
        site.engine.name == "docker"
        or (site.home / "containers" / container.id / "child.json").exists()
    )


def polled(site: Site, kills: int, every_s: float) -> list[float]:
    """Seconds from a container's death to its replacement running, where somebody looks so often."""
    label = f"poll-{random.random()}"
    launch = Launch(
        image=site.image,
        project=str(site.project),
        inside=str(site.home / label),
        entry="train.py",
        labels={LABEL_RUN: label},
    )
    seconds = []
    one = site.engine.start(launch)
    for _ in range(kills):
        until(lambda now=one: _ran(site, now))
        left_s = random.uniform(0, every_s)  # to the next look, at the moment of the kill
        site.engine.kill(one.id)
        died = time.time()
        time.sleep(min(left_s, SLEPT_S))
        if site.engine.get(one.id).state == "running":
            raise AssertionError("it was killed and runs")
        site.engine.remove(one.id)
        one = site.engine.start(launch)
        seconds.append(time.time() - died + max(0.0, left_s - SLEPT_S))
    site.engine.kill(one.id)
    site.engine.remove(one.id)
    return seconds


def shown(seconds: list[float]) -> str:
    """A distribution in one line."""
    ordered = sorted(seconds)
    at = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.9, 0.95)]
    within = sum(one <= 0.5 for one in ordered) / len(ordered)
    return (
        f"{len(ordered):5} {ordered[0]:8.3f} {at[0]:8.3f} {at[1]:8.3f} {at[2]:8.3f} {ordered[-1]:8.3f}"
        f" {statistics.mean(ordered):8.3f} {within:8.0%}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--polls", type=int, default=6, help="kills for each poller")
    parser.add_argument(
        "--backend", nargs="+", default=["process", "docker"], choices=("process", "docker")
    )
    asked = parser.parse_args()
    print(
        f"{'seconds from death to replacement':34} {'kills':>5} {'min':>8} {'median':>8} {'p90':>8} {'p95':>8} {'max':>8}"
        f" {'mean':>8} {'<=0.5 s':>8}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        project = folder / "project"
        project.mkdir()
        (project / "train.py").write_text(SCRIPT)
        for backend in asked.backend:
            engine = choose(backend, home=str(folder / "home"))
            image = images.plan(ENVIRONMENT)
            engine.build(image, on_line=lambda line: None)
            site = Site(engine=engine, image=image, project=project, home=folder / "home")
            ours = watched(site, asked.kills)
            print(f"{backend + ': watchdog':34} {shown(ours)}", flush=True)
            for every_s in POLLS_S:
                theirs = polled(site, asked.polls, every_s)
                print(
                    f"{f'{backend}: a look every {every_s:.0f} s':34} {shown(theirs)}"
                    f"   {statistics.median(theirs) / statistics.median(ours):.0f} x",
                    flush=True,
                )


if __name__ == "__main__":
    main()
