"""Virtual environments: whole or rebuilt, whoever dies; the same probing and repairing as images."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from servers.packages import PackageIndex

from mlops_lib import event_log
from mlops_lib.engine import programs, venv
from mlops_lib.engine.process import ProcessEngine
from mlops_lib.environments import torch_builds
from mlops_lib.errors import ImageError, TrainingError
from mlops_lib.pipeline import stages
from mlops_lib.pipeline.job import prepare
from mlops_lib.provisioning import cache, resolution
from mlops_lib.records import Environment, Image, RunSpec

ROOT = Path(__file__).resolve().parents[2]
BUILD = """
import sys
from pathlib import Path
from mlops_lib.engine import venv
from mlops_lib.records import Environment, Image, RunSpec
environment = Environment(name="python", framework="none", family="none", requirements=("acme_tool",))
venv.build(venv.place(Path(sys.argv[1]), environment), environment, on_line=lambda line: None)
"""


@pytest.fixture
def index(package_index: PackageIndex, monkeypatch: pytest.MonkeyPatch) -> PackageIndex:
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", package_index.url())
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    package_index.add("acme_tool")
    return package_index


def asked(*requirements: str, imports: tuple[str, ...] = ()) -> resolution.Need:
    environment = Environment(
        name="none-of-the-rows", framework="none", family="none", requirements=requirements
    )
    return resolution.Need(
        environment=environment, imports=imports, base_image="python:3.11-slim", backend="process"
    )


def test_an_environment_is_repaired_and_the_answer_remembered(
    index: PackageIndex, tmp_path: Path
) -> None:
    index.add("toml")
    engine, told = ProcessEngine(home=str(tmp_path)), []
    need = asked("acme_tool==7", imports=("acme_tool", "toml", "acme_unknown"))
    image = resolution.make(need, engine=engine, home=tmp_path, observer=told.append)
    assert image.environment.requirements == ("acme-tool", "toml")
    notes = "\n".join(image.notes)
    assert "acme_tool==7 → acme-tool" in notes or "acme-tool==7 → acme-tool" in notes
    assert "toml added: import toml: ModuleNotFoundError" in notes
    assert "if 'acme_unknown' is a distribution, declare it" in notes
    told.clear()
    index.wheels.clear()
    assert resolution.make(need, engine=engine, home=tmp_path, observer=told.append) == image
    assert told == [], "nothing is asked again"


def test_an_index_with_a_certificate_of_its_own_is_trusted_by_name(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = index.encrypt(tmp_path)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", index.url())
    monkeypatch.setenv("PIP_RETRIES", "0")
    engine, told = ProcessEngine(home=str(tmp_path)), []
    need = asked("acme_tool", imports=("acme_tool",))
    with pytest.raises(ImageError, match="a certificate that is not trusted") as untrusted:
        resolution.make(need, engine=engine, home=tmp_path, observer=told.append)
    assert "PIP_CERT" in untrusted.value.remedy
    assert not any("the installer refuses" in event.get("message", "") for event in told), (
        "no requirement is to blame"
    )
    monkeypatch.setenv("PIP_CERT", str(bundle))
    image = resolution.make(need, engine=engine, home=tmp_path, observer=told.append)
    assert image.notes == ()


def test_a_training_that_lacks_a_module_gets_it_and_goes_on(
    index: PackageIndex, tmp_path: Path
) -> None:
    for name in ("numpy", "toml"):
        index.add(name)
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text(
        "toml = __import__('TOML'.lower())\nopen('done.txt', 'w').write(toml.version)\n"
    )
    given: dict[str, Any] = {
        "entry": "train.py",
        "backend": "process",
        "home": str(tmp_path / "home"),
    }
    job = prepare(project, **given)
    result = stages.train(job)
    assert result.state == "finished"
    assert (job.run_dir / "inside" / "outputs" / "done.txt").read_text() == "1.0"
    lines = event_log.read_lines(job.run_dir / "attempts.jsonl")
    assert [line["why"] for line in lines if line.get("do") == "repair"] == [
        "toml added: import toml: ModuleNotFoundError: No module named 'toml'"
    ]
    again = prepare(project, **given)
    assert (again.run_dir, again.spec.digest) == (job.run_dir, job.spec.digest), (
        "the same run, in another environment"
    )
    assert "toml" in again.spec.image.environment.requirements, (
        "remembered: the next build has it at once"
    )
    (project / "train.py").write_text("__import__('acme_' + 'tool')\n")
    with pytest.raises(TrainingError, match="acme_tool"):
        stages.train(project, **given)


def test_a_killed_builder_leaves_nothing_that_looks_whole(
    index: PackageIndex, tmp_path: Path
) -> None:
    environment = Environment(
        name="python", framework="none", family="none", requirements=("acme_tool",)
    )
    folder = venv.place(tmp_path, environment)
    index.go_on.clear()
    builder = subprocess.Popen(
        [sys.executable, "-c", BUILD, str(tmp_path)], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert index.asked.wait(60), "the installer is at its download"
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    assert not venv.is_complete(folder)
    second = threading.Thread(
        target=venv.build, args=(folder, environment), kwargs={"on_line": lambda line: None}
    )
    second.start()
    second.join(0.5)
    assert second.is_alive(), "the dead builder's installer still has the folder"
    index.go_on.set()
    second.join(60)
    assert venv.is_complete(folder)
    assert venv.missing(folder, environment, ["acme_tool"]) == []


def test_no_secret_of_ours_reaches_an_installer(
    index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_SLACK_WEBHOOK", "https://example.com/hook")
    assert "MLOPS_SLACK_WEBHOOK" not in venv.variables()
    assert venv.variables()["PIP_INDEX_URL"] == index.url()


def test_a_python_that_is_not_here_is_named(tmp_path: Path) -> None:
    environment = Environment(name="python", framework="none", family="none", python="3.4")
    with pytest.raises(ImageError, match=r"Python 3\.4, and this machine has none"):
        venv.build(venv.place(tmp_path, environment), environment, on_line=lambda line: None)


def test_pruning_leaves_what_a_run_needs(index: PackageIndex, tmp_path: Path) -> None:
    engine = ProcessEngine(home=str(tmp_path))
    for requirements in ((), ("acme_tool",)):
        need = asked(*requirements)
        resolution.make(need, engine=engine, home=tmp_path, observer=lambda event: None)
    needed = resolution.plan(asked(), home=tmp_path)
    run_dir = tmp_path / "runs" / "one"
    run_dir.mkdir(parents=True)
    (run_dir / "spec.json").write_text(spec(needed))
    kept, gone = cache.list_and_prune(engine, home=tmp_path, prune=True)
    assert [one.runs for one in kept] == [("one",)]
    assert [Path(one.name).exists() for one in (*kept, *gone)] == [True, False]
    assert engine.has(needed)


def spec(image: Image) -> str:
    return json.dumps(
        RunSpec(
            digest="0", name="one", project="/", entry="x.py", backend="process", image=image
        ).to_json()
    )


@pytest.fixture
def torch_mirror(index: PackageIndex) -> Iterator[PackageIndex]:
    """A mirror of PyTorch's index beside the usual one, which has the builds for GPUs.

    It has names of others too, in releases that an installer would prefer.
    """
    mirror = PackageIndex(password="")
    index.add("torch", "9.0", requires="nvidia-cublas")
    index.add("torch", "9.1", requires="nvidia-cublas")
    index.add("torchvision", "9.0", requires="torch==9.0")
    index.add("nvidia_cublas")
    index.add("sympy")
    index.add("acme_vision", requires="torchvision")
    mirror.add("torch", "9.0+cpu", requires="sympy")
    mirror.add("torchvision", "9.0+cpu", requires="torch==9.0")
    for name in ("sympy", "acme_vision", "acme_tool", "nvidia_cublas"):
        mirror.add(name, "99.0")
    yield mirror
    mirror.close()


def with_installer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave only one of the installers to be found."""
    uv = Path(sys.executable).with_name("uv")
    if name == "pip":
        monkeypatch.setattr(programs, "find", lambda wanted: None)
        return
    if not uv.exists():
        pytest.skip("no uv beside this Python")
    monkeypatch.setenv("PATH", f"{uv.parent}:{os.environ['PATH']}")


