"""The repository as others load it: a shared library of Jenkins, a wheel, a source distribution."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CATALOG = {
    path.relative_to(ROOT).as_posix() for path in (ROOT / "containers").rglob("*") if path.is_file()
}
BUILD = "import setuptools.build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"


def tracked() -> list[tuple[str, str]]:
    """Mode and path of each file of the repository."""
    listing = subprocess.run(
        ["git", "ls-files", "-s", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    rows = (entry.split("\t", 1) for entry in listing.stdout.split("\0") if entry)
    return [(about.split()[0], path) for about, path in rows]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_no_file_is_a_link() -> None:
    """Jenkins (pipeline-groovy-lib since 798) refuses a shared library with a symbolic link
    anywhere in its checkout.
    """
    assert [path for mode, path in tracked() if mode in {"120000", "160000"}] == []


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a wheel and a source distribution, both built from a copy of the checkout."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("mlops_lib", "containers"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    tools = tmp_path_factory.mktemp("tools")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--target",
        str(tools),
        "setuptools>=77",
    ]
    subprocess.run(install, check=True, timeout=120)
    program = f"import sys; sys.path.insert(0, {str(tools)!r}); {BUILD}"
    subprocess.run(
        [sys.executable, "-Wignore", "-c", program],
        cwd=copy,
        check=True,
        timeout=120,
        capture_output=True,
    )
    return copy / "dist"


def test_a_wheel_has_the_catalog_within_the_package(distributions: Path, tmp_path: Path) -> None:
    [wheel] = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    assert {f"mlops_lib/{path}" for path in CATALOG} <= set(archive.namelist())
    assert not (tmp_path / "containers").exists()
    program = (
        "from mlops_lib import catalog; from mlops_lib.environments import images;"
        " print(catalog.FOLDER, len(images.catalog()))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {program}",
        ],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    folder, rows = done.stdout.split()
    assert folder == str(tmp_path / "mlops_lib" / "containers")
    assert int(rows) > 0


def test_a_source_distribution_has_the_folder_as_the_checkout_has_it(distributions: Path) -> None:
    [archive] = distributions.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        names = {name.split("/", 1)[1] for name in content.getnames() if "/" in name}
    assert names >= CATALOG
    assert "setup.py" in names
