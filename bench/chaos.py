"""Killed at random, again and again: is anything lost, is the result the same?

`python -m bench.chaos [--kills 50] [--backend process docker] [--samples sklearn keras data]
[--dockerd]`

Each sample is trained once left alone and once under a monkey that kills the runner, the container
(or its supervisor), `mlops train` or one of two `mlops watch` beside it, and the Docker engine
itself, that damages the newest checkpoint, and that fills the disk. At the end: every epoch exactly
once, the same numbers, outputs and metrics, no container left. The table says how often each victim
was hit, and what it cost.

`--dockerd` starts an engine of its own to kill (root only; the machine's own engine is left alone);
the full disk needs root too, for a mount in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import pytorch_kills
from mlops_lib import event_log, run_lock
from mlops_lib.engine import LABEL_RUN_DIR, Container, Engine, choose
from mlops_lib.errors import EngineLostError
from mlops_lib.gate import verdicts
from mlops_lib.run_directory import RunDirectory
from mlops_lib.runner import protocol
from mlops_lib.training import attempt_log, requests

ROOT = Path(__file__).resolve().parents[1]
DOCKER = "/usr/bin/docker"
DISK_BYTES = 256 << 20
PATIENCE_S = 900.0

_DONE = """
import hashlib, json
open("result.json", "w").write(json.dumps(found, sort_keys=True))
"""
SAMPLES = {
    "sklearn": """
import time
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
x, x_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
found = []
for number in range({length}):
    model = RandomForestClassifier(n_estimators=10 + number).fit(x, y)
    time.sleep(0.2)
    found.append([number, model.score(x_test, y_test), float(model.predict_proba(x_test).sum(axis=0)[0])])
    print(found[-1], flush=True)
"""
    + _DONE,
    "keras": """
