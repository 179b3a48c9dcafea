"""What is found out about the machine: doctor's checks, and how an engine offers GPUs."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mlops_lib.cli import doctor_checks
from mlops_lib.engine import gpu
from mlops_lib.errors import UsageError
from mlops_lib.pipeline.job import prepare


def test_doctor_says_what_is_wrong_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No engine, an index that nobody answers at: each is a finding with a remedy, and no host of
    the operator's is told.
    """
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://name:password@127.0.0.1:{port}/simple")
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    found = {one.name: one for one in doctor_checks.checks(home=tmp_path / "not" / "yet")}
    assert found["engine"].status == "warning"
    assert found["index"].status == "error"
    assert found["proxies"].finding == "HTTPS_PROXY set"
    assert all(one.remedy for one in found.values() if one.status != "ok")
    assert found["disk"].finding.count("GiB free") == 1
    assert not any("password" in str(one) or str(port) in one.remedy for one in found.values())


@pytest.mark.parametrize(
    ("info", "offer"),
    [
        ({"Runtimes": {"runc": {}, "nvidia": {"path": "nvidia-container-runtime"}}}, "nvidia"),
        (
            {
                "Runtimes": {"runc": {}},
                "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=all"}],
            },
            "cdi",
        ),
        (
            {
                "Runtimes": {"runc": {}},
                "DiscoveredDevices": [{"Source": "cdi", "ID": "vendor.com/net=0"}],
            },
            "",
        ),
        ({"Runtimes": None}, ""),
        ({}, ""),
    ],
)
def test_how_an_engine_offers_gpus(info: dict[str, object], offer: str) -> None:
    assert gpu.offered(info) == offer


def test_a_container_is_given_all_gpus_in_the_engines_terms() -> None:
    assert gpu.request("") == {}
    by_runtime, by_name = (gpu.request(offer)["device_requests"][0] for offer in ("nvidia", "cdi"))
    assert (by_runtime["Count"], by_runtime["Capabilities"]) == (-1, [["gpu"]])
    assert (by_name["Driver"], by_name["DeviceIDs"]) == ("cdi", ["nvidia.com/gpu=all"])


def test_a_container_is_given_only_the_gpus_that_a_scheduler_has_lent() -> None:
    by_runtime, by_name = (
        gpu.request(offer, "1, 3")["device_requests"][0] for offer in ("nvidia", "cdi")
    )
    assert (by_runtime["Count"], by_runtime["DeviceIDs"]) == (0, ["1", "3"])
    assert by_name["DeviceIDs"] == ["nvidia.com/gpu=1", "nvidia.com/gpu=3"]
    assert gpu.request("nvidia", "") == gpu.request("cdi", "-1") == {}


@pytest.mark.parametrize(
    ("there", "visible", "own"),
    [
        ("012", None, ["0", "1", "2", "0"]),
        ("012", "1, 2", ["1", "2", "1", "2"]),
        ("012", "GPU-8a,MIG-3", ["GPU-8a", "MIG-3"]),
        ("0", None, ["", ""]),
        ("012", "2", ["", ""]),
        ("012", "", [""]),
        ("", None, [""]),
    ],
)
def test_workers_take_turns_at_the_gpus_there_are(
    there: str, visible: str | None, own: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    said = "".join(f"echo 'GPU {one}: NVIDIA H200 (UUID: GPU-{one}f)'\n" for one in there)
    program.write_text(f"#!/bin/sh\n{said or 'exit 9'}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert gpu.driver() is bool(there)
    assert [gpu.for_worker(number, visible) for number in range(len(own))] == own


def test_gpus_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # without the driver's program there is no driver
    (tmp_path / "train.py").write_text("print(1)\n")
    with pytest.raises(UsageError, match="no GPU can be granted"):
        prepare(
            tmp_path, entry="train.py", backend="process", home=str(tmp_path / "home"), gpus="all"
        )
