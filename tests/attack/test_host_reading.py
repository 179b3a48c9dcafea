"""What the host reads of a pushed project lies in it, is a file, and ends; what is no requirement
is never repeated.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from mlops_lib import config, patching
from mlops_lib.detection import detect, missing_data
from mlops_lib.detection.declared_requirements import is_requirement
from mlops_lib.engine import project_image
from mlops_lib.errors import DetectionError, MlopsError, RefusedFileError, UsageError
from mlops_lib.patching.winner_record import UnpatchableError
from mlops_lib.project import files, fingerprint
from mlops_lib.registry import model_store
from mlops_lib.tuning import argument_sweep

pytestmark = [pytest.mark.attack, pytest.mark.timeout(60)]

SCRIPT = "from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n"
SECRET = "topsecretword"
Plant = Callable[[Path, Path], None]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the host whose lines look like requirements, code and settings."""
    place = tmp_path / "host" / "secret.txt"
    place.parent.mkdir()
    place.write_text(f"{SECRET}==1\n{SECRET} and more\n")
    return place


@pytest.fixture
def project(tmp_path: Path) -> Path:
    place = tmp_path / "pushed" / "project"
    place.mkdir(parents=True)
    (place / "train.py").write_text(SCRIPT)
    return place


def linked(name: str, *, absolute: bool = True) -> Plant:
    def plant(project: Path, secret: Path) -> None:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        target = secret if absolute else os.path.relpath(secret, (project / name).parent)
        (project / name).symlink_to(target)

    return plant


def written(name: str, text: str) -> Plant:
    def plant(project: Path, secret: Path) -> None:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        up = os.path.relpath(secret, (project / name).parent)
        (project / name).write_text(text.replace("ABSOLUTE", str(secret)).replace("RELATIVE", up))

    return plant


def through_folder(project: Path, secret: Path) -> None:
    (project / "requirements").symlink_to(secret.parent)
    secret.rename(secret.parent / "base.txt")


def through_fd(project: Path, secret: Path) -> None:
    (project / "requirements.txt").write_text(
        f"-r /proc/self/fd/{os.open(secret, os.O_RDONLY)}\n-r /dev/fd/0\n"
    )


def link_to_link(project: Path, secret: Path) -> None:
    (project / "a.txt").symlink_to("b.txt")
    (project / "b.txt").symlink_to(secret)
    (project / "requirements.txt").write_text("-r a.txt\n")


def include_of_include(project: Path, secret: Path) -> None:
    written("more/base.txt", "-r RELATIVE\n")(project, secret)
    written("requirements.txt", "-r more/base.txt\n")(project, secret)


DYNAMIC = '[project]\nname="x"\ndynamic=["dependencies"]\n[tool.setuptools.dynamic]\ndependencies={file=["%s"]}\n'
OUTSIDE: dict[str, Plant] = {
    **{
        f"link {name}": linked(name)
        for name in (
            "requirements.txt",
            "requirements.in",
            "REQUIREMENTS.TXT",
            "reqs.txt",
            "requirements/train.txt",
            "pyproject.toml",
            "setup.cfg",
            "setup.py",
            "Pipfile",
            "environment.yml",
            "conda.yaml",
            "apt.txt",
            "README.md",
            "Makefile",
            "Dockerfile",
            "run.sh",
            "helper.py",
            "other.ipynb",
        )
    },
    "relative link": linked("requirements.txt", absolute=False),
    "link to link": link_to_link,
    "linked folder": through_folder,
    "descriptor": through_fd,
    **{
        f"{option} {path}": written("requirements.txt", f"{option}{path}\n")
        for option in ("-r ", "-r", "--requirement=", "--requirement ", "-c ", "--constraint ")
        for path in ("ABSOLUTE", "RELATIVE")
    },
    "include of include": include_of_include,
    "constraint": written("requirements.txt", f"{SECRET[:3]}\n-c ABSOLUTE\n"),
    "continued line": written("requirements.txt", "-r \\\nABSOLUTE\n"),
    "dynamic": written("pyproject.toml", DYNAMIC % "ABSOLUTE"),
    "dynamic above": written("pyproject.toml", DYNAMIC % "RELATIVE"),
    "setup.cfg file": written("setup.cfg", "[options]\ninstall_requires = file: RELATIVE\n"),
    "environment.yml": written(
        "environment.yml", "dependencies:\n  - pip:\n    - -r ABSOLUTE\n    - -r RELATIVE\n"
    ),
}


