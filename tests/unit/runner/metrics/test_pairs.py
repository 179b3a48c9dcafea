"""`runner.metrics.pairs`: judged examples beside the training examples that they copy."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from mlops_lib.runner.metrics import pairs


def copies(kind: str, x: Any, index: list[int], match: list[int]) -> SimpleNamespace:
    return SimpleNamespace(
        kind=kind,
        index=np.array(index),
        match=np.array(match),
        training=SimpleNamespace(x=lambda: x),
    )


def test_a_row_is_shown_by_its_columns() -> None:
    judged = pd.DataFrame({"age": [30, 41], "city": ["Rome", "Oslo"]})
    trained = pd.DataFrame({"age": [41], "city": ["Oslo"]})
    (pair,) = pairs.pair_records([copies("same", trained, [1], [0])], judged, limit=5)
    assert (
        pair["judged_example"] == pair["trained_example"] == {"row": {"age": "41", "city": "Oslo"}}
    )
    assert (pair["kind"], pair["judged"], pair["trained"]) == ("same", 1, 0)


def test_every_kind_gets_its_share_of_the_limit() -> None:
    x = np.arange(20.0).reshape(10, 2)
    many = list(range(8))
    records = pairs.pair_records(
        [copies("same", x, many, many), copies("near", x, many, many)], x, limit=4
    )
    assert [record["kind"] for record in records] == ["same", "same", "near", "near"]


def test_a_picture_is_stored_at_a_bounded_size() -> None:
    x = np.zeros((2, 200, 100, 3))
    x[0, :100] = 1.0
    (pair,) = pairs.pair_records([copies("same", x, [0], [1])], x, limit=1)
    picture = pair["judged_example"]
    assert max(picture["height"], picture["width"]) <= pairs.SIDE
    pixels = base64.b64decode(picture["pixels"])
    assert len(pixels) == picture["height"] * picture["width"] * picture["channels"]
    assert (pixels[0], pixels[-1]) == (255, 0)


def test_a_text_is_shortened_and_a_training_input_that_is_gone_is_none() -> None:
    (pair,) = pairs.pair_records([copies("same", None, [1], [0])], ["a", "b" * 500], limit=1)
    assert pair["judged_example"] == {"text": "b" * pairs.MAX_CHARACTERS}
    assert pair["trained_example"] is None
