"""Results of large projects that are remembered between runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops_lib.detection import result_cache
from mlops_lib.detection.project import LARGE, look
from mlops_lib.errors import DetectionError

RIDGE = "from sklearn.linear_model import Ridge\n\nRidge().fit([[1.0], [2.0]], [1.0, 2.0])\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "project"
    folder.mkdir()
    for number in range(LARGE):
        (folder / f"part{number}.py").write_text("WIDTH = 8\n")
    (folder / "train.py").write_text(RIDGE)
    return folder


def remembered() -> list[Path]:
    return sorted(result_cache.folder().glob("*.json"))


def tamper(path: Path) -> None:
    """Make a remembered result one that only this file can have given."""
    path.write_text(json.dumps({**json.loads(path.read_text()), "framework": "remembered"}))


def test_the_same_content_is_looked_at_once(project: Path) -> None:
    first = look(project)
    assert look(project) == first
    (only,) = remembered()
    tamper(only)
    assert look(project)["framework"] == "remembered"


@pytest.mark.parametrize("name", ["part7.py", "requirements.txt", ".github/workflows/run.yml"])
def test_a_changed_or_new_file_is_seen(project: Path, name: str) -> None:
    look(project)
    tamper(remembered()[0])
    (project / name).parent.mkdir(parents=True, exist_ok=True)
    (project / name).write_text("# 1\n")
    assert look(project)["framework"] == "sklearn"


def test_another_question_has_its_own_answer(project: Path) -> None:
    look(project)
    assert look(project, entry="part3.py")["framework"] == "none"
    assert len(remembered()) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"entry": "x"}', b"\xff" * 9])
def test_an_entry_that_cannot_be_read_is_made_anew(project: Path, content: bytes) -> None:
    first = look(project)
    remembered()[0].write_bytes(content)
    assert look(project) == first
    assert json.loads(remembered()[0].read_text()) == first


def test_a_folder_that_others_can_write_is_not_believed(project: Path) -> None:
    look(project)
    tamper(remembered()[0])
    result_cache.folder().chmod(0o777)
    assert look(project)["framework"] == "sklearn"


def test_a_link_is_not_followed(project: Path, tmp_path: Path) -> None:
    look(project)
    (only,) = remembered()
    tamper(only)
    only.rename(tmp_path / "elsewhere.json")
    only.symlink_to(tmp_path / "elsewhere.json")
    assert look(project)["framework"] == "sklearn"


def test_an_error_is_remembered_as_it_was(project: Path) -> None:
    (project / "also.py").write_text(RIDGE)
    (project / "train.py").rename(project / "other.py")
    with pytest.raises(DetectionError) as first:
        look(project)
    assert len(remembered()) == 1
    with pytest.raises(DetectionError) as again:
        look(project)
    assert str(again.value) == str(first.value)


def test_a_small_project_is_not_remembered(project: Path) -> None:
    for number in range(5):
        (project / f"part{number}.py").unlink()
    look(project)
    assert not remembered()


def test_the_oldest_results_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number in range(result_cache.ENTRIES_LIMIT + 3):
        result_cache.remember(f"{number:03}", {"entry": "", "framework": "", "evidence": []})
    assert len(remembered()) == result_cache.ENTRIES_LIMIT
