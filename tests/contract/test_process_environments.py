"""Virtual environments: whole or rebuilt, whoever dies; the same probing and repairing as images."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from servers.packages import PackageIndex

from mlops_lib import event_log
from mlops_lib.engine import venv
from mlops_lib.engine.process import ProcessEngine
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