def installed(image: Image, home: Path) -> dict[str, str]:
    folder = venv.place(home, image.environment)
    pattern = re.compile(r"(\w+)-(.+)\.dist-info")
    names = (place.name for place in folder.glob("lib/python*/site-packages/*.dist-info"))
    return {found[1]: found[2] for found in map(pattern.fullmatch, names) if found}


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_only_pytorch_comes_from_its_own_index(
    installer: str,
    index: PackageIndex,
    torch_mirror: PackageIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_installer(installer, monkeypatch)
    mirror = torch_builds.address(torch_mirror.url().replace("/simple/", "/whl"), gpus=False)
    need = asked("torch", "acme_vision", "acme_tool", imports=("torch", "acme_vision"))
    need = replace(need, torch_index=mirror)
    engine, told = ProcessEngine(home=str(tmp_path)), []
    image = resolution.make(need, engine=engine, home=tmp_path, observer=told.append)
    have = installed(image, tmp_path)
    assert have["torch"] == "9.0+cpu"
    assert have["torchvision"] == "9.0+cpu", "what others need of PyTorch comes from there too"
    assert (have["sympy"], have["acme_vision"], have["acme_tool"]) == ("1.0", "1.0", "1.0")
    assert "nvidia_cublas" not in have
    pages = {path for path in torch_mirror.paths if path.startswith("/whl/")}
    assert {path.strip("/").split("/")[-1] for path in pages} <= {"torch", "torchvision"}
    assert {path.strip("/").split("/")[1] for path in pages} == {"cpu"}
    assert not any("4 GB" in str(event) for event in told)


def test_an_index_without_the_release_falls_back_to_the_usual_one_and_says_so(
    index: PackageIndex, torch_mirror: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_installer("uv", monkeypatch)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    need = replace(asked("torch==9.1"), torch_index=torch_mirror.url().rstrip("/") + "/cpu")
    engine, told = ProcessEngine(home=str(tmp_path)), []
    image = resolution.make(need, engine=engine, home=tmp_path, observer=told.append)
    assert installed(image, tmp_path)["torch"] == "9.1"
    assert any("does not have torch==9.1" in note for note in image.notes)


def test_builds_for_gpus_without_any_are_said_to_cost_disk(
    index: PackageIndex, torch_mirror: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_installer("uv", monkeypatch)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    engine, told = ProcessEngine(home=str(tmp_path)), []
    resolution.make(asked("torch"), engine=engine, home=tmp_path, observer=told.append)
    assert sum("would save about 4 GB" in str(event) for event in told) == 1
