"""What several workers of a search cost and bring: the chief's throughput, the price of a trial,
faults, and a simulation.

`python -m bench.scale_out [--only protocol overhead efficiency faults keras_tuner cluster simulation]` prints, from one
run:

- **protocol**: how many trials a second the chief hands out and takes back, and how long a worker
  waits for an answer, with 1, 10 and 100 workers (threads with connections of their own) whose
  trials take no time, and whose trials sleep.
- **overhead**: what a trial pays for being a worker's, over one in the same process: its orders,
  and reading the weights that it inherits.
- **efficiency**: 16 workers (processes) whose trials sleep: the share of their time in which they
  try something.
- **faults**: the same search left alone, with a worker killed (SIGKILL) in the middle of trials,
  with the chief killed.
- **keras_tuner**: the same throughput, latency and kills with KerasTuner's own chief and workers
  (its `start_server` and `OracleClient` at a loopback port, a random search), beside ours.
- **cluster**: how long a worker waits for an answer through the relay and a Ray cluster of this
  machine.
- **simulation**: 1 to 512 workers on learning curves recorded from real trials
  (bench/scale_out_curves.json): time to the bar with asynchronous halving as in use, with
  synchronous halving, and with a random search that stops nothing.

Two cores cannot show that real training gets faster, so trials sleep. `--record FILE` records
curves anew.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import heapq
import json
import multiprocessing
import os
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CURVES = Path(__file__).with_name("scale_out_curves.json")
TOKEN = "bench"
PARTS = ("protocol", "overhead", "efficiency", "faults", "keras_tuner", "cluster", "simulation")


class Journal:
    """Nobody reads it."""

    def write(self, event: str, **keys: Any) -> None:
        """Nothing."""

    def progress(self, phase: str | None = None, **keys: Any) -> None:
        """Nothing."""


def request(folder: str, trials: int, worker: str = "") -> Any:
    """The orders of a synthetic search."""
    from mlops_lib.runner.search.request import SearchRequest

    return SearchRequest(
        fit=1,
        directory=folder,
        trials=trials,
        minutes=1e6,
        target=2.0,
        workers=2,
        token=TOKEN,
        worker=worker,
    )


def make_trials(asked: Any, ledger: Any) -> Any:
    """The oracle in use, over candidates that cost nothing to think of."""
    from mlops_lib.runner.search.keras.candidates import Candidate, Recipe
    from mlops_lib.runner.search.keras.oracle import Trials

    return Trials(
        asked,
        ledger,
        base_rate=1e-3,
        propose=lambda tried: Candidate(0, (), Recipe(epochs=10 + len(tried))),
        refine=lambda rate, epochs: Candidate(0),
    )


def be_chief(folder: str, trials: int) -> None:
    """Serve a synthetic search until it is over; its records are files, as in use."""
    from mlops_lib.runner.search.distributed import coordinator
    from mlops_lib.runner.search.distributed.dispatcher import TrialDispatcher
    from mlops_lib.runner.search.keras.oracle_log import Ledger
    from mlops_lib.runner.search.request import trial_record
    from mlops_lib.runner.state import atomic

    asked, place, ledger = request(folder, trials), Path(folder, "trials"), Ledger(folder)
    place.mkdir(exist_ok=True)
    records = ledger.records()
    records.setdefault(0, trial_record(0, score=0.0))

    def record(ended: dict[str, Any]) -> None:
        records[int(ended["number"])] = ended
        ledger.add(record=ended)
        atomic.write_json(str(place / f"{ended['number']}.json"), ended, lasting=False)

    dispatcher = TrialDispatcher(
        make_trials(asked, ledger),
        asked,
        records,
        on_start=lambda one: None,
        record=record,
        winner=lambda: 0,
        is_bar_reached=lambda: False,
    )
    coordinator.serve(dispatcher, asked, Journal(), commit=ledger.commit)


def be_worker(folder: str, trials: int, name: int, sleep_s: float) -> list[float]:
    """Try what the chief hands out by sleeping; returns how long each answer took."""
    from mlops_lib.runner.search.distributed import worker
    from mlops_lib.runner.search.request import trial_record

    client, waited = worker.ChiefClient(request(folder, trials, str(name)), Journal()), []
    while True:
        began = time.monotonic()
        assignment = client.next_assignment()
        waited.append(time.monotonic() - began)
        if assignment.action == "end":
            return waited
        if assignment.action == "wait":
            waited.pop()
            time.sleep(0.05)
            continue
        time.sleep(sleep_s)
        began = time.monotonic()
        client.report_end(
            trial_record(assignment.number, state="finished", score=0.5, seconds=sleep_s)
        )
        waited.append(time.monotonic() - began)


class Child:
    """A function in a process of its own, forked: what is imported here need not be imported there."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        fork = multiprocessing.get_context("fork")
        self._answer, answer = fork.Pipe(duplex=False)
        self.process = fork.Process(target=lambda: answer.send(function(*arguments)), daemon=True)
        self.process.start()
        answer.close()

    def result(self, timeout_s: float | None = None) -> Any:
        """What it returned.

        Raises:
            EOFError: it failed, or was killed.
            TimeoutError: it takes longer than `timeout_s` seconds; it is killed then.
        """
        if not self._answer.poll(timeout_s):
            self.kill()
            raise TimeoutError
        found = self._answer.recv()
        self.process.join()
        return found

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.join()


