"""Real images: what is missing is found and added, no secret stays in one, one with code trains by
itself, unneeded ones go.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers.packages import PackageIndex

from mlops_lib import event_log, run_directory
from mlops_lib.engine import buildkit, project_image
from mlops_lib.engine.docker import DockerEngine
from mlops_lib.environments import images
from mlops_lib.provisioning import cache, resolution
from mlops_lib.records import Environment, Image, RunSpec

pytestmark = pytest.mark.docker
PROXY_SECRET = "n0t-in-any-layer"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DockerEngine]:
    made = DockerEngine(home=str(tmp_path))
    yield made
    made.remove_images(cache.unneeded(made.images(), (), home=cache.name_of_home(str(tmp_path))))


def docker(*arguments: str) -> str:
    done = subprocess.run(
        [buildkit.client_program(), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def own_environment(*requirements: str) -> Environment:
    """One that no other test has: its image is this test's to remove."""
    return Environment(
        name="tests",
        framework="none",
        family="none",
        requirements=requirements,
        variables={"OWN": uuid.uuid4().hex},
    )


@pytest.fixture
def index(package_index: PackageIndex, monkeypatch: pytest.MonkeyPatch) -> PackageIndex:
    """The operator's settings name our index, as a build container sees this machine."""
    gateway = json.loads(docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]
    host = gateway.get("Gateway") or gateway["Subnet"].rsplit(".", 1)[0] + ".1"
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", package_index.url(host))
    monkeypatch.setenv("PIP_TRUSTED_HOST", host)
    return package_index


def test_what_an_image_lacks_is_added_and_no_secret_stays(
    engine: DockerEngine, index: PackageIndex, tmp_path: Path
) -> None:
    index.add("acme_tool")
    index.add("toml")
    need = resolution.Need(
        environment=own_environment("acme_tool==9"),
        imports=("acme_tool", "toml", "acme_unknown"),
        base_image="python:3.11-slim",
    )
    told: list[dict[str, Any]] = []
    image = resolution.make(need, engine=engine, home=tmp_path, observer=told.append)
    assert image.environment.requirements == ("acme-tool", "toml")
    assert "toml added: import toml: ModuleNotFoundError" in "\n".join(image.notes)
    secret = next(iter(index.passwords - {""}))
    assert secret in index.url()
    everything = (
        docker("history", "--no-trunc", image.tag)
        + docker("inspect", image.tag)
        + json.dumps(told)
        + image.dockerfile
    )
    assert secret not in everything
    assert PROXY_SECRET not in everything
    saved = tmp_path / "image.tar"
    docker("save", "--output", str(saved), image.tag)
    assert found_in_layers(saved, b"acme_tool"), "the search finds what is there"
    assert not found_in_layers(saved, secret.encode())
    assert not found_in_layers(saved, PROXY_SECRET.encode())
    index.close()  # from here on nothing can be asked
    assert (
        resolution.make(need, engine=engine, home=tmp_path, observer=told.append).tag == image.tag
    )


def test_only_pytorch_comes_from_its_own_index(
    engine: DockerEngine, index: PackageIndex, tmp_path: Path
) -> None:
    index.add("torch", "9.0", requires="nvidia-cublas")
    index.add("torchvision", "9.0", requires="torch==9.0")
    index.add("sympy")
    index.add("acme_vision", requires="torchvision")
    mirror = PackageIndex(password="")
    mirror.add("torch", "9.0+cpu", requires="sympy")
    mirror.add("torchvision", "9.0+cpu", requires="torch==9.0")
    mirror.add("sympy", "99.0")
    host = os.environ["PIP_TRUSTED_HOST"]
    need = resolution.Need(
        environment=own_environment("torch", "acme_vision"),
        imports=("torch", "torchvision", "sympy", "acme_vision"),
        base_image="python:3.11-slim",
        torch_index=f"{mirror.url(host)}cpu",
    )
    image = resolution.make(need, engine=engine, home=tmp_path, observer=lambda event: None)
    mirror.close()
    listed = docker("run", "--rm", "--entrypoint", "pip", image.tag, "list", "--format=freeze")
    assert {"torch==9.0+cpu", "torchvision==9.0+cpu", "sympy==1.0"} <= set(listed.split())
    pages = {path for path in mirror.paths if path.startswith("/simple/")}
    assert {path.strip("/").split("/")[-1] for path in pages} == {"torch", "torchvision"}