def answered(project: Path) -> str:
    """What reading the project's settings says."""
    try:
        return str(config.resolve(project).plain())
    except UsageError as error:
        return str(error)


@pytest.mark.parametrize("plant", OUTSIDE.values(), ids=OUTSIDE)
def test_no_file_of_the_host_is_quoted(plant: Plant, project: Path, secret: Path) -> None:
    plant(project, secret)
    try:
        found = json.dumps(detect(project).to_json())
    except MlopsError as error:
        found = str(error)
    assert SECRET not in found
    assert SECRET not in answered(project)


def test_modules_come_from_the_project(project: Path, secret: Path) -> None:
    module = secret.parent / "hostmodule.py"
    module.write_text(f"import {SECRET}\n")
    climbs = os.path.relpath(secret.parent, project)
    imports = (
        f"import sys\nsys.path.insert(0, {climbs!r})\nimport hostmodule\nfrom .... import host\n"
    )
    (project / "train.py").write_text(imports + SCRIPT)
    (project / "pkg").symlink_to(secret.parent)
    (project / "other.py").write_text("from pkg import hostmodule\n" + SCRIPT)
    for entry in ("train.py", "other.py"):
        assert SECRET not in json.dumps(detect(project, entry=entry).to_json())
    for entry in (f"{climbs}/hostmodule.py", str(module), "pkg/hostmodule.py"):
        with pytest.raises(DetectionError):
            detect(project, entry=entry)


@pytest.mark.parametrize(
    "line",
    [
        "{S}",
        "-e {S}",
        "-e /etc",
        "--editable=git+ssh://git@{S}/x",
        "file:///{S}",
        "git+ssh://{S}/x",
        "git+https://u:{S}@h/x",
        "--index-url http://{S}/simple",
        "-i http://{S}",
        "--extra-index-url http://{S}",
        "--find-links /{S}",
        "-f {S}",
        "--trusted-host {S}",
        "torch @ https://{S}/torch.whl",
        "torch; sys_platform == '${{S}}'",
        "torch; {S} == 'x'",
        "torch==1.0 --index-url http://{S}",
        "torch==1.0; python_version > '3' --global-option={S}",
        "torch==${{S}}",
        "torch --config-settings={S}",
        "./{S}",
        "{S} word",
        "https://{S}.com/x.whl",
        "torch==1.0,{S}/../x",
        "[{S}]",
        "torch;sys_platform=='x' or '{S} --pre'=='x'",
        "torch\t--hash=sha256:{S}",
        "torch==1\x1b[31m{S}",
        "{S}\u202e",
    ],
)
def test_a_line_that_is_no_requirement_is_not_repeated(line: str, project: Path) -> None:
    # A lone word would be a distribution's name: that one may be named.
    text = line.replace("{S}", f"{SECRET}/" if line == "{S}" else SECRET)
    (project / "requirements.txt").write_text(f"numpy\n{text}\n")
    (project / "setup.cfg").write_text(f"[options]\ninstall_requires =\n  {text}\n")
    found = detect(project)
    assert SECRET not in json.dumps(found.to_json())
    assert all(is_requirement(one) for one in found.requirements)


