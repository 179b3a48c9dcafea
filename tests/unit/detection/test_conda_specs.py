"""`detection.conda_specs`: versions as Poetry, Pipenv, Pixi and conda write them."""

from __future__ import annotations

from typing import Any

import pytest
from packaging.requirements import Requirement

from mlops_lib.detection.conda_specs import requirement_of, specifier


@pytest.mark.parametrize(
    ("text", "versions"),
    [
        ("^1.2.3", ">=1.2.3,<2"),
        ("^0.0.3", ">=0.0.3,<0.0.4"),
        ("^0", ">=0,<1"),
        ("~1", ">=1,<2"),
        ("~1.2.3", ">=1.2.3,<1.3"),
        (">=1.0 <2.0", ">=1.0,<2.0"),
        (">= 1.0, != 1.5", ">=1.0,!=1.5"),
        (">=1.2.*", ">=1.2"),
        ("*", ""),
        ("", ""),
        ("1.0 || 2.0", ""),
        ("==2.1.*", "==2.1.*"),
    ],
)
def test_a_specifier_is_translated(text: str, versions: str) -> None:
    assert specifier(text, exact=True) == versions


@pytest.mark.parametrize(
    ("text", "poetry", "conda"),
    [
        ("1.26", "==1.26", "==1.26.*"),
        ("1.26.4", "==1.26.4", "==1.26.4"),
        ("=1.26", "==1.26", "==1.26.*"),
    ],
)
def test_a_bare_version_is_a_release_for_poetry_and_a_series_for_conda(
    text: str, poetry: str, conda: str
) -> None:
    assert specifier(text, exact=True) == poetry
    assert specifier(text, exact=False) == conda


@pytest.mark.parametrize("text", ["1.26.4=py311h64a7726_0", "1.26.4 py311_0", "=1.26.4=py311_0"])
def test_condas_builds_are_left_out(text: str) -> None:
    assert specifier(text, exact=False) == "==1.26.4"


@pytest.mark.parametrize(
    ("value", "requirement"),
    [
        ({"version": "^2", "extras": ["excel", 3]}, "pandas[excel]>=2,<3"),
        (
            {"version": "*", "markers": "sys_platform == 'win32'"},
            "pandas; (sys_platform == 'win32')",
        ),
        ({"version": "*", "sys_platform": "== 'linux'"}, "pandas; sys_platform == 'linux'"),
        (
            {"version": "1.0", "python": "^3.9"},
            "pandas==1.0; python_version >= '3.9' and python_version < '4'",
        ),
        ({"git": "https://git.example/pandas"}, "pandas"),
        (7, "pandas"),
    ],
)
def test_an_entry_is_a_requirement_that_the_installer_reads(value: Any, requirement: str) -> None:
    assert requirement_of("pandas", value, exact=True) == requirement
    assert Requirement(requirement).name == "pandas"
