"""`runner.broken_pictures`: the files behind a decoder's error that names none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlops_lib.runner import broken_pictures

JPEG = b"\xff\xd8\xff\xe0" + bytes(60) + b"\xff\xd9"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(60) + b"IEND\xaeB`\x82"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "good.jpg").write_bytes(JPEG)
    (tmp_path / "cats" / "good.png").write_bytes(PNG)
    (tmp_path / "cats" / "png_called.jpg").write_bytes(PNG)  # decoders look at the content
    return tmp_path


def explained(work: Path, message: str = "cannot identify image file") -> str:
    failure: dict[str, Any] = {"message": message}
    broken_pictures.explain(failure, str(work))
    return str(failure["message"])


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("empty.jpg", b"", "it is empty"),
        ("cut.jpg", JPEG[:40], "it is cut off"),
        ("cut.png", PNG[:40], "it is cut off"),
        ("page.JPEG", b"<html>not found</html>", "it begins with b'<html>no'"),
    ],
)
def test_the_damaged_file_is_named_with_its_fault(
    pictures: Path, name: str, content: bytes, fault: str
) -> None:
    (pictures / "cats" / name).write_bytes(content)
    assert explained(pictures) == f"cannot identify image file: cats/{name} ({fault})"


def test_of_many_the_first_five_are_named(pictures: Path) -> None:
    for number in range(8):
        (pictures / f"{number}.png").touch()
    message = explained(pictures)
    assert message.count("it is empty") == broken_pictures.MAX_FILES_NAMED
    assert message.endswith(" and more")


def test_other_errors_and_good_files_change_no_message(pictures: Path) -> None:
    assert explained(pictures) == "cannot identify image file"
    (pictures / "empty.png").touch()
    assert explained(pictures, "shapes do not match") == "shapes do not match"
    broken_pictures.explain(None, str(pictures))