def odd(kind: str, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as one:
            here = Path.cwd()
            os.chdir(place.parent)  # an address of a socket is short
            try:
                one.bind(place.name)
            finally:
                os.chdir(here)
    elif kind == "itself":
        place.symlink_to(place.name)
    else:
        place.symlink_to(kind)


ODD = (
    "pipe",
    "folder",
    "socket",
    "itself",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/environ",
    "/proc/self/mem",
    "/dev/tty",
    "/",
)
NAMES = (
    "x.py",
    "x.ipynb",
    "x.yaml",
    "README.md",
    "data.json",
    "requirements.txt",
    "pyproject.toml",
    "setup.cfg",
    "setup.py",
    "environment.yml",
    "apt.txt",
    "Dockerfile",
    "Makefile",
    "run.sh",
    ".dockerignore",
    "helper.py",
    "data.csv",
)


@pytest.mark.parametrize("kind", ODD)
def test_odd_files_hold_nobody(kind: str, project: Path) -> None:
    for name in NAMES:
        odd(kind, project / name)
    (project / "train.py").write_text(
        "import helper\n" + SCRIPT + "open('data.json')\nopen('data.csv')\n"
    )
    assert "PATH=" not in answered(project)
    found = detect(project)
    assert found.entry == "train.py"
    assert "PATH=" not in json.dumps(found.to_json())
    assert len(fingerprint.manifest(project)) == 64
    list(missing_data.missing(found))
    list(argument_sweep.values(project, "x.py", (), count=2))
    assert model_store._script_digest(project, "x.py") == ""
    with pytest.raises(UnpatchableError):
        patching.source.read_source(project, "x.py")
    with pytest.raises(RefusedFileError):
        project_image.ignored(project)
    with pytest.raises(DetectionError):
        detect(project, entry="x.py")


@pytest.mark.parametrize("kind", ODD)
def test_odd_settings_are_refused(kind: str, project: Path) -> None:
    odd(kind, project / "mlops.toml")
    with pytest.raises(UsageError, match=r"mlops\.toml"):
        config.resolve(project)


def test_a_project_of_odd_scripts_only(tmp_path: Path) -> None:
    for kind in ODD:
        odd(kind, tmp_path / f"train{ODD.index(kind)}.py")
    with pytest.raises(DetectionError):
        detect(tmp_path)


def test_what_is_too_large_is_said(tmp_path: Path) -> None:
    large = SCRIPT + "# data\n" * 200_000
    (tmp_path / "train.py").write_text(large)
    for entry in (None, "train.py"):
        with pytest.raises(DetectionError, match="larger than 1 MB") as caught:
            detect(tmp_path, entry=entry)
        assert caught.value.where == "train.py"
    (tmp_path / "train.py").unlink()
    cell = {"cell_type": "code", "source": large}
    (tmp_path / "train.ipynb").write_text(json.dumps({"cells": [cell], "metadata": {}}))
    with pytest.raises(DetectionError, match="longer than 1 MB"):
        detect(tmp_path)
    (tmp_path / "mlops.toml").write_text("#" * 300_000)
    with pytest.raises(UsageError, match="larger than 256 kB"):
        config.resolve(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "a" + " " * 900_000 + "!"),
        ("requirements.txt", "a[" * 400_000),
        ("requirements.txt", "-r requirements.txt\n" * 40_000),
        ("requirements.txt", "a; " + "(" * 900_000),
        (
            "environment.yml",
            "dependencies:\n - " + " " * 900_000 + "\n - pip:\n   - a" + " " * 90_000 + "!",
        ),
        ("pyproject.toml", "a" + ".a" * 120_000 + "=1"),
        ("pyproject.toml", "a=" + "[" * 100_000),
        ("README.md", "python train.py " * 18_000),
        ("setup.cfg", "\n" * 250_000 + "x"),
        ("setup.py", "-" * 250_000 + "1"),
        ("setup.py", "setup(" * 40_000),
        ("pyproject.toml", "[" + " " * 250_000),
        ("Makefile", "a: \\\n" * 40_000),
        ("Makefile", "train:\n" + "\tpython train.py \\\n" * 12_000),
        ("dvc.yaml", "stages: " + "[" * 200_000),
        (
            "dvc.yaml",
            "stages:\n" + "".join(f"  s{n}:\n    cmd: python train.py\n" for n in range(6_000)),
        ),
        ("MLproject", "entry_points:\n  main:\n    command: '" + "{a}" * 60_000 + "'\n"),
        (".gitlab-ci.yml", "train:\n  script:\n" + "    - python train.py --a b\n" * 9_000),
        ("x.py", "x = " + "-" * 900_000 + "1"),
        ("x.py", "(" * 900_000),
        ("x.py", "import a\n" * 100_000),
        ("x.py", "".join(f"import a{n}\n" for n in range(60_000))),
        ("x.ipynb", '{"cells": ' + "[" * 1_000_000),
    ],
    ids=lambda value: value[:12],
)
def test_no_file_takes_long(name: str, text: str, project: Path) -> None:
    (project / name).write_text(text)
    ended = threading.Event()
    watch = threading.Timer(20, lambda: None if ended.is_set() else os.abort())
    watch.daemon = True
    watch.start()
    try:
        try:
            config.resolve(project)
        except UsageError:
            (project / name).unlink()
        assert detect(project).entry == "train.py"
        if name.endswith("py"):
            with suppress(DetectionError):
                detect(project, entry=name)
    finally:
        ended.set()
        watch.cancel()