@contextmanager
def served(trials: int) -> Iterator[str]:
    """A chief in a process of its own, listening."""
    with tempfile.TemporaryDirectory() as folder:
        chief = Child(be_chief, folder, trials)
        until(lambda: Path(folder, "chief.sock").exists())
        yield folder
        chief.result()


def until(condition: Callable[[], Any], *, timeout_s: float = 120.0) -> None:
    """Wait for something."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it never came")
        time.sleep(0.01)


def many_workers(worker: Callable[[int], list[float]], workers: int) -> tuple[float, list[float]]:
    """Run workers as threads of one process; return their time, and the wait for each answer."""
    waited: list[float] = []
    threads = [
        threading.Thread(target=lambda n=n: waited.extend(worker(n))) for n in range(1, workers + 1)
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began, waited


def protocol() -> None:
    """Throughput and latency of the chief."""
    print("\nprotocol: a chief in one process, workers in another, over a Unix socket")
    print(
        f"{'workers':>8} {'a trial sleeps':>15} {'trials/s':>9} {'answer, median':>15} {'99th percentile':>16}"
    )
    for workers in (1, 10, 100):
        for sleep_s, each in ((0.0, 300 / workers), (1.0, 5)):
            total = max(workers, round(workers * each))
            with served(total) as folder:
                worker = functools.partial(be_worker, folder, total, sleep_s=sleep_s)
                took, waited = Child(many_workers, worker, workers).result()
            slow = statistics.quantiles(waited, n=100)[-1]
            print(
                f"{workers:8d} {sleep_s:13.0f} s {total / took:9.0f} {1000 * statistics.median(waited):12.1f} ms"
                f" {1000 * slow:13.1f} ms",
                flush=True,
            )


def overhead(mib: int = 40) -> None:
    """What a trial pays for being a worker's."""
    import numpy

    count = 100
    with tempfile.TemporaryDirectory() as folder:
        local = Child(_alone, folder, count).result() / count
        weights = Path(folder, "weights.npz")
        numpy.savez(weights, numpy.zeros(mib << 18, "float32"))
        began = time.monotonic()
        with numpy.load(weights) as stored:
            stored["arr_0"].sum()
        reading = time.monotonic() - began
    with served(count) as folder:
        worker = functools.partial(be_worker, folder, count, sleep_s=0.0)
        remote = Child(many_workers, worker, 1).result()[0] / count
    print(
        f"\noverhead of a trial: {1000 * (remote - local):.1f} ms to ask and tell ({1000 * local:.1f} ms in one process,"
        f" {1000 * remote:.1f} ms through the chief), {1000 * reading:.0f} ms to read {mib} MiB of inherited weights:"
        f" {remote - local + reading:.3f} s (at most 1 s is allowed)",
        flush=True,
    )


