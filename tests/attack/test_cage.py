"""The cage around a training: what a script inside cannot reach, and what a project's settings
cannot loosen.
"""

from __future__ import annotations

import json
import socket
import uuid
from pathlib import Path

import pytest

from mlops_lib import config
from mlops_lib.engine import LABEL_RUN, Launch
from mlops_lib.engine.docker import DockerEngine
from mlops_lib.environments import images
from mlops_lib.errors import UsageError
from mlops_lib.records import Environment, Limits, Mount

pytestmark = pytest.mark.attack
VALUES = {
    "text": "evil",
    "list": ["/etc:/mlops/etc"],
    "bytes": "1t",
    "number": 64.0,
    "integer": 100_000,
    "flag": True,
}
OPERATORS = [one for one in config.SETTINGS if one.operator]


@pytest.mark.parametrize("setting", [one.key for one in OPERATORS])
@pytest.mark.parametrize("file", ["mlops.toml", "pyproject.toml"])
def test_a_projects_settings_cannot_loosen_its_cage(
    tmp_path: Path, setting: str, file: str
) -> None:
    """Whatever the repository says of an operator's setting is refused, and its name is in the
    message.
    """
    kind = next(one.kind for one in OPERATORS if one.key == setting)
    table = "[tool.mlops]\n" if file == "pyproject.toml" else ""
    (tmp_path / file).write_text(f"{table}{setting} = {json.dumps(VALUES.get(kind, 'evil'))}\n")
    with pytest.raises(UsageError, match=setting):
        config.resolve(tmp_path, {})


def test_what_a_cage_is_made_of_is_the_operators() -> None:
    names = {one.key for one in OPERATORS}
    assert names >= {
        "backend",
        "run_dir",
        "home",
        "mount",
        "memory",
        "cpus",
        "pids",
        "network",
        "trust",
        "base_image",
        "mail_to",
        "slack_channel",
        "slack_url",
        "on",
    }


ESCAPES = r"""
import ctypes, json, os, socket, subprocess, sys
host = json.loads(sys.argv[1])
held, broken = [], []

def attempt(name, act):
    try:
        act()
    except (OSError, subprocess.CalledProcessError, AssertionError, ValueError) as error:
        held.append(name)
    else:
        broken.append(name)

def fails(code):
    if code != 0:
        raise OSError("refused")

libc = ctypes.CDLL(None, use_errno=True)

def opened(path, flags):
    # By the system itself: the runner stands in for functions of Python
    descriptor = libc.open(path.encode(), flags, 0o644)
    if descriptor < 0:
        raise OSError("refused")
    return descriptor

status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
    attempt(name, lambda: fails(0 if int(status[name], 16) else 1))
attempt("new privileges", lambda: fails(0 if status["NoNewPrivs"].strip() != "1" else 1))
attempt("no seccomp filter", lambda: fails(0 if status["Seccomp"].strip() == "0" else 1))
attempt("be root", lambda: os.setuid(0))
attempt("root's group", lambda: os.setgroups([0]))
for path in ("/x", "/usr/lib/x", "/etc/passwd", "/mlops/project/main.py", "/mlops/runner/x", "/proc/sysrq-trigger",
             "/proc/sys/kernel/core_pattern", "/sys/kernel/x", "/sys/fs/cgroup/x", "/dev/x"):
    attempt(f"write {path}", lambda: opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
for path in ("/var/run/docker.sock", "/run/docker.sock", "/proc/1/root/etc/shadow", "/etc/shadow", "/dev/mem",
             "/dev/kmsg", "/proc/kcore", *host["paths"]):
    attempt(f"read {path}", lambda: os.read(opened(path, os.O_RDONLY), 1))
attempt("mount", lambda: fails(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)))
attempt("unshare", lambda: fails(libc.unshare(0x10000000 | 0x00020000)))
attempt("chroot", lambda: os.chroot("/tmp"))
attempt("a device", lambda: os.mknod("/tmp/device", 0o60666, os.makedev(8, 0)))
attempt("a raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt("a packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("load a module", lambda: fails(libc.syscall(175, 0, 0, 0)))
attempt("set the clock", lambda: fails(libc.settimeofday(ctypes.c_char_p(b"\0" * 16), None)))
attempt("the host's name", lambda: fails(libc.sethostname(b"evil", 4)))
attempt("reboot", lambda: fails(libc.reboot(0x89abcdef)))
attempt("a set-user-id file", lambda: fails(0 if subprocess.run(
    ["sh", "-c", "cp /bin/id /tmp/id && chmod 4755 /tmp/id && /tmp/id -u"], capture_output=True, text=True, check=True
).stdout.strip() == "0" else 1))
attempt("a secret of the caller's", lambda: fails(0 if any("hush-hush" in value for value in os.environ.values()) else 1))
attempt("the network", lambda: socket.create_connection((host["address"], host["port"]), timeout=2))
out = os.path.join(os.environ["MLOPS_INSIDE"], "out")
os.symlink(host["paths"][0], out)
attempt("a link out of inside", lambda: opened(out, os.O_RDONLY))
children = []
attempt("more processes than allowed", lambda: children.extend(
    os.posix_spawn("/bin/sleep", ["sleep", "60"], {}) for _ in range(300)
))
for child in children:
    os.kill(child, 9)
    os.waitpid(child, 0)
print("RESULT " + json.dumps([held, broken]))
"""


@pytest.mark.docker
def test_a_script_cannot_get_out_of_its_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_SMTP_URL", "smtp://user:hush-hush@127.0.0.1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    engine = DockerEngine(home=str(tmp_path / "home"))
    image = images.plan(Environment(name="python", framework="none", family="none"))
    engine.build(image, on_line=lambda line: None)
    project, run_dir, other = tmp_path / "project", tmp_path / "run", tmp_path / "other"
    for folder in (project, run_dir, other):
        folder.mkdir(mode=0o755)
    data = tmp_path / "data"
    data.mkdir()
    (other / "secret.txt").write_text("another project's")
    (run_dir / "verdict.json").write_text("{}")
    (project / "main.py").write_text(ESCAPES)
    label = uuid.uuid4().hex
    with socket.create_server(("0.0.0.0", 0)) as listening:
        host = {
            "paths": [str(other / "secret.txt"), str(run_dir / "verdict.json"), str(Path.home())],
            "address": "172.17.0.1",
            "port": listening.getsockname()[1],
        }
        launch = Launch(
            image=image,
            project=str(project),
            inside=str(run_dir / "inside"),
            entry="main.py",
            args=(json.dumps(host),),
            limits=Limits(network="none", pids=64, memory_bytes=512 << 20),
            mounts=(Mount(source=str(data), target="/data"),),
            labels={LABEL_RUN: label},
            log=str(run_dir / "log.txt"),
        )
        started = engine.start(launch)
        ended = engine.wait(started.id, timeout_s=90)
    log = (run_dir / "log.txt").read_text()
    engine.kill(started.id)
    engine.remove(started.id)
    assert ended.state == "exited", log
    held, broken = json.loads(
        next(line for line in log.splitlines() if line.startswith("RESULT "))[7:]
    )
    assert broken == [], f"{len(held)} held: {held}"
    assert len(held) > 40
    assert not list(data.iterdir())
