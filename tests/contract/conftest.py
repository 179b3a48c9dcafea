"""A package index of our own on this machine, for builds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers.packages import PackageIndex


@pytest.fixture
def package_index() -> Iterator[PackageIndex]:
    made = PackageIndex()
    yield made
    made.close()