def _alone(folder: str, count: int) -> float:
    """Seconds of so many trials in the process of their oracle, which writes each record as the
    chief does.
    """
    from mlops_lib.runner.search.keras.oracle_log import Ledger
    from mlops_lib.runner.search.request import trial_record
    from mlops_lib.runner.state import atomic

    ledger = Ledger(folder)
    trials = make_trials(request(folder, count + 1), ledger)
    trials.tell(trials.ask(), 0.5)  # what is loaded at first use
    began = time.monotonic()
    for number in range(count):
        asked, ended = trials.ask(), trial_record(number)
        ledger.add(record=ended)
        atomic.write_json(str(Path(folder, f"{number}.json")), ended, lasting=False)
        ledger.commit()
        trials.tell(asked, 0.5)
    return time.monotonic() - began


def efficiency(workers: int = 16, each: int = 4, sleep_s: float = 5.0) -> None:
    """The share of time in which sleeping workers try something."""
    total = workers * each
    ready = multiprocessing.get_context("fork").Barrier(workers)
    with served(total) as folder:
        spans = [
            one.result()
            for one in [
                Child(_span, ready, folder, total, n, sleep_s) for n in range(1, workers + 1)
            ]
        ]
    took = max(end for _, end in spans) - min(begin for begin, _ in spans)
    best = total * sleep_s / workers
    print(
        f"\nefficiency: {total} trials of {sleep_s:.0f} s by {workers} processes took {took:.2f} s, {best:.0f} s at best:"
        f" {best / took:.3f} (at least 0.9 is wanted)",
        flush=True,
    )


def _span(ready: Any, *how: Any) -> tuple[float, float]:
    """A worker that begins when all processes are there: when it began, connecting included, and
    when it ended.
    """
    ready.wait()
    began = time.monotonic()
    be_worker(*how)
    return began, time.monotonic()


