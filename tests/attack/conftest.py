"""What the attacks share: a package index of the attacker's and the operator's choice, on this
machine only.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers.packages import PackageIndex


@pytest.fixture
def package_index() -> Iterator[PackageIndex]:
    made = PackageIndex()
    yield made
    made.close()
