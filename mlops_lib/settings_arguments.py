"""Types of all settings as keyword arguments, for editors and type checkers.

Public functions declare `**settings: Unpack[SettingsArguments]`, or a subclass. `config.SETTINGS`
stays the authority at run time; a test checks that both list the same keys, types and choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

TextList = str | list[str] | tuple[str, ...]
"""A list of texts; a string is split as a shell does."""


class SettingsArguments(TypedDict, total=False):
    """Keyword arguments that `config.resolve` understands; `mlops config` explains them."""

    entry: str
    name: str
    args: TextList
    input: TextList
    target: float
    metric: str
    mode: Literal["auto", "max", "min"]
    strict: bool
    beats: Literal["", "champion"]
    metric_pattern: str
    metrics_file: str
    trials: int
    minutes: float
    workers: int
    on: str
    search: Mapping[str, Any]
    past_searches: bool
    retrain: int
    steps: bool
    seed: int
    seeds: int
    restarts: int
    idle_minutes: float
    backend: Literal["auto", "docker", "process"]
    run_dir: str
    home: str
    mount: TextList
    memory: str | int
    cpus: float
    pids: int
    network: str
    trust: str
    gpus: Literal["auto", "none", "all"]
    base_image: str
    torch_index: str
    notify: Literal["change", "always", "never"]
    mail_to: TextList
    mail_author: TextList
    slack_channel: str
    slack_url: str
    mail_from: str
    link_url: str
