"""Registered models in a real MLflow server with a SQLite store: logged once, found by alias, and
no harm without it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops_lib import cli
from mlops_lib.records import Environment, Image, RunSpec, Verdict
from mlops_lib.registry import mlflow as mlflow_registry
from mlops_lib.registry import model_store

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own
START_S = 120


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of our own."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    with (folder / "log").open("w") as log:
        program = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, program, folder / "log")
        yield address
    finally:
        os.killpg(program.pid, 15)
        program.wait(30)


def wait_for(address: str, program: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and program.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


class World:
    """A home with runs that ended accepted."""

    def __init__(self, folder: Path) -> None:
        self.home, self.folder = folder / "home", folder
        self.warnings: list[str] = []

    def register(self, digest: str, value: float) -> tuple[Path, RunSpec, Any]:
        run_dir = self.folder / digest
        (run_dir / "inside").mkdir(parents=True)
        (run_dir / "inside" / "model.keras").write_bytes(digest.encode())
        (run_dir / "report.html").write_text("<p>report</p>")
        losses: list[Any] = [2.5, "nan", 0.5]
        lines = [
            {
                "event": "epoch",
                "fit": 1,
                "epoch": n,
                "metrics": {"loss": one, "val@acc!": 0.5},
                "time": 1_790_000_000.0 + n,
            }
            for n, one in enumerate(losses)
        ]
        (run_dir / "inside" / "events.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in lines)
        )
        spec = RunSpec(
            digest=digest,
            name="o'demo",
            project=str(self.folder),
            entry="train.py",
            backend="docker",
            commit="c0ffee",
            image=Image(
                tag="mlops/keras:1",
                environment=Environment(name="keras", framework="keras", family="cnn"),
            ),
            seed=7,
            created=1_790_000_000.0,
        )
        verdict = Verdict(verdict="accepted", metric="accuracy", value=value, target=0.8)
        return run_dir, spec, model_store.register(run_dir, spec, verdict, home=self.home)

    def log(self, logged: tuple[Path, RunSpec, Any]) -> None:
        run_dir, spec, version = logged

        def observe(event: dict[str, Any]) -> None:
            self.warnings.append(event["message"])

        mlflow_registry.try_to_log(run_dir, spec, version, home=self.home, observer=observe)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_runs_versions_and_the_champion_are_there_once(
    server: str, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    first, second = world.register("a" * 64, 0.9), world.register("b" * 64, 0.95)
    model_store.set_alias("o'demo", "champion", 2, home=world.home)
    for one in (first, second, second, first):
        world.log(one)
    assert world.warnings == []

    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("o'demo")
    runs = client.search_runs([experiment.experiment_id], order_by=["metrics.accuracy"])
    assert [run.data.metrics["accuracy"] for run in runs] == [0.9, 0.95]
    assert runs[0].data.params["seed"] == "7"
    assert runs[0].data.tags["mlflow.source.git.commit"] == "c0ffee"
    history = client.get_metric_history(runs[0].info.run_id, "fit_1/loss")
    assert {(one.step, one.value) for one in history} == {(0, 2.5), (2, 0.5)}
    assert "fit_1/val_acc_" in runs[0].data.metrics
    assert {one.path for one in client.list_artifacts(runs[1].info.run_id)} == {
        "model",
        "report.html",
    }

    champion = client.get_model_version_by_alias("o'demo", "champion")
    assert (champion.run_id, champion.tags["mlops.version"]) == (runs[1].info.run_id, "2")
    assert len(client.search_model_versions()) == 2
    assert capsys.readouterr().out == "", "results go there"
    monkeypatch.setenv("MLOPS_HOME", str(world.home))
    for words, alias, version in (
        (["rollback", "o'demo"], "champion", "1"),
        (["alias", "o'demo", "2", "canary"], "canary", "2"),
    ):
        assert cli.main(["registry", *words, "--json"]) == 0
        assert client.get_model_version_by_alias("o'demo", alias).tags["mlops.version"] == version
    assert '"action": "rollback"' in capsys.readouterr().out
    fetched = client.download_artifacts(runs[1].info.run_id, "model/model.keras", str(world.folder))
    assert Path(fetched).read_bytes() == b"b" * 64


def test_a_server_that_is_gone_is_a_warning_that_shows_no_password(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:p4ssword@127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    world.log(world.register("c" * 64, 0.9))
    (warning,) = world.warnings
    assert "MLFLOW_TRACKING_URI" in warning
    assert "p4ssword" not in warning
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    world.log(world.register("d" * 64, 0.9))
    assert len(world.warnings) == 1
