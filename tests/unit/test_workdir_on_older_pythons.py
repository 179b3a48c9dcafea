"""Stand-ins for functions of files on Pythons whose `pathlib` holds them in a class."""

from __future__ import annotations

import sys

import pytest

from mlops_lib.runner.script import workdir


@pytest.mark.parametrize("version", [(3, 8), (3, 10)])
def test_a_stand_in_is_not_bound_to_an_instance(
    version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", version)

    def double(value: int) -> int:
        return 2 * value

    class Accessor:
        call = workdir.unbound(double)

    assert Accessor().call(4) == 8
    assert Accessor.call.__name__ == "double"