def found_in_layers(saved: Path, word: bytes) -> bool:
    """Whether a word is in a name or the contents of any file of any layer, or in the image's own
    configuration.
    """
    with tarfile.open(saved) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is None:
                continue
            # The layers of the base hold nothing of ours; skipping its bulk keeps this fast. They
            # are plain tars here.
            if member.size < 64 << 20 and word in stream.read():
                return True
    return False


def spec_of(project: Path, image: Image) -> RunSpec:
    return RunSpec(
        digest=uuid.uuid4().hex,
        name="Baked Things",
        project=str(project),
        entry="train.py",
        args=("a b", "$HOME", 'q"'),
        backend="docker",
        image=image,
        commit="abc123",
        metric_pattern=r"acc (\d\.\d+)",
    )


LISTING = """
import os, sys
print(sys.argv[1:], os.getuid())
print([name for _, _, names in os.walk(os.environ["MLOPS_PROJECT"]) for name in names])
print("acc 0.91")
"""


def test_an_image_with_code_trains_by_itself(engine: DockerEngine, tmp_path: Path) -> None:
    project = tmp_path / "project"
    kept = {"train.py": LISTING, "data/numbers.csv": "1,2\n", "README.md": ""}
    left = (
        ".git/config",
        ".env",
        "deep/.env.local",
        ".aws/credentials",
        "kaggle.json",
        "deep/id_rsa",
        "big.bin",
        "x.swp",
        "__pycache__/x.pyc",
        "deep/.venv/bin/python",
        "server.pem",
    )
    for name, text in {**kept, **dict.fromkeys(left, "hidden")}.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    (project / ".dockerignore").write_text("big.bin\n*.swp\n!**/.env\n")
    planned = images.plan(Environment(name="python", framework="none", family="none"))
    engine.build(planned, on_line=lambda line: None)
    spec = spec_of(project, planned)
    tag = engine.bake(spec, on_line=lambda line: None)
    results = tmp_path / "results"
    results.mkdir(mode=0o777)
    results.chmod(0o777)
    try:
        output = docker("run", "--rm", "--volume", f"{results}:{images.INSIDE}", tag)
        labels = json.loads(docker("inspect", tag))[0]["Config"]["Labels"]
    finally:
        docker("rmi", tag)
    assert output.splitlines()[0] == "['a b', '$HOME', 'q\"'] 65534"
    listed = output.splitlines()[1]
    for name in kept:
        assert Path(name).name in listed
    for name in left:
        assert Path(name).name not in listed
    assert json.loads((results / "metrics.json").read_text())["evaluations"][0]["value"] == 0.91
    assert labels[f"{project_image.LABEL}.commit"] == "abc123"
    assert labels[f"{project_image.LABEL}.environment"] == planned.tag


def test_pruning_takes_what_no_run_of_this_home_needs(engine: DockerEngine, tmp_path: Path) -> None:
    needed, used, idle = (images.plan(own_environment()) for _ in range(3))
    for image in (needed, used, idle):
        engine.build(image, on_line=lambda line: None)
    run_dir = tmp_path / "runs" / "one"
    run_directory.write_spec(run_dir, spec_of(tmp_path, needed))
    container = docker("create", used.tag, "x.py").strip()
    try:
        before = {one.tags for one in engine.images()}
        kept, gone = cache.list_and_prune(engine, home=tmp_path, prune=True)
        assert [one.name for one in gone] == [idle.tag]
        assert {one.tags for one in engine.images()} == before - {(idle.tag,)}
        assert next(one for one in kept if one.name == needed.tag).runs == ("one",)
        assert next(one for one in kept if one.name == used.tag).in_use
    finally:
        docker("rm", container)
    (run_dir / "spec.json").unlink()


def test_a_caller_in_a_container_drives_the_engine(tmp_path: Path) -> None:
    """Its paths are not the engine's: what it mounts is translated (a Jenkins agent with the
    engine's socket).
    """
    caller = images.plan(
        Environment(
            name="tests",
            framework="none",
            family="none",
            requirements=("docker", "requests", "rich"),
        )
    )
    DockerEngine().build(caller, on_line=lambda line: None)
    project, home = tmp_path / "project", tmp_path / "home"
    project.mkdir()
    home.mkdir()
    (project / "train.py").write_text("open('left.txt', 'w').write('from the inner container')\n")
    binds = {
        tmp_path: "/elsewhere",
        ROOT: "/repository",
        "/var/run/docker.sock": "/var/run/docker.sock",
    }
    program = buildkit.client_program()
    binds[program] = "/usr/bin/docker"
    words = [
        word for source, target in binds.items() for word in ("--volume", f"{source}:{target}")
    ]
    command = [
        "run",
        "--rm",
        *words,
        "--env",
        "PYTHONPATH=/repository",
        "--env",
        "MLOPS_HOME=/elsewhere/home",
        "--workdir",
        "/tmp",
        "--entrypoint",
        "python",
        caller.tag,
        "-m",
        "mlops_lib",
        "train",
        "/elsewhere/project",
        "--entry",
        "train.py",
        "--backend",
        "docker",
        "--json",
    ]
    record = json.loads(docker(*command))
    assert record["state"] == "finished"
    outputs = home / "runs" / Path(record["run_dir"]).name / "inside" / "outputs"
    assert (outputs / "left.txt").read_text() == "from the inner container"


