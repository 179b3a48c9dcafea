"""A training reaches neither this machine, nor another training, nor the addresses at which clouds
hand out credentials.
"""

from __future__ import annotations

import ast
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import waiting

from mlops_lib.engine import Launch, network
from mlops_lib.engine.docker import DockerEngine
from mlops_lib.environments import images
from mlops_lib.errors import EngineError
from mlops_lib.records import Environment, Limits
from mlops_lib.runner import network as runner_network

pytestmark = [pytest.mark.attack, pytest.mark.docker]

SCRIPT = """
import os, socket
seen = []
for place in PLACES:
    try:
        socket.create_connection(place, timeout=3).close()
        seen.append("reached %s:%s" % place)
    except OSError as error:
        seen.append(os.strerror(error.errno) if error.errno else str(error))
try:
    open("/proc/sys/net/ipv4/ip_forward", "w").close()
    seen.append("wrote to the kernel")
except OSError:
    pass
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for place in PLACES:
    try:
        udp.sendto(b"x", place)
        seen.append("sent to %s" % place[0])
    except OSError:
        pass
print("SEEN", seen)
"""
LISTENS = """
import socket, time
server = socket.create_server(("0.0.0.0", 7000))
print("ADDRESS", socket.gethostbyname(socket.gethostname()), flush=True)
time.sleep(600)
"""


@pytest.fixture
def service() -> Iterator[int]:
    """A port of this machine, open to everybody."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
        yield int(server.getsockname()[1])


def _accept(server: socket.socket) -> None:
    while True:
        try:
            server.accept()[0].close()
        except OSError:
            return


class Site:
    """Trainings of one project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = DockerEngine(home=str(folder / "home"))
        self.image = images.plan(Environment(name="python", framework="none", family="none"))
        self.engine.build(self.image, on_line=lambda line: None)
        self.number = 0

    def start(self, script: str, *, limits: Limits) -> tuple[str, Path]:
        self.number += 1
        project = self.folder / f"project{self.number}"
        project.mkdir()
        (project / "x.py").write_text(script)
        log = self.folder / f"log{self.number}"
        inside = self.folder / f"inside{self.number}"
        launch = Launch(
            image=self.image,
            project=str(project),
            inside=str(inside),
            entry="x.py",
            log=str(log),
            limits=limits,
        )
        return self.engine.start(launch).id, log

    def seen(self, places: list[tuple[str, int]], *, limits: Limits) -> list[str]:
        started, log = self.start(SCRIPT.replace("PLACES", repr(places)), limits=limits)
        waiting.until(lambda: self.engine.get(started).state != "running", timeout_s=60)
        ended = self.engine.wait(started)
        self.engine.remove(started)
        assert ended.exit_code == 0, log.read_text()
        line = next(line for line in log.read_text().splitlines() if line.startswith("SEEN"))
        found: list[str] = ast.literal_eval(line.removeprefix("SEEN "))
        return found


def test_a_training_reaches_no_neighbour(service: int, tmp_path: Path) -> None:
    site = Site(tmp_path)
    isolated, plain = Limits(network=network.ISOLATED), Limits(network="bridge")
    other, log = site.start(LISTENS, limits=isolated)
    try:
        waiting.until(lambda: log.exists() and "ADDRESS" in log.read_text(), timeout_s=60)
        neighbour = (log.read_text().split()[1], 7000)
        client = site.engine._client
        own = {one for found in client.networks.list() for one in network._gateways(found)} - {""}
        closed = set(network._gateways(client.networks.get(network.CLOSED)))
        hosts = [(one, service) for one in sorted(own - closed)]
        assert any(seen.startswith("reached") for seen in site.seen(hosts, limits=plain)), (
            "the service can be reached"
        )
        places = [*hosts, neighbour, ("169.254.1.1", 80), ("100.100.100.200", 80)]
        found = site.seen(places, limits=isolated)
        assert not [one for one in found if one.startswith(("reached", "wrote"))], found
        refused = [place for place in places if place != neighbour]
        assert found.count("Network is unreachable") == len(refused), "at once: nothing is sent"
        assert [one for one in found if one.startswith("sent")] in ([], [f"sent to {neighbour[0]}"])
    finally:
        site.engine.kill(other)
        site.engine.wait(other, timeout_s=20)
        site.engine.remove(other)


def test_a_training_that_cannot_be_closed_in_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    monkeypatch.setattr(
        network, "REFUSED", ("0.0.0.0/0",)
    )  # the engine finds no way to the gateway any more
    before = {one.id for one in site.engine.find({})}
    with pytest.raises(EngineError, match="its network cannot be closed"):
        site.start("open('ran', 'w').close()\n", limits=Limits(network=network.ISOLATED))
    assert {one.id for one in site.engine.find({})} == before
    assert not list(tmp_path.rglob("ran"))


def test_the_script_waits_for_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "Iface Destination Gateway\neth0 00000000 010015AC 0003\n"
    (tmp_path / "route").write_text(rows)
    monkeypatch.setattr(runner_network, "ROUTES", str(tmp_path / "route"))
    assert not runner_network._leads_out("172.21.0.1")
    (tmp_path / "route").write_text(rows.replace("15AC", "14AC"))
    assert runner_network._leads_out("172.21.0.1")
    monkeypatch.setenv(runner_network.VARIABLE, "172.21.0.1")
    runner_network.wait()
    assert runner_network.VARIABLE not in runner_network.os.environ
