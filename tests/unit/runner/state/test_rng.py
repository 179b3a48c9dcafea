"""`runner.state.rng`: the random state of a process, captured and restored."""

from __future__ import annotations

import pickle
import random
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mlops_lib.runner.state import rng


@pytest.fixture(autouse=True)
def _undisturbed() -> Iterator[None]:
    state = random.getstate(), np.random.get_state()
    yield
    random.setstate(state[0])
    np.random.set_state(state[1])


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The script's globals."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


def draws(script: types.ModuleType) -> list[float]:
    own = vars(script)
    return [
        random.random(),
        float(np.random.random()),
        *(float(own[name].random()) for name in ("generator", "legacy", "python")),
    ]


def test_every_generator_of_the_script_continues_where_it_was(script: types.ModuleType) -> None:
    vars(script).update(
        generator=np.random.default_rng(1),
        legacy=np.random.RandomState(2),
        python=random.Random(3),
        other="no generator",
    )
    draws(script)
    state = pickle.loads(pickle.dumps(rng.capture_python()))
    expected = draws(script)
    assert draws(script) != expected
    rng.restore_python(state)
    assert draws(script) == expected


def test_a_generator_that_is_gone_or_new_is_left_alone(script: types.ModuleType) -> None:
    vars(script)["gone"] = random.Random(1)
    state = rng.capture_python()
    del vars(script)["gone"]
    vars(script)["new"] = random.Random(5)
    rng.restore_python(state)
    assert vars(script)["new"].random() == random.Random(5).random()


@pytest.mark.parametrize(
    "draw",
    [random.random, np.random.random, lambda: sys.modules["__main__"].generator.random()],
    ids=["python", "numpy", "script"],
)
def test_a_draw_between_two_states_is_noticed(script: types.ModuleType, draw: Any) -> None:
    vars(script)["generator"] = np.random.default_rng(1)
    first = rng.capture_python()
    assert rng.is_same_python(first, rng.capture_python())
    draw()
    assert not rng.is_same_python(first, rng.capture_python())


def test_seeds_of_any_size_are_taken() -> None:
    rng.seed_process(7)
    rng.seed_numpy(np, 2**32 + 7)
    first = random.random(), np.random.random()
    rng.seed_process(7)
    rng.seed_numpy(np, 7)
    assert (random.random(), np.random.random()) == first
