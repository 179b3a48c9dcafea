"""What every test shares.

A test that is marked `docker` or `jenkins` skips where there is no engine, no Maven; in CI a test
that skips has failed, because CI has everything the tests need.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NO_SKIPS = os.environ.get("CI") == "true"


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, missing in (("docker", _no_engine), ("jenkins", _no_maven)):
        if item.get_closest_marker(marker) and missing():
            pytest.skip(missing())


@cache
def _no_engine() -> str:
    # In a process of its own: a client that could not connect leaves its sockets to the garbage
    # collector.
    check = "from mlops_lib.engine.docker import DockerEngine; DockerEngine().check()"
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT, check=False
    )
    return "no container engine answers" if done.returncode else ""


@cache
def _no_maven() -> str:
    missing = [tool for tool in ("mvn", "java") if shutil.which(tool) is None]
    return f"needs {' and '.join(missing)}" if missing else ""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    # An expected failure (xfail) is reported as skipped too, but it did run.
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped in CI, but {report.nodeid} was. {reason}"
