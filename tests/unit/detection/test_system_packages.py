"""`detection.system_packages`: programs that a project starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_lib.detection import system_packages
from mlops_lib.detection.project import look


def test_apt_txt_is_read_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "apt.txt").write_text("libgl1\n# a comment\nffmpeg  # video\n$(id)\n-o evil\n\n")
    assert system_packages.declared(str(tmp_path)) == [("libgl1", 1), ("ffmpeg", 3)]
    assert system_packages.declared(str(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("command", "packages"),
    [
        ("wget -q http://h.example/x.zip && unzip x.zip", {"wget", "unzip"}),
        ("sudo time FOO=1 /usr/bin/ffmpeg -i a b", {"ffmpeg"}),
        ("if true; then convert a b; fi", {"imagemagick"}),
        ("apt-get -y install libgl1 libsm6", {"libgl1", "libsm6"}),
        ("echo wget", set()),
        ("ls | grep x", set()),
    ],
)
def test_a_scripts_commands_need_packages(tmp_path: Path, command: str, packages: set[str]) -> None:
    (tmp_path / "train.py").write_text(
        f"import os\nfrom sklearn.svm import SVC\nos.system({command!r})\nSVC().fit(x, y)\n"
    )
    environment = look(str(tmp_path))["environment"]
    assert set(environment["system"]) == packages
