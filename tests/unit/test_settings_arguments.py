"""Settings as typed keyword arguments: the same as the table of settings."""

from __future__ import annotations

import inspect

import pytest

import mlops_lib
from mlops_lib import config
from mlops_lib.pipeline import job, publishing, replay
from mlops_lib.settings_arguments import SettingsArguments

TYPES = {
    "text": "str",
    "number": "float",
    "integer": "int",
    "flag": "bool",
    "list": "TextList",
    "bytes": "str | int",
    "table": "Mapping[str, Any]",
}


def type_of(setting: config.Setting) -> str:
    if setting.choices:
        return "Literal[" + ", ".join(repr(choice) for choice in setting.choices) + "]"
    return TYPES[setting.kind]


def test_arguments_are_the_settings() -> None:
    declared = {
        key: annotation.__forward_arg__
        for key, annotation in SettingsArguments.__annotations__.items()
    }
    assert declared == {setting.key: type_of(setting) for setting in config.SETTINGS}
    assert SettingsArguments.__required_keys__ == frozenset()


@pytest.mark.parametrize(
    "function",
    [
        *(getattr(mlops_lib, name) for name in mlops_lib.__all__ if name != "__version__"),
        job.prepare,
        replay.replay,
        publishing.notify_of_build,
        publishing.try_channels,
        publishing.flush,
    ],
)
def test_public_functions_declare_them(function: object) -> None:
    assert callable(function)
    settings = inspect.signature(function).parameters.get("settings")
    assert settings is None or str(settings.annotation).startswith("Unpack[")
