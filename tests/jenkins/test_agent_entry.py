"""The agent image's entry: Jenkins' key gets in by SSH, the user may use the engine, and runs are
watched from boot.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
ENTRY = DEPLOY / "agent" / "mlops-agent"
SSHD = Path("/usr/sbin/sshd")
# What the base image's script does, as far as it matters here: authorize the key, and become sshd.
SETUP = """#!/bin/sh
set -eu
printf '%s\\n' "$JENKINS_AGENT_SSH_PUBKEY" >'{keys}'
exec {sshd} -D -e -f '{config}' "$@"
"""
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
"""
NOTES = "#!/bin/sh\necho \"{name} $*\" >>'{log}'\n"


class Agent:
    """An agent's container, with programs of its own in place of those that change the machine's
    users.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log.txt"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        for name in ("host_key", "key", "other_key"):
            self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        (folder / "sshd_config").write_text(CONFIG.format(port=self.port, folder=folder))
        for name in ("usermod", "groupadd"):
            self.program(name, NOTES.format(name=name, log=self.log))
        self.program(
            "getent",
            "#!/bin/sh\n[ -e '{}' ] && echo engine:x:$2: || exit 2\n".format(folder / "log.txt"),
        )
        self.program("su", '#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
        self.program("mlops-watch", NOTES.format(name="mlops-watch $MLOPS_HOME", log=self.log))
        keys, config = folder / "authorized_keys", folder / "sshd_config"
        self.program("setup-sshd", SETUP.format(keys=keys, sshd=SSHD, config=config))
        self.engine = socket.socket(socket.AF_UNIX)
        self.engine.bind(str(folder / "docker.sock"))
        environ = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "MLOPS_HOME": "/srv/mlops/home",
            "DOCKER_SOCKET": str(folder / "docker.sock"),
            "JENKINS_AGENT_SSH_PUBKEY": (folder / "key.pub").read_text(),
        }
        self.process = subprocess.Popen(
            [str(ENTRY)], env=environ, start_new_session=True, stderr=subprocess.DEVNULL
        )

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def ssh(self, key: str, command: str) -> subprocess.CompletedProcess[str]:
        options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            f"UserKnownHostsFile={self.folder}/hosts",
            "IdentitiesOnly=yes",
        ]
        words = [word for option in options for word in ("-o", option)]
        at = ["-i", str(self.folder / key), "-p", str(self.port), f"{getpass.getuser()}@127.0.0.1"]
        return self.run("ssh", "-F", "none", *words, *at, command)

    def connected(self, command: str) -> str:
        deadline = time.monotonic() + 20
        while (done := self.ssh("key", command)).returncode == 255 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    if not (SSHD.exists() and shutil.which("ssh")):
        pytest.skip("no SSH server on this machine (.ci/sshd installs one)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd puts its unprivileged half
    made = Agent(tmp_path)
    yield made
    os.killpg(made.process.pid, signal.SIGKILL)
    made.process.wait(timeout=10)
    made.engine.close()


def test_jenkins_gets_in_with_its_key_and_nobody_else(agent: Agent) -> None:
    assert agent.connected("cat; echo connected") == "connected\n"
    assert agent.ssh("other_key", "echo connected").returncode == 255
    gid = (agent.folder / "docker.sock").stat().st_gid
    lines = agent.log.read_text().splitlines()
    assert lines[:2] == [f"groupadd --gid {gid} engine", "usermod --append --groups engine jenkins"]
    assert "mlops-watch /srv/mlops/home " in lines


def test_the_image_and_its_environment_give_the_entry_what_it_reads() -> None:
    image = (ENTRY.parent / "Dockerfile").read_text()
    for name in ("mlops-agent", "mlops-watch"):
        assert f"COPY {name} /usr/local/bin/{name}" in image
        assert os.access(ENTRY.parent / name, os.X_OK)
    assert 'ENTRYPOINT ["mlops-agent"]' in image
    environment = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["agent"][
        "environment"
    ]
    controller = yaml.safe_load((DEPLOY / "controller" / "jenkins.yaml").read_text())
    [variables] = [one["envVars"]["env"] for one in controller["jenkins"]["globalNodeProperties"]]
    [home] = [one["value"] for one in variables if one["key"] == "MLOPS_HOME"]
    assert environment["MLOPS_HOME"].replace(":-/srv/mlops", "") == home, (
        "the watch looks where builds leave their runs"
    )