HOSTILE = """
import os, socket, subprocess
found = []

def writes(path):  # by another program: what stands in for absolute folders is in this one only
    return subprocess.run(["sh", "-c", 'echo x > "$1"', "sh", path], stderr=subprocess.DEVNULL).returncode == 0

for place in ("/", "/proc/1/root", os.environ["MLOPS_PROJECT"], "/etc", "/usr/local", "/mlops", "/mlops/runner"):
    if writes(os.path.join(place, "planted")):
        found.append("wrote " + place)
for place in ("/var/run/docker.sock", "/run/docker.sock", "/root", "/home", "/proc/1/environ"):
    try:
        content = os.listdir(place) if os.path.isdir(place) else open(place, "rb").read()
        if b"hook" in str(content).encode():
            found.append("read " + place)
    except OSError:
        pass
for place in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/sys/fs/cgroup/planted"):
    if writes(place):
        found.append("wrote " + place)
try:
    os.setuid(0)
    found.append("became root")
except OSError:
    pass
inside = os.environ["MLOPS_INSIDE"]
for name in ("model.keras", "metrics.json", "suggested.patch", "outputs", "search", "heartbeat"):
    path = os.path.join(inside, name)
    try:
        os.path.lexists(path) and os.rename(path, path + ".old")
        os.symlink("/etc/shadow" if "." in name else "/etc", path)
    except OSError as error:
        found.append(str(error))
found += [name for name, value in os.environ.items() if "hook" in value]
print("FOUND", found)
"""


def test_a_hostile_script_finds_nothing_and_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shares the container with the runner; what it leaves are links into the host."""
    from mlops_lib import reporting
    from mlops_lib.ci import artifacts
    from mlops_lib.gate import verdicts
    from mlops_lib.pipeline import stages
    from mlops_lib.pipeline.job import prepare

    project, victim = tmp_path / "project", tmp_path / "victim"
    project.mkdir()
    victim.mkdir()
    (project / "train.py").write_text(HOSTILE)
    monkeypatch.setenv("MLOPS_SLACK_WEBHOOK", "https://example.com/hook")
    job = prepare(project, entry="train.py", backend="docker", home=str(tmp_path / "home"))
    stages.train(job)
    log = (job.run_dir / "log.txt").read_text()
    assert "FOUND []" in log
    inside = job.run_dir / "inside"
    assert (inside / "model.keras").is_symlink()
    shadow = Path("/etc/shadow").read_text() if os.getuid() == 0 else "root:"
    for name in ("metrics.json", "heartbeat", "outputs"):  # as a process that it left behind would
        _planted(inside / name, "/etc" if name == "outputs" else "/etc/shadow")
    assert verdicts.read_claims(job.run_dir) == {}
    assert event_log.heartbeat(job.run_dir) == {}
    page = reporting.report(job.run_dir)
    artifacts.gather(job.run_dir, victim)
    copied = b"".join(path.read_bytes() for path in (page, *victim.rglob("*")) if path.is_file())
    assert shadow.encode() not in copied
    assert not list(victim.rglob("passwd"))


def _planted(path: Path, target: str) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def test_the_project_cannot_loosen_its_cage(tmp_path: Path) -> None:
    from mlops_lib import config
    from mlops_lib.errors import UsageError

    for line in (
        'network = "host"',
        "mount = ['/:/host']",
        'base_image = "evil"',
        "pids = 0",
        'gpus = "all"',
        'home = "/"',
    ):
        for name, text in (("mlops.toml", line), ("pyproject.toml", f"[tool.mlops]\n{line}")):
            project = tmp_path / uuid.uuid4().hex
            project.mkdir()
            (project / name).write_text(text)
            with pytest.raises(UsageError, match="may not be set by the project"):
                config.resolve(project, environ={})
