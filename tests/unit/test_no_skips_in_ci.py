"""The rule of tests/conftest.py, tried on a small suite of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = {
    "test_passes.py": "def test_passes():\n    pass\n",
    "test_skips.py": "import pytest\n\n\ndef test_skips():\n    pytest.skip('no such tool')\n",
    "test_marked.py": "import pytest\n\n\n@pytest.mark.skip(reason='later')\ndef test_marked():\n    pass\n",
    "test_module.py": "import pytest\n\npytest.importorskip('no_such_package')\n\n\ndef test_any():\n    pass\n",
    "test_xfails.py": "import pytest\n\n\n@pytest.mark.xfail\ndef test_xfails():\n    assert False\n",
}


def run(folder: Path, *names: str, ci: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(Path(__file__).parents[1] / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\n")
    for name in names:
        (folder / name).write_text(SUITE[name])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *names]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["test_skips.py", "test_marked.py", "test_module.py"])
def test_a_skip_fails_in_ci_and_says_why(tmp_path: Path, name: str) -> None:
    done = run(tmp_path, "test_passes.py", name, ci="true")
    assert done.returncode != 0
    assert "nothing may be skipped in CI" in done.stdout
    assert any(reason in done.stdout for reason in ("no such tool", "later", "no_such_package"))


@pytest.mark.parametrize("name", ["test_skips.py", "test_marked.py", "test_module.py"])
def test_a_skip_elsewhere_is_only_a_skip(tmp_path: Path, name: str) -> None:
    done = run(tmp_path, "test_passes.py", name, ci="")
    assert done.returncode == 0, done.stdout
    assert "1 skipped" in done.stdout


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    done = run(tmp_path, "test_passes.py", "test_xfails.py", ci="true")
    assert done.returncode == 0, done.stdout