def test_a_pointer_of_git_lfs_is_named(project: Path) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 120000\n"
    (project / "big.py").write_text(pointer)
    with pytest.raises(DetectionError, match="Git LFS") as caught:
        detect(project, entry="big.py")
    assert "git lfs pull" in str(caught.value)
    (project / "train.py").write_text(SCRIPT + "import pandas\npandas.read_csv('data/table.csv')\n")
    (project / "data").mkdir()
    (project / "data" / "table.csv").write_text(pointer)
    found = detect(project)
    assert missing_data.pointers(found) == ["data/table.csv"]
    assert any(
        "data/table.csv" in warning and "git lfs pull" in warning for warning in found.warnings
    )


def test_links_within_the_project_are_followed(project: Path) -> None:
    (project / "env").mkdir()
    (project / "env" / "all.txt").write_text("numpy==1.26.4\n")
    (project / "requirements.txt").symlink_to("env/all.txt")
    (project / "main.py").symlink_to("train.py")
    assert "numpy==1.26.4" in detect(project, entry="main.py").requirements


def test_a_file_that_is_swapped_meanwhile_leads_nowhere(project: Path, secret: Path) -> None:
    """Between looking and opening a name may become a link."""
    place = project / "requirements.txt"
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            place.unlink(missing_ok=True)
            place.symlink_to(secret)
            place.unlink(missing_ok=True)
            place.write_text("numpy\n")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(3000):
            try:
                assert SECRET not in files.read_text(place, root=project)
            except RefusedFileError:
                continue
    finally:
        stop.set()
        thread.join()


def test_the_command_says_it_like_any_other_error(project: Path) -> None:
    (project / "train.py").unlink()
    os.mkfifo(project / "train.py")
    done = subprocess.run(
        [sys.executable, "-m", "mlops_lib", "detect", str(project), "--entry", "train.py"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, "Traceback" in done.stderr, "remedy" in done.stderr) == (
        3,
        False,
        True,
    ), done.stderr


@pytest.mark.parametrize("where", ["checkout", "workspace"])
def test_a_link_does_not_choose_what_is_trained(
    where: str, project: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (secret.parent / "train.py").write_text(f"import {SECRET}\n{SCRIPT}")
    (secret.parent / "mlops.toml").write_text(f"{SECRET} = 1\n")
    (project / "model").symlink_to(secret.parent)
    (project / "link.py").symlink_to(secret.parent / "train.py")
    (project / "sub").mkdir()
    (project / "sub" / "deep").symlink_to(project / "model")
    if where == "checkout":
        (project / ".git").mkdir()
    else:
        monkeypatch.setenv("WORKSPACE", str(project))
    monkeypatch.chdir(project)
    for given in (
        "model",
        "link.py",
        "sub/deep",
        "model/train.py",
        project / "model",
        project / "link.py",
    ):
        for read in (detect, config.resolve):
            with pytest.raises(RefusedFileError, match="leads out"):
                read(Path(given))
    (project / "inner").symlink_to(project / "sub")
    (project / "sub" / "train.py").write_text(SCRIPT)
    (project / "same.py").symlink_to("sub/train.py")
    assert detect("inner").entry == "train.py"
    assert detect("same.py").entry == "same.py" or detect("same.py").entry == "sub/train.py"


def test_a_linked_script_outside_of_any_checkout_takes_no_other_folder(
    project: Path, secret: Path
) -> None:
    (secret.parent / "train.py").write_text(f"import {SECRET}\n{SCRIPT}")
    (project / "link.py").symlink_to(secret.parent / "train.py")
    with pytest.raises(DetectionError):
        detect(project / "link.py")


def test_what_a_cluster_would_take_from_elsewhere_is_named(project: Path, secret: Path) -> None:
    (project / "sub").mkdir()
    (project / "sub" / "inner.py").symlink_to("../train.py")
    assert files.strays(project) == []
    (project / "outer").symlink_to(secret)
    (project / "sub" / "loop").symlink_to("..")
    os.mkfifo(project / "pipe")
    assert sorted(files.strays(project)) == ["outer", "pipe", "sub/loop"]
