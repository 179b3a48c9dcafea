"""Settings: order, origins, and what a project may not set."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_lib import config
from mlops_lib.errors import UsageError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "operator.toml").write_text('memory = "2g"\n')
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def resolve(
    project: Path, given: dict[str, object] | None = None, **environ: str
) -> config.Settings:
    return config.resolve(
        project, given, environ={"MLOPS_CONFIG": str(project.parent / "operator.toml"), **environ}
    )


def test_order_and_origin(project: Path) -> None:
    (project / "mlops.toml").write_text("target = 0.7\ntrials = 3\nseed = 9\n")
    settings = resolve(project, {"target": "0.9"}, MLOPS_TRIALS="5")
    assert (settings["target"], settings["trials"], settings["seed"]) == (0.9, 5, 9)
    assert settings["memory"] == 2 << 30
    assert settings.values["trials"].origin == "MLOPS_TRIALS"
    assert settings.values["minutes"].origin == "default"


def test_pyproject_table(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.mlops]\ntarget = 0.6\n")
    assert resolve(project)["target"] == 0.6


@pytest.mark.parametrize(
    ("line", "message", "remedy"),
    [
        (
            "listen = '10.0.0.5:7070'",
            "unknown setting 'listen'",
            "are a Ray cluster's now: give `on`",
        ),
        ("targt = 0.7", "unknown setting 'targt'", "target"),
        ('target = "high"', "target is 'high'", "number"),
        ('mode = "up"', "mode is 'up'", "max"),
        ("trials = -1", "trials is -1", "whole number"),
        ('network = "host"', "may not be set by the project", "MLOPS_NETWORK"),
        ('mount = ["/:/host"]', "may not be set by the project", "MLOPS_MOUNT"),
        ('base_image = "evil"', "may not be set by the project", "MLOPS_BASE_IMAGE"),
        ("target = ", "not TOML", "Fix"),
    ],
)
def test_a_wrong_line_is_named(project: Path, line: str, message: str, remedy: str) -> None:
    (project / "mlops.toml").write_text("# first line\n" + line + "\n")
    with pytest.raises(UsageError, match=message) as caught:
        resolve(project)
    assert remedy in caught.value.remedy
    assert "mlops.toml" in caught.value.where


def test_parameters_from_one_variable() -> None:
    text = '{"target": 0.9, "args": ["a b", "$HOME", "`x`", "ü\\n"]}'
    assert config.parameters({"MLOPS_PARAMS": text})["args"] == ["a b", "$HOME", "`x`", "ü\n"]
    with pytest.raises(UsageError):
        config.parameters({"MLOPS_PARAMS": "[1]"})