import hashlib, json, time
import keras, numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
x, x_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
model = keras.Sequential([
    keras.layers.Dense(32, activation="relu"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3),
    keras.layers.Dense(10, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
slow = keras.callbacks.LambdaCallback(on_epoch_end=lambda *a: time.sleep(0.5))
found = []
for _ in range(2):
    seen = model.fit(x, y, epochs={length}, validation_split=0.2, verbose=2,
                     callbacks=[slow, keras.callbacks.ReduceLROnPlateau(patience=2), keras.callbacks.CSVLogger("log.csv")])
    found.append({{name: [float(v) for v in values] for name, values in seen.history.items()}})
found.append([hashlib.sha256(w.tobytes()).hexdigest() for w in model.get_weights()])
found.append(model.evaluate(x_test, y_test, verbose=0))
"""
    + _DONE,
    "data": """
import hashlib, json, time
import keras, numpy as np, tensorflow as tf
from sklearn.datasets import load_digits
x, y = load_digits(return_X_y=True)
train = tf.data.Dataset.from_tensor_slices((x[:1400], y[:1400])).shuffle(500, seed=3).batch(32)
test = tf.data.Dataset.from_tensor_slices((x[1400:], y[1400:])).batch(32)
model = keras.Sequential([keras.layers.GaussianNoise(0.1), keras.layers.Dense(24, activation="relu"),
                          keras.layers.Dense(10, activation="softmax")])
model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
slow = keras.callbacks.LambdaCallback(on_epoch_end=lambda *a: time.sleep(0.5))
seen = model.fit(train, epochs=2 * {length}, validation_data=test, verbose=2, callbacks=[slow])
found = [{{name: [float(v) for v in values] for name, values in seen.history.items()}}]
found.append([hashlib.sha256(w.tobytes()).hexdigest() for w in model.get_weights()])
found.append(model.evaluate(test, verbose=0))
"""
    + _DONE,
}


@dataclass
class Trial:
    """One training of one sample, and everything that runs for it."""

    project: Path
    run_dir: Path
    home: Path
    backend: str
    environment: dict[str, str]
    programs: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    hits: Counter[str] = field(default_factory=Counter)

    def start(self, name: str, *words: str) -> None:
        """Start an `mlops` program under this name."""
        with (self.home / f"{self.run_dir.name}-{name}.log").open("ab") as log:
            self.programs[name] = subprocess.Popen(
                [sys.executable, "-m", "mlops_lib", *words],
                stdout=log,
                stderr=log,
                env=self.environment,
            )

    def train(self) -> None:
        """What a person starts."""
        self.start(
            "train",
            "train",
            str(self.project),
            "--run-dir",
            str(self.run_dir),
            "--backend",
            self.backend,
            "--restarts",
            "20",
        )

    def watch(self, name: str) -> None:
        """A watchdog over everything of the home."""
        self.start(name, "watch")

    @property
    def state(self) -> str:
        """How the training ended, "" while it has not."""
        if requests.pending(self.run_dir) is not None or self.programs["train"].poll() is None:
            return ""
        found = RunDirectory(self.run_dir).training
        if found is not None:
            return found.state
        # A full disk takes no result: whoever gave up has said so on its terminal only.
        return "" if run_lock.is_driven(self.run_dir) else "failed"

    def attempts(self) -> int:
        """How often its script was started."""
        return sum(
            line.get("event") == "attempt"
            for line in event_log.read_lines(self.run_dir / protocol.ATTEMPTS)
        )

    def container(self, engine: Engine) -> Container | None:
        """The one that trains now."""
        found = engine.find({LABEL_RUN_DIR: str(self.run_dir)})
        return next((one for one in found if one.state == "running"), None)

    def fingerprint(self) -> dict[str, Any]:
        """What must be the same: epochs with their numbers, what was measured, what the script
        wrote.
        """
        events = event_log.events(self.run_dir)
        outputs = self.run_dir / "inside" / "outputs"
        written = {
            str(path.relative_to(outputs)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(outputs.rglob("*"))
            if path.is_file()
        }
        return {
            "epochs": sorted(
                (e["fit"], e["epoch"], json.dumps(e["metrics"]))
                for e in events
                if e["event"] == "epoch"
            ),
            "measured": [
                (e["metric"], e["value"]) for e in verdicts.read_claims(self.run_dir)["evaluations"]
            ],
            "outputs": written,
        }

    def end(self) -> None:
        """Nothing of it goes on."""
        for program in self.programs.values():
            if program.poll() is None:
                program.terminate()
            program.wait()


def _last_attempt(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    last = max((e.get("attempt") or 0 for e in events), default=0)
    return [e for e in events if e.get("attempt") == last]


class Monkey:
    """Hits one victim after the other, at random."""

    def __init__(
        self, trial: Trial, engine: Engine, dice: random.Random, dockerd: Dockerd | None
    ) -> None:
        self.trial, self.engine, self.dice, self.dockerd = trial, engine, dice, dockerd
        self.victims: dict[str, Callable[[], bool]] = {
            "runner": self.runner,
            "container": self.container,
            "mlops train": lambda: self.program("train"),
            "mlops watch": lambda: self.program(dice.choice(("watch 1", "watch 2"))),
            "checkpoint": self.checkpoint,
        }
        if os.path.ismount(trial.run_dir):
            self.victims["full disk"] = self.full_disk
        if dockerd is not None:
            self.victims["dockerd"] = self.engine_itself

    def hit(self) -> None:
        """One of them, if it is there."""
        name = self.dice.choice(list(self.victims))
        with contextlib.suppress(EngineLostError):
            self.trial.hits[name] += self.victims[name]()

    def runner(self) -> bool:
        """The script's own process."""
        starts = [
            e for e in _last_attempt(event_log.events(self.trial.run_dir)) if e["event"] == "start"
        ]
        container = self.trial.container(self.engine)
        if container is None or not starts:
            return False
        if self.engine.name == "process":
            return _kill(int(starts[-1]["pid"]))
        shown = subprocess.run(
            [
                DOCKER,
                "exec",
                "-u",
                "0",
                container.id,
                "sh",
                "-c",
                "kill -9 $(cat /proc/1/task/1/children)",
            ],
            env=self.trial.environment,
            capture_output=True,
            check=False,
        )
        return shown.returncode == 0

    def container(self) -> bool:
        """The container, or for a plain process its supervisor."""
        container = self.trial.container(self.engine)
        if container is None:
            return False
        if self.engine.name == "docker":
            self.engine.kill(container.id)
            return True
        place = self.trial.home / "containers" / container.id / "supervisor.json"
        return place.exists() and _kill(int(json.loads(place.read_text())["pid"]))

    def program(self, name: str) -> bool:
        """One of the programs; a watchdog is started again, who trained is not."""
        program = self.trial.programs[name]
        alive = program.poll() is None
        if alive:
            program.kill()
            program.wait()
        if name != "train":
            self.trial.watch(name)
        return alive

    def checkpoint(self) -> bool:
        """The newest checkpoint is truncated or has a flipped byte when the script that wrote it is
        killed.
        """
        found = [p for p in (self.trial.run_dir / "inside" / "fits").glob("*/*") if p.is_file()]
        newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
        if newest is None or not self.runner():
            return False
        with newest.open("rb+") as stream:
            size = stream.seek(0, os.SEEK_END)
            if self.dice.random() < 0.5:
                stream.truncate(size // 2)
            elif size:
                stream.seek(self.dice.randrange(size))
                byte = stream.read(1)
                stream.seek(-1, os.SEEK_CUR)
                stream.write(bytes([byte[0] ^ 0xFF]))
        return True

    def full_disk(self) -> bool:
        """The disk is full for a while; if the run was given up, a person makes room and starts it
        again.
        """
        ballast = self.trial.run_dir / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb") as stream:
            while True:
                stream.write(bytes(1 << 20))
        time.sleep(self.dice.uniform(0.5, 4))
        self.runner()
        time.sleep(1)
        ballast.unlink()
        return True

    def engine_itself(self) -> bool:
        """The Docker engine is killed and comes back."""
        assert self.dockerd is not None
        self.dockerd.kill()
        time.sleep(self.dice.uniform(0.1, 3))
        self.dockerd.start()
        return True


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


class Dockerd:
    """A Docker engine of our own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, tries: int = 3) -> None:
        """Start it, and wait until it answers; a machine under load may need more than one try, as
        systemd gives it.
        """
        (self.folder / "docker.pid").unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    # A network of its own: an engine without a bridge removes the one that it
                    # finds, the machine's own.
                    "unshare",
                    "--net",
                    "dockerd",
                    "-H",
                    self.host,
                    "--data-root",
                    str(self.folder / "data"),
                    "--exec-root",
                    str(self.folder / "exec"),
                    "--pidfile",
                    str(self.folder / "docker.pid"),
                    "--bridge",
                    "none",
                    "--iptables=false",
                    "--ip6tables=false",
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while subprocess.run(
            [DOCKER, "-H", self.host, "version"], capture_output=True, check=False
        ).returncode:
            if self._process.poll() is not None and tries > 1:
                return self.start(tries - 1)
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(
                    f"dockerd does not start: {(self.folder / 'log').read_text()[-2000:]}"
                )
            time.sleep(0.1)
        return None

    def load(self, tag: str) -> None:
        """Give it an image of the machine's own engine."""
        with subprocess.Popen([DOCKER, "save", tag], stdout=subprocess.PIPE) as saved:
            subprocess.run(
                [DOCKER, "-H", self.host, "load", "-q"],
                stdin=saved.stdout,
                check=True,
                capture_output=True,
            )

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it and what runs in it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()


@contextlib.contextmanager
def own_engine(folder: Path) -> Iterator[Dockerd]:
    """A Docker engine of our own, for as long as this lasts."""
    folder.mkdir()
    made = Dockerd(folder)
    made.start()
    try:
        yield made
    finally:
        made.stop()
        for mounted in reversed(
            [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        ):
            if mounted.startswith(str(folder)):
                subprocess.run(["umount", "-l", mounted], check=False, capture_output=True)


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A file system in memory at `place`, where we may mount one."""
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=755", "chaos", str(place)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)


def until_ended(trial: Trial) -> str:
    """How a training ended."""
    deadline = time.monotonic() + PATIENCE_S
    while not trial.state:
        if time.monotonic() > deadline:
            return "never ended"
        time.sleep(0.05)
    return trial.state


@dataclass(frozen=True)
class Outcome:
    """What one sample's trainings under the monkey came to, as many as it took for all hits."""

    sample: str
    backend: str
    state: str
    identical: bool
    differences: tuple[str, ...]
    hits: Counter[str]
    attempts: int
    seconds: float
    alone_s: float
    left: int
    """Containers that still ran at the end."""
    rounds: int


def chaos(
    sample: str,
    *,
    backend: str,
    kills: int,
    length: int,
    folder: Path,
    home: Path,
    seed: int,
    pause_s: tuple[float, float],
    dockerd: Dockerd | None = None,
) -> Outcome:
    """Train a sample left alone and under the monkey."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLOPS_HOME": str(home)}
    if dockerd is not None:
        environment.update(DOCKER_HOST=dockerd.host, MLOPS_NETWORK="none")
        os.environ["DOCKER_HOST"] = dockerd.host
    project = folder / "projects" / sample
    project.mkdir(parents=True, exist_ok=True)
    project.parent.chmod(0o755)
    (project / "train.py").write_text(
        SAMPLES[sample].replace("{length}", str(length)).replace("{{", "{").replace("}}", "}")
    )
    alone = Trial(project, folder / f"{sample}-{backend}-alone", home, backend, environment)
    began = time.monotonic()
    alone.train()
    state = until_ended(alone)
    alone_s = time.monotonic() - began
    alone.end()
    if state != "finished":
        raise SystemExit(
            f"{sample} does not train when left alone ({state}): see {home}/{alone.run_dir.name}-train.log"
        )
    dice = random.Random(seed)
    engine = choose(backend, home=str(home))  # type: ignore[arg-type]
    rounds = []
    while sum(one.hits.total() for one in rounds) < kills and all(one.identical for one in rounds):
        missing = kills - sum(one.hits.total() for one in rounds)
        place = folder / f"{sample}-{backend}-chaos-{len(rounds) + 1}"
        with small_disk(place):
            trial = Trial(project, place, home, backend, environment)
            rounds.append(
                _round(trial, alone, Monkey(trial, engine, dice, dockerd), missing, pause_s)
            )
    return Outcome(
        sample,
        backend,
        rounds[-1].state,
        all(one.identical for one in rounds),
        rounds[-1].differences,
        sum((one.hits for one in rounds), Counter()),
        sum(one.attempts for one in rounds),
        statistics.mean(one.seconds for one in rounds),
        alone_s,
        sum(one.left for one in rounds),
        len(rounds),
    )


@dataclass(frozen=True)
class Round:
    """One training of a sample under the monkey."""

    state: str
    differences: tuple[str, ...]
    hits: Counter[str]
    attempts: int
    seconds: float
    left: int

    @property
    def identical(self) -> bool:
        """Whether it came to the same as the one left alone."""
        return self.state == "finished" and not self.differences


def _round(
    trial: Trial, alone: Trial, monkey: Monkey, kills: int, pause_s: tuple[float, float]
) -> Round:
    began = time.monotonic()
    for name in ("watch 1", "watch 2"):
        trial.watch(name)
    trial.train()
    try:
        state = _unleash(monkey, kills, pause_s)
    finally:
        trial.end()
    seconds = time.monotonic() - began
    left = int(trial.container(monkey.engine) is not None)
    before, after = alone.fingerprint(), trial.fingerprint()
    differences = tuple(key for key in before if before[key] != after[key])
    return Round(state, differences, trial.hits, trial.attempts(), seconds, left)


def _unleash(monkey: Monkey, kills: int, pause_s: tuple[float, float]) -> str:
    trial = monkey.trial
    while trial.state != "finished" and trial.hits.total() < kills:
        time.sleep(monkey.dice.uniform(*pause_s))
        if not trial.state:
            monkey.hit()
        _make_room(trial)
    until_ended(trial)
    _make_room(trial)
    return until_ended(trial)


def _make_room(trial: Trial) -> None:
    """What a person does about a run that was given up because its disk was full: room was made, it
    goes on.
    """
    failure = attempt_log.given_up(RunDirectory(trial.run_dir).attempts)
    if (
        trial.state == "failed"
        and trial.hits["full disk"]
        and (failure is None or failure.kind == "disk")
    ):
        trial.train()


def main() -> int:
    """Print the table; 1 if anything was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--kills", type=int, default=50, help="hits in all, shared by samples and backends"
    )
    parser.add_argument(
        "--backend", nargs="+", default=["process", "docker"], choices=("process", "docker")
    )
    parser.add_argument("--samples", nargs="+", default=list(SAMPLES), choices=SAMPLES)
    parser.add_argument("--length", type=int, default=25, help="epochs, or fits, of a sample")
    parser.add_argument(
        "--pause", type=float, nargs=2, default=(1.0, 12.0), help="seconds between two hits"
    )
    parser.add_argument("--home", help="folder of environments to reuse; a fresh one unless given")
    parser.add_argument(
        "--dockerd",
        action="store_true",
        help="Docker samples in an engine of our own, which is killed too",
    )
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--framework",
        choices=("pytorch",),
        help="kill the scripts of bench.pytorch_kills instead, by SIGKILL to the runner alone",
    )
    asked = parser.parse_args()
    if asked.framework == "pytorch":
        each = -(-asked.kills // len(list(pytorch_kills.CASES.glob("*.py"))))
        return pytorch_kills.main(["--kills", str(each), "--seed", str(asked.seed)])
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # what was started and mounted is put away
    print(f"seed {asked.seed}")
    share = -(-asked.kills // (len(asked.backend) * len(asked.samples)))
    outcomes = []
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        contextlib.ExitStack() as stack,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        home = Path(asked.home).absolute() if asked.home else folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        for number, (backend, sample) in enumerate(
            (b, s) for b in asked.backend for s in asked.samples
        ):
            dockerd = None
            if backend == "docker" and asked.dockerd:
                dockerd = stack.enter_context(own_engine(folder / f"dockerd-{number}"))
                for tag in _images(folder, home, sample):
                    dockerd.load(tag)
            one = chaos(
                sample,
                backend=backend,
                kills=share,
                length=asked.length,
                folder=folder,
                home=home,
                seed=asked.seed + number,
                pause_s=tuple(asked.pause),
                dockerd=dockerd,
            )
            os.environ.pop("DOCKER_HOST", None)
            outcomes.append(one)
            print(
                f"{sample} {backend}: {one.state}, {one.hits.total()} hits, identical: {one.identical}",
                flush=True,
            )
        if home != folder / "home":
            shutil.rmtree(home / "containers", ignore_errors=True)
    show(outcomes)
    return 0 if all(one.identical and not one.left for one in outcomes) else 1


def _images(folder: Path, home: Path, sample: str) -> list[str]:
    """The image of a sample, built by the machine's own engine."""
    project = folder / "plan" / sample
    project.mkdir(parents=True)
    (project / "train.py").write_text(
        SAMPLES[sample].replace("{length}", "1").replace("{{", "{").replace("}}", "}")
    )
    done = subprocess.run(
        [sys.executable, "-m", "mlops_lib", "build", str(project), "--backend", "docker", "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MLOPS_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(done.stdout)["tag"]]


def show(outcomes: list[Outcome]) -> None:
    """The table."""
    victims = sorted({name for one in outcomes for name in one.hits})
    print(
        f"\n{'sample':10} {'backend':8} {'hits':>5} {'rounds':>6} {'starts':>6} {'alone':>8} {'chaos':>8} {'left':>5}  result"
    )
    for one in outcomes:
        result = (
            "identical"
            if one.identical
            else f"{one.state}; differs: {', '.join(one.differences) or 'nothing'}"
        )
        print(
            f"{one.sample:10} {one.backend:8} {one.hits.total():5} {one.rounds:6} {one.attempts:6} {one.alone_s:7.1f}s"
            f" {one.seconds:7.1f}s {one.left:5}  {result}"
        )
        print(
            "           "
            + ", ".join(f"{name} {one.hits[name]}" for name in victims if one.hits[name])
        )
    print(
        f"{sum(one.hits.total() for one in outcomes)} hits; {sum(one.identical for one in outcomes)} of"
        f" {len(outcomes)} trainings ended exactly as left alone"
    )


if __name__ == "__main__":
    raise SystemExit(main())
