"""From what is declared to what is installed: every directory in tests/cases/environments is a
case.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops_lib.detection import detect
from mlops_lib.engine import import_check, venv
from mlops_lib.environments import (
    images,
    installer_log,
    locks,
    mend,
    placeholder_wheels,
    requirement,
    tables,
    torch_builds,
)
from mlops_lib.errors import ImageError, UsageError
from mlops_lib.provisioning import resolution
from mlops_lib.records import Environment, Image
from mlops_lib.testing import FakeEngine

CASES = Path(__file__).resolve().parents[1] / "cases" / "environments"


def read(name: str) -> dict[str, Any]:
    return tables.read_toml(CASES / name / "case.toml")


def asked(case: dict[str, Any]) -> resolution.Need:
    row = next(row for row in images.catalog() if row["name"] == case["row"])
    environment = Environment(
        name=row["name"],
        framework=row["frameworks"][0],
        family="other",
        requirements=(*row["requirements"], *case["declared"]),
        system=(*row.get("system", ()), *case.get("system", ())),
        variables=case.get("variables", {}),
    )
    return resolution.Need(
        environment=environment,
        imports=tuple(case.get("imports", ())),
        base_image="python:3.11-slim",
        gpus=case.get("gpus", False),
    )


@pytest.mark.parametrize("name", sorted(path.name for path in CASES.iterdir()))
def test_a_declaration_becomes_what_can_be_installed(name: str, tmp_path: Path) -> None:
    case = read(name)
    need = asked(case)
    image = resolution.plan(need, home=tmp_path)
    if "refused" in case:
        image = resolution.loosen_refused(image, need, case["refused"], case.get("round", 1))
    if "missing" in case:
        image = resolution.add_missing(
            image, [import_check.Missing.from_json(one) for one in case["missing"]]
        )
    assert image is not None
    expected = case["expected"]
    row = images.row_of(case["row"])
    kept = [line for line in row if line in image.environment.requirements]
    assert [line for line in image.environment.requirements if line not in row] == expected["lines"]
    assert {requirement.name_of(line) for line in row if line not in kept} == set(
        expected.get("replaced", [])
    )
    assert list(image.environment.system) == expected.get("system", [])
    for words in expected.get("notes", []):
        assert any(words in note for note in image.notes), image.notes
    if expected.get("notes") == []:
        assert image.notes == ()


@pytest.mark.parametrize(
    ("log", "named"),
    [
        (
            "error: Failed to build `pyaudio==0.2.14`\n  cause: fatal error: portaudio.h: No such file",
            "portaudio19-dev",
        ),
        (
            "  error: subprocess-exited-with-error\nERROR: Failed building wheel for PyAudio\n",
            "portaudio19-dev",
        ),
        ("error: Failed to build `dlib==19.24`\n", ""),  # its version may give way
        ("error: Failed to build `tinyaes==1.0`\n", ""),  # no import needs it
    ],
)
def test_what_no_version_would_compile_is_told_at_once(log: str, named: str) -> None:
    found = installer_log.compiler_problem(
        ["pyaudio", "dlib==19.24", "tinyaes"], log, {"pyaudio", "dlib"}
    )
    assert named in (found.remedy if found else "")
    assert bool(found) == bool(named)


def test_the_dockerfile_is_a_function_of_the_environment() -> None:
    need = asked({"row": "keras", "declared": ["tqdm==4.66.1", "graphviz"]})
    first, second = (resolution.replace_known_faults(need).environment for _ in range(2))
    assert images.plan(first) == images.plan(second)
    text = images.display_text(images.plan(first))
    assert "#   tqdm==4.66.1" in text
    assert (
        text.index("framework.txt")
        < text.index("family.txt")
        < text.index("graphviz")
        < text.index("project.txt")
    )


def test_families_and_projects_share_the_frameworks_layer() -> None:
    cnn, dense, own = (
        images.layers(resolution.replace_known_faults(asked(case)).environment)
        for case in (
            {"row": "keras-cnn", "declared": []},
            {"row": "keras", "declared": []},
            {"row": "keras", "declared": ["tqdm"]},
        )
    )
    assert cnn[0] == dense[0] == own[0]
    assert dense[1] == own[1]
    assert own[2] == ["tqdm"]
    replaced = resolution.replace_known_faults(
        asked({"row": "keras", "declared": ["scikit-learn==1.5.2"]})
    ).environment
    assert images.layers(replaced)[:2] == ([], []), (
        "what replaces a pin of the framework's layer does not lie above it"
    )


def test_tensorflow_is_downloaded_once(tmp_path: Path) -> None:
    environment = resolution.replace_known_faults(
        asked({"row": "keras", "declared": []})
    ).environment
    (standin,) = placeholder_wheels.needed(environment.requirements)
    images.context(images.plan(environment), tmp_path)
    wheel = tmp_path / standin.file
    assert f"COPY {wheel.name}" in images.dockerfile(environment)
    assert wheel.read_bytes() == standin.wheel(), "the same bytes every time"
    target = tmp_path / "installed"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(pip, check=True)
    (found,) = importlib.metadata.distributions(path=[str(target)])
    release = found.version.removesuffix(".0+cpu")
    assert found.name == "tensorflow"
    assert found.requires == [f"tensorflow-cpu (=={release}.*)"]
    assert f"tensorflow-cpu=={release}.*" in " ".join(environment.requirements)
    assert not placeholder_wheels.needed(images.on_gpu(environment).requirements)


def test_xgboost_brings_no_library_for_gpus_that_are_not_there() -> None:
    environment = resolution.replace_known_faults(
        asked({"row": "boosting", "declared": []})
    ).environment
    text = images.dockerfile(environment)
    assert (
        text.index("framework.txt")
        < text.index("nvidia_nccl_cu12-0+cpu")
        < text.index("family.txt")
    ), "shared below"
    assert placeholder_wheels.NCCL in images.on_gpu(environment).requirements
    assert "nvidia_nccl" not in images.dockerfile(images.on_gpu(environment))
    own = resolution.replace_known_faults(
        asked({"row": "keras", "declared": ["xgboost"]})
    ).environment
    assert images.dockerfile(own).index("family.txt") < images.dockerfile(own).index("nvidia_nccl")


def test_an_option_or_a_url_is_no_requirement() -> None:
    for line in (
        "--index-url=https://example.com",
        "x @ https://example.com/x.whl",
        "numpy\n-r other.txt",
        "-e .",
    ):
        environment = Environment(
            name="sklearn", framework="sklearn", family="linear", requirements=(line,)
        )
        with pytest.raises(ImageError):
            images.plan(environment)
        need = resolution.Need(environment=environment)
        assert resolution.replace_known_faults(need).environment.requirements == images.row_of(
            "sklearn"
        )


def test_an_index_that_does_not_answer_loosens_nothing(tmp_path: Path) -> None:
    log = (
        "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError'\n"
        "ERROR: No matching distribution found for tqdm==4.66.1\n"
    )
    need = asked({"row": "sklearn", "declared": ["tqdm==4.66.1"]})
    assert resolution.loosen_refused(resolution.plan(need, home=tmp_path), need, log, 1) is None


def test_an_engine_that_fails_loosens_nothing(tmp_path: Path) -> None:
    log = "executor failed running [pip install -r project.txt]: failed to create endpoint on network bridge"
    need = asked({"row": "sklearn", "declared": ["tqdm==4.66.1"]})
    assert resolution.loosen_refused(resolution.plan(need, home=tmp_path), need, log, 1) is None


def test_loosening_ends(tmp_path: Path) -> None:
    """However often an installer refuses, every round changes something, and what is imported
    stays.
    """
    need = asked(
        {
            "row": "keras",
            "declared": ["tqdm==4.66.1", "flask==1.0", "dlib"],
            "imports": ["tqdm", "keras"],
        }
    )
    image, rounds = resolution.plan(need, home=tmp_path), 0
    while True:
        fresh = resolution.loosen_refused(image, need, "ERROR: ResolutionImpossible", rounds + 1)
        if fresh is None:
            break
        assert fresh.environment != image.environment
        image, rounds = fresh, rounds + 1
        assert rounds < resolution.REFUSALS
    names = {requirement.name_of(line) for line in image.environment.requirements}
    assert {"tqdm", "keras"} <= names
    assert "dlib" not in names


def test_a_name_nobody_knows_is_never_installed(tmp_path: Path) -> None:
    """An import's name on the index may be anybody's (dependency confusion), also when a script
    claims to need it.
    """
    need = asked({"row": "sklearn", "declared": [], "imports": ["acme_secret_tools"]})
    image = resolution.plan(need, home=tmp_path)
    message = "ModuleNotFoundError: No module named 'acme_secret_tools'"
    assert resolution.repair(need, message, image=image, home=tmp_path) is None
    message = "ModuleNotFoundError: No module named 'sklearn.crossvalidation'"
    assert resolution.repair(need, message, image=image, home=tmp_path) is None, (
        "the script's mistake"
    )
    repaired = resolution.repair(
        need, "ModuleNotFoundError: No module named 'yaml.cyaml'", image=image, home=tmp_path
    )
    assert repaired is not None
    assert "pyyaml" in repaired.environment.requirements
    assert resolution.plan(need, home=tmp_path).environment == repaired.environment, "remembered"


@pytest.mark.parametrize(
    ("line", "version", "before"),
    [
        ("x==1.16", "1.23.2", True),
        ("x==1.23.2", "1.23.2", False),
        ("x<1.23.2", "1.23.2", True),
        ("x<=1.23.2", "1.23.2", False),
        ("x~=1.3.1", "1.5.1", True),
        ("x~=1.3", "1.5.1", False),
        ("x==1.5.*", "1.5.1", False),
        ("x==1.4.*", "1.5", True),
        ("x>=1.0", "1.5", False),
        ("x", "1.5", False),
        ("x>=1,<1.2", "1.5", True),
        ("x==2.0.0b1", "2.12", True),
        ("x==2", "2.0.0", False),
    ],
)
def test_versions_are_compared_as_releases(line: str, version: str, before: bool) -> None:
    read = requirement.read(line)
    assert read is not None
    assert requirement.ends_before(read, version) is before


def test_without_containers_a_missing_library_is_not_installed(tmp_path: Path) -> None:
    image = resolution.plan(asked({"row": "sklearn", "declared": []}), home=tmp_path)
    missing = [
        import_check.Missing(
            name="cv2", error="ImportError", message="libGL.so.1: cannot open shared object file"
        )
    ]
    assert resolution.add_missing(image, missing, apt=False) is None


def test_what_packages_print_does_not_disturb_the_probe() -> None:
    said = [["numpy", "", "", ""], ["cv2", "ImportError", "", "libGL.so.1: no"], [1]]
    output = "noise\n" + "".join(f"\x00{import_check.PLACE}{json.dumps(one)}\n" for one in said)
    assert [one.name for one in import_check.missing(output, ["numpy", "cv2", "yaml"])] == [
        "cv2",
        "yaml",
    ]


def test_every_step_that_talks_to_the_index_takes_wheels_only() -> None:
    wheels = tables.only_wheels()
    assert "numpy" in wheels
    assert "gym" not in wheels, "it has none"
    need = asked({"row": "sklearn", "declared": ["tabulate"]})
    steps = images.plan(resolution.replace_known_faults(need).environment).dockerfile.split(
        "\nRUN "
    )
    assert len(steps) > 4
    for step in steps:
        if "id=pip" in step:
            assert any(f"python -I /mlops/{name}" in step for name in images.PROGRAMS)
        elif "pip install" in step:
            assert "--no-index" in step, "what is installed without the index's settings needs none"
    for name in images.PROGRAMS:
        assert '"--only-binary", ":all:"' in (images.CONTAINERS / name).read_text()
    after = steps[-1].split("COPY --from=wheels")[1]
    assert "RUN" not in after, "nothing runs once the project's packages are in their places"


def test_what_has_no_wheel_is_read_from_what_installers_say() -> None:
    pip = (
        "ERROR: Could not find a version that satisfies the requirement docopt==0.6.1 (from versions: none)\n"
        "ERROR: Could not find a version that satisfies the requirement gym>=0.2 (from acme[x]) (from versions: 0.1)\n"
        "ERROR: No matching distribution found for gym\n"
    )
    uv = (
        "  Because all versions of pyspark have no usable wheels and you require pyspark, we can conclude\n"
        "  Because docopt==0.6.1 has no usable wheels\nhint: Wheels are required for `docopt` because building\n"
    )
    assert installer_log.without_wheel(pip) == ["docopt==0.6.1", "gym>=0.2"]
    assert installer_log.without_wheel(uv) == ["pyspark", "docopt==0.6.1"]
    assert (
        installer_log.without_wheel("Because nothere was not found in the package registry") == []
    )


@pytest.mark.parametrize(
    ("base_image", "used"),
    [
        ("python:3.11-slim", "python:3.12-slim"),
        ("mirror.example/python:3.11-slim-bookworm", "mirror.example/python:3.12-slim-bookworm"),
        ("ours/base:7", "ours/base:7"),
    ],
)
def test_another_python_comes_from_the_base_image_of_its_tag(
    base_image: str, used: str, tmp_path: Path
) -> None:
    folder = Path(__file__).resolve().parents[1] / "cases" / "detection" / "declared_uv_lock"
    need = resolution.need(detect(folder), base_image=base_image, backend="docker", gpus=False)
    image = resolution.plan(need, home=tmp_path)
    assert image.base_image == used
    assert {"scikit-learn==1.5.2", "numpy==2.1.3"} <= set(image.environment.requirements)
    said = any("decides which one there is" in note for note in image.notes)
    assert said == (used == base_image)


def test_a_python_that_this_machine_lacks_is_said(tmp_path: Path) -> None:
    environment = Environment(name="python", framework="none", family="none", python="3.4")
    need = resolution.Need(environment=environment, backend="process")
    image = resolution.plan(need, home=tmp_path)
    assert image.environment.python == images.PYTHON
    assert any("Python 3.4 is asked for" in note for note in image.notes), image.notes


def test_a_python_of_pyenv_is_found_although_its_program_on_path_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "versions" / "3.4.10" / "bin" / "python3.4"
    for program, text in (
        (
            tmp_path / "shims" / "python3.4",
            "echo 'pyenv: python3.4: command not found' >&2; exit 127",
        ),
        (own, f"echo 3.4; echo {own}"),
    ):
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'shims'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert venv.interpreter("3.4") == str(own)


PULL = """#3 [internal] load metadata for docker.io/library/python:3.12-slim
#3 ERROR: failed to do request
"""


class NoBaseImage(FakeEngine):
    """An engine whose registry has the usual base image only."""

    def build(self, image: Image, *, on_line: Callable[[str], None]) -> None:
        if image.base_image != "python:3.11-slim":
            raise ImageError("the image cannot be built", where=image.tag, log=PULL)
        super().build(image, on_line=on_line)


def test_a_python_without_its_base_image_falls_back_and_says_so(tmp_path: Path) -> None:
    (tmp_path / ".python-version").write_text("3.12\n")
    (tmp_path / "train.py").write_text("from sklearn.svm import SVC\nSVC().fit(x, y)\n")
    need = resolution.need(
        detect(tmp_path), base_image="python:3.11-slim", backend="docker", gpus=False
    )
    home = tmp_path / "home"
    engine = NoBaseImage()
    image = resolution.make(need, engine=engine, home=home, observer=lambda event: None)
    assert (image.base_image, image.environment.python) == ("python:3.11-slim", "3.11")
    assert "Python 3.12 is asked for" in image.notes[-1]
    assert resolution.plan(need, home=home).tag == image.tag, "it is not tried again"

    named = replace(need, base_image="python:3.12-slim", usual_base_image="")
    with pytest.raises(ImageError):
        resolution.make(named, engine=engine, home=home, observer=lambda event: None)


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (
            ("torch==2.3.1", "torchvision", "torchaudio"),
            {"torchvision==0.18.*", "torchaudio==2.3.*"},
        ),
        (("torchvision==0.18.0", "torch"), {"torch==2.3.*", "torchvision==0.18.0"}),
        (("torch==2.3.1", "torchvision==0.17.0"), {"torch==2.3.1", "torchvision==0.18.*"}),
        (("torch==2.3.1", "torchvision>=0.16"), {"torch==2.3.1", "torchvision>=0.16"}),
        (("torch==2.14.0", "torchaudio", "torchvision"), {"torch==2.14.0", "torchvision"}),
        (("torch<=2.3", "torchaudio"), {"torch<=2.3", "torchaudio==2.3.*"}),
        (("torch>=2,<2.2", "torchvision"), {"torch>=2,<2.2", "torchvision==0.16.*"}),
        (("torch==2.0.0", "torchvision"), {"torch==2.0.0", "torchvision==0.15.*"}),
        (("torch<3", "torchvision"), {"torch<3", "torchvision"}),
        (("torch", "torchvision"), {"torch", "torchvision"}),
    ],
)
def test_pytorch_is_a_matched_set(lines: tuple[str, ...], wanted: set[str]) -> None:
    found = mend.mend(lines, row=images.row_of("pytorch"))
    assert wanted <= set(found.lines)


@pytest.mark.parametrize(
    ("index", "gpus", "cuda", "used"),
    [
        ("", False, "", ""),
        ("https://torch.example/whl", False, "", "https://torch.example/whl/cpu"),
        ("https://torch.example/whl/", True, "12.7", "https://torch.example/whl/cu126"),
        ("https://torch.example/whl", True, "14.2", "https://torch.example/whl/cu132"),
        ("https://torch.example/whl", True, "10.2", ""),
        ("https://torch.example/whl", True, "", ""),
        ("https://torch.example/whl/cu121", False, "", "https://torch.example/whl/cu121"),
    ],
)
def test_the_gpus_choose_pytorchs_build(index: str, gpus: bool, cuda: str, used: str) -> None:
    assert torch_builds.address(index, gpus=gpus, cuda=cuda) == used


@pytest.mark.parametrize(
    "index",
    ["torch.example/whl", "https://me:secret@torch.example/whl", "https://a b/whl", "file:///x"],
)
def test_an_address_for_pytorch_is_plain(index: str) -> None:
    with pytest.raises(UsageError, match="torch_index"):
        torch_builds.address(index, gpus=False)


def test_a_row_without_gpus_keeps_its_lock_but_for_pytorch() -> None:
    row = images.row_of("pytorch")
    environment = Environment(
        name="pytorch",
        framework="pytorch",
        family="cnn",
        requirements=row,
        torch_index="https://torch.example/whl/cpu",
    )
    text = images.locks_of(environment)["family"]["x86_64"]
    names = set(locks.versions(text))
    assert "pandas" in names
    assert not any(name in torch_builds.NAMES or torch_builds.is_for_gpus(name) for name in names)
    assert text.count("--hash=") < images.locks_of(replace(environment, torch_index=""))["family"][
        "x86_64"
    ].count("--hash=")
    locked = images.releases("pytorch")["torch"]
    assert images.torch_lines(environment) == [f"torch=={locked}"]
    assert "torch" in images.plan(environment).dockerfile.partition("framework.txt")[0]


def test_what_a_lock_has_for_another_tensorflow_is_left_out_in_one_line(tmp_path: Path) -> None:
    """The row's own release needs its own NumPy and h5py; the rest of the lock stays exact."""
    (tmp_path / "train.py").write_text(
        "import keras\nimport pandas\n\nmodel = keras.Sequential([keras.layers.Dense(1)])\n"
        "model.compile('adam', 'mse')\nmodel.fit(pandas.DataFrame({'a': [1.0]}), [1.0])\n"
    )
    (tmp_path / "pyproject.toml").write_text(
        "[project]\nname = 'digits'\ndependencies = ['tensorflow', 'pandas']\n"
    )
    packages = {
        "tensorflow": ("2.16.2", "h5py", "numpy", "protobuf", "wrapt"),
        "pandas": ("2.2.3", "numpy", "pytz"),
        "h5py": ("3.16.0",),
        "numpy": ("1.26.4",),
        "protobuf": ("4.25.9",),
        "wrapt": ("1.16.0",),
        "pytz": ("2024.2",),
    }
    (tmp_path / "uv.lock").write_text(
        "".join(
            f'[[package]]\nname = "{name}"\nversion = "{version}"\n'
            f"dependencies = [{', '.join(f'{{ name = {json.dumps(one)} }}' for one in needs)}]\n"
            for name, (version, *needs) in packages.items()
        )
    )
    need = resolution.need(
        detect(tmp_path), base_image="python:3.11-slim", backend="docker", gpus=False
    )
    image = resolution.plan(need, home=tmp_path / "home")
    lines = image.environment.requirements
    assert {"pandas==2.2.3", "pytz==2024.2"} <= set(lines)
    assert not {"h5py", "numpy", "protobuf", "wrapt"} & {
        requirement.name_of(line) for line in lines if "==" in line
    }
    assert sum("locked beside tensorflow==2.16.2" in note for note in image.notes) == 1