def faults(total: int = 12, sleep_s: float = 0.5) -> None:
    """Kill -9 while it works: every trial ends once."""
    print(f"\nfaults: {total} trials of {sleep_s} s by 3 workers")
    print(f"{'what was killed':24} {'ended':>6} {'lost':>5} {'twice':>6}", flush=True)
    for what, victim in (
        ("nothing", ""),
        ("a worker, 3 times", "2"),
        ("the chief, 3 times", "chief"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            numbers = _with_kills(folder, total, sleep_s, victim)
        ended = len(set(numbers))
        print(f"{what:24} {ended:6d} {total - ended:5d} {len(numbers) - ended:6d}", flush=True)


def _with_kills(folder: str, total: int, sleep_s: float, victim: str) -> list[int]:
    """The trials that ended, in their assignment."""
    roles: dict[str, tuple[Any, ...]] = {"chief": (be_chief, folder, total)}
    roles.update({str(n): (be_worker, folder, total, n, sleep_s) for n in (1, 2, 3)})
    made = {name: Child(*role) for name, role in roles.items()}
    for after in (2, 5, 8) if victim else ():
        until(lambda after=after: len(ended(folder)) >= after)
        time.sleep(sleep_s / 2)
        made[victim].kill()
        made[victim] = Child(*roles[victim])
    for one in made.values():
        one.result()
    return ended(folder)


def ended(folder: str) -> list[int]:
    """The trials that ended, in their order, one that was counted twice twice."""
    from mlops_lib.runner import protocol

    place = Path(folder, protocol.LEDGER)
    written = place.read_bytes().splitlines(keepends=True) if place.exists() else []
    lines = [json.loads(line) for line in written if line.endswith(b"\n")]
    return [int(line["record"]["number"]) for line in lines if "record" in line]


def be_keras_tuners_chief(folder: str, trials: int, port: int) -> None:
    """Serve a random search of KerasTuner's by its own chief, until it is over."""
    import keras_tuner
    from keras_tuner.src.distribute import oracle_chief

    _name_keras_tuners_process("chief", port)
    space = keras_tuner.HyperParameters()
    space.Float("rate", 1e-6, 1.0)
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("score", "max"), max_trials=trials, hyperparameters=space
    )
    oracle.verbose = 0
    # As its tuner does: state of an earlier process is loaded.
    oracle._set_project_dir(folder, "search")
    if Path(folder, "search", "oracle.json").exists():
        oracle.reload()
    oracle_chief.start_server(oracle)


def be_keras_tuners_worker(
    folder: str, trials: int, name: int, sleep_s: float, port: int
) -> list[float]:
    """Try what KerasTuner's chief hands out by sleeping; return how long each answer took."""
    import keras_tuner
    from keras_tuner.src.distribute import oracle_client

    _name_keras_tuners_process(f"worker-{name}", port)
    client = oracle_client.OracleClient(keras_tuner.oracles.RandomSearchOracle(max_trials=trials))
    client.tuner_id = f"worker-{name}"
    waited = []
    while True:
        began = time.monotonic()
        trial = client.create_trial(client.tuner_id)
        waited.append(time.monotonic() - began)
        if trial.status == "STOPPED":
            return waited
        time.sleep(sleep_s)
        began = time.monotonic()
        client.update_trial(trial.trial_id, {"score": 0.5})
        trial.status = "COMPLETED"
        client.end_trial(trial)
        waited.append((time.monotonic() - began) / 2)


def _name_keras_tuners_process(name: str, port: int) -> None:
    os.environ["KERASTUNER_TUNER_ID"] = name
    os.environ["KERASTUNER_ORACLE_IP"] = "127.0.0.1"
    os.environ["KERASTUNER_ORACLE_PORT"] = str(port)


def keras_tuner() -> None:
    """Throughput, latency and losses of KerasTuner's own chief and workers, beside ours."""
    print("\nKerasTuner's own chief and workers at a loopback port; ours at a Unix socket")
    print(f"{'':12} {'workers':>8} {'trials/s':>9} {'answer, median':>15} {'99th percentile':>16}")
    for workers in (1, 10, 100):
        total = max(workers, 300)
        with served(total) as folder:
            worker = functools.partial(be_worker, folder, total, sleep_s=0.0)
            ours = Child(many_workers, worker, workers).result()
        with tempfile.TemporaryDirectory() as folder:
            port = _free_port()
            chief = Child(be_keras_tuners_chief, folder, total, port)
            worker = functools.partial(
                be_keras_tuners_worker, folder, total, sleep_s=0.0, port=port
            )
            theirs = Child(many_workers, worker, workers).result()
            chief.kill()
        for whose, (took, waited) in (("ours", ours), ("KerasTuner's", theirs)):
            slow = statistics.quantiles(waited, n=100)[-1]
            print(
                f"{whose:12} {workers:8d} {total / took:9.0f}"
                f" {1000 * statistics.median(waited):12.1f} ms {1000 * slow:13.1f} ms",
                flush=True,
            )
    total = 12
    print(f"\nkilled (SIGKILL) in the middle: {total} trials of 0.5 s by 3 workers")
    print(f"{'':12} {'killed':24} {'completed':>10} {'left running':>13} {'end':>30}")
    for what in ("a worker, not restarted", "a worker, restarted", "the chief, restarted"):
        completed, running, end = _keras_tuners_losses(what, total)
        print(f"{'KerasTuner':12} {what:24} {completed:10d} {running:13d} {end:>30}", flush=True)


def _keras_tuners_losses(what: str, total: int) -> tuple[int, int, str]:
    """Kill a process of KerasTuner's own; return its trials completed, and left running."""
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        chief = Child(be_keras_tuners_chief, folder, total, port)
        workers = {
            number: Child(be_keras_tuners_worker, folder, total, number, 0.5, port)
            for number in (1, 2, 3)
        }
        until(lambda: _keras_tuners_trials(folder).count("COMPLETED") >= 4)
        time.sleep(0.25)
        if "chief" in what:
            chief.kill()
            chief = Child(be_keras_tuners_chief, folder, total, port)
        else:
            workers.pop(2).kill()
            if what.endswith(", restarted"):
                workers[2] = Child(be_keras_tuners_worker, folder, total, 2, 0.5, port)
        died = 0
        for worker in workers.values():
            try:
                worker.result(timeout_s=60.0)
            except (EOFError, TimeoutError):
                died += 1
        chief.process.join(45.0)  # it looks every 20 s whether its workers have gone
        end = "the chief waits for ever" if chief.process.is_alive() else "the chief ended"
        chief.kill()
        states = _keras_tuners_trials(folder)
        if died:
            end = f"{died} workers died, {end}"
        return states.count("COMPLETED"), states.count("RUNNING"), end


def _keras_tuners_trials(folder: str) -> list[str]:
    """Return the states of the trials that KerasTuner's chief has on the disk."""
    states = []
    for place in Path(folder, "search").glob("trial_*/trial.json"):
        with contextlib.suppress(ValueError):  # being written
            states.append(json.loads(place.read_text())["status"])
    return states


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class RelayedWorker:
    """A worker on a Ray cluster without a container: its calls go through the relay and Ray."""

    def __init__(self) -> None:
        from mlops_lib.tuning import call_relay

        self._calls = call_relay.CallQueue("bench")

    def exchange(self, answers: dict[int, Any]) -> list[Any]:
        """Take answers, and return the calls that have arrived."""
        for number, answer in answers.items():
            self._calls.answer(number, answer)
        return self._calls.take(timeout_s=0.5)

    def work(self, trials: int) -> list[float]:
        """Try what the chief hands out; return how long each answer took."""
        from mlops_lib.tuning import call_relay

        with tempfile.TemporaryDirectory() as folder, call_relay.serving(Path(folder), self._calls):
            return be_worker(folder, trials, 1, 0.0)


def cluster(trials: int = 150) -> None:
    """Latency of the chief's answers through Ray."""
    import ray

    from mlops_lib.tuning import call_relay

    with tempfile.TemporaryDirectory() as run_dir:
        place = Path(run_dir, "inside", "search")
        place.mkdir(parents=True)
        chief = Child(be_chief, str(place), trials)
        until(lambda: (place / "chief.sock").exists())
        variables = {"PYTHONPATH": os.pathsep.join(["", *filter(None, sys.path)])}
        ray.init(
            address="local",
            num_cpus=2,
            log_to_driver=False,
            include_dashboard=False,
            runtime_env={"env_vars": variables},
        )
        actor = ray.remote(num_cpus=0, max_concurrency=4)(RelayedWorker).remote()
        task = actor.work.remote(trials)
        caller = call_relay.ChiefCaller(Path(run_dir))
        answers: dict[int, Any] = {}
        while not ray.wait([task], timeout=0)[0]:
            calls = ray.get(actor.exchange.remote(answers))
            answers = {call.number: caller.call(call) for call in calls}
        waited = ray.get(task)
        ray.shutdown()
        chief.result()
    slow = statistics.quantiles(waited, n=100)[-1]
    print(
        f"\ncluster: an answer through Ray takes {1000 * statistics.median(waited):.1f} ms (median),"
        f" {1000 * slow:.1f} ms (99th percentile)",
        flush=True,
    )


def asynchronous(
    curves: list[dict[str, Any]], *, workers: int, bar: float, halve: bool = True
) -> float:
    """Seconds until some trial reaches the bar; nobody waits for anybody.

    Args:
        curves: the trials, in the order in which they are handed out.
        workers: how many there are.
        bar: the score to reach.
        halve: whether trials are stopped as in use; a random search without that.
    """
    from mlops_lib.runner.search.distributed.halving import Rungs

    rungs, waiting = Rungs("max"), list(enumerate(curves))[::-1]
    epochs: list[tuple[float, int, int]] = []
    for _ in range(min(workers, len(waiting))):
        number, one = waiting.pop()
        heapq.heappush(epochs, (one["epoch_s"], number, 1))
    while epochs:
        now, number, epoch = heapq.heappop(epochs)
        curve, epoch_s = curves[number]["curve"], curves[number]["epoch_s"]
        if curve[epoch - 1] >= bar:
            return now
        if epoch < len(curve) and (
            not halve or rungs.should_continue(number, curve[:epoch], len(curve))
        ):
            heapq.heappush(epochs, (now + epoch_s, number, epoch + 1))
        elif waiting:
            number, one = waiting.pop()
            heapq.heappush(epochs, (now + one["epoch_s"], number, 1))
    return float("inf")


def synchronous(curves: list[dict[str, Any]], *, workers: int, bar: float) -> float:
    """The same in rounds: as many trials as there are workers (8 at least), half of which go on at
    each rung, once all have come that far.
    """
    from mlops_lib.runner.search.distributed.halving import REDUCTION, RUNGS

    now, waiting = 0.0, list(curves)
    while waiting:
        going, waiting = waiting[: max(workers, 8)], waiting[max(workers, 8) :]
        first = 0
        for share in (*RUNGS, 1.0):
            last = round(share * len(going[0]["curve"]))
            free, hits = [now] * workers, []
            for one in going:
                began = heapq.heappop(free)
                hit = next((i for i in range(first, last) if one["curve"][i] >= bar), None)
                hits += [] if hit is None else [began + (hit + 1 - first) * one["epoch_s"]]
                heapq.heappush(free, began + (last - first) * one["epoch_s"])
            if hits:
                return min(hits)
            now, first = max(free), last
            going = sorted(going, key=lambda one: -max(one["curve"][:last]))[
                : max(1, len(going) // REDUCTION)
            ]
    return float("inf")


def simulation(seeds: int = 200) -> None:
    """Time to the bar on recorded curves."""
    recorded = json.loads(CURVES.read_text())
    curves = recorded["curves"]
    tops = sorted((max(one["curve"]) for one in curves), reverse=True)
    bar = tops[max(1, len(tops) // 20)]
    print(
        f"\nsimulation: {len(curves)} recorded trials ({recorded['what']}), drawn 128 or more at a time with jitter; the bar"
        f" {bar:.3f} is reached by one in twenty; median seconds to it over {seeds} orders"
    )
    print(
        f"{'workers':>8} {'asynchronous':>13} {'synchronous':>12} {'random':>8} {'async : sync':>13} {'async : random':>15}"
    )
    for workers in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512):
        took: list[tuple[float, float, float]] = []
        for seed in range(seeds):
            chance = random.Random(seed)
            drawn = [_jittered(chance.choice(curves), chance) for _ in range(max(128, 2 * workers))]
            how: dict[str, Any] = {"workers": workers, "bar": bar}
            took.append(
                (
                    asynchronous(drawn, **how),
                    synchronous(drawn, **how),
                    asynchronous(drawn, **how, halve=False),
                )
            )
        a, s, r = (statistics.median(found) for found in zip(*took, strict=True))
        print(f"{workers:8d} {a:11.1f} s {s:10.1f} s {r:6.1f} s {a / s:13.2f} {a / r:15.2f}")


def _jittered(one: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A trial like this one on another machine: up to a fifth faster or slower."""
    return {"curve": list(one["curve"]), "epoch_s": one["epoch_s"] * chance.uniform(0.8, 1.2)}


def record(place: Path, count: int = 48) -> None:
    """Record learning curves: small networks for scikit-learn's digits, their settings drawn at
    random.
    """
    import keras
    import numpy
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16.0).reshape(-1, 8, 8, 1).astype("float32")
    order = numpy.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    curves = []
    for seed in range(count):
        chance = random.Random(seed)
        keras.utils.set_random_seed(seed)
        layers: list[Any] = [keras.Input((8, 8, 1))]
        for _ in range(chance.choice((1, 1, 2))):
            layers.append(
                keras.layers.Conv2D(chance.choice((4, 8, 16)), 3, padding="same", activation="relu")
            )
        layers += [keras.layers.MaxPooling2D(chance.choice((2, 4))), keras.layers.Flatten()]
        layers += [keras.layers.Dense(10, activation="softmax")]
        model = keras.Sequential(layers)
        rate = 10 ** chance.uniform(-4, -1.5)
        model.compile(
            keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        fit = {"epochs": 12, "batch_size": 32, "verbose": 0}
        began = time.process_time()
        history = model.fit(
            x[:1000], y[:1000], validation_data=(x[1000:], y[1000:]), **fit
        ).history["val_accuracy"]
        seconds = (time.process_time() - began) / fit["epochs"]
        curves.append({"curve": [round(v, 4) for v in history], "epoch_s": round(seconds, 3)})
        print(f"{seed:3d} {max(history):.3f} {seconds:.2f} s an epoch", flush=True)
    what = "small convolutional networks for scikit-learn's digits, 12 epochs"
    place.write_text(json.dumps({"what": what, "curves": curves}) + "\n")


def main() -> None:
    """The parts that were asked for, or one role in them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--record", metavar="FILE", help="record learning curves anew, and stop")
    given = parser.parse_args()
    if given.record:
        return record(Path(given.record))
    import grpc  # noqa: F401 - once, for all processes that are forked
    import keras_tuner  # noqa: F401
    from keras_tuner.src import protos  # noqa: F401

    from mlops_lib.runner.search.distributed import coordinator, worker  # noqa: F401

    for part in given.only:
        globals()[part]()
    return None


if __name__ == "__main__":
    main()
