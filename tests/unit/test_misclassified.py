"""The worst mistakes: collected by the runner, checked and drawn by the host."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from mlops_lib import reporting
from mlops_lib.reporting.misclassified import mistakes
from mlops_lib.runner.metrics.misclassified import explain

SIDE = 12


class Stripes:
    """A model that classifies pictures by the brightness of their left half.

    It is wrong for pictures whose `truth` differs.
    """

    def __init__(self, *, flat: bool = False) -> None:
        self.flat = flat

    def predict_proba(self, x: Any) -> Any:
        left = (
            numpy.asarray(x, dtype=float)
            .reshape(len(x), SIDE, SIDE, -1)[:, :, : SIDE // 2]
            .mean(axis=(1, 2, 3))
        )
        return numpy.stack([1 - left, left], axis=1)

    def predict(self, x: Any) -> Any:
        return (self.predict_proba(x)[:, 1] > 0.5).astype(int)


def pictures(count: int = 40, channels: int = 1) -> tuple[Any, Any]:
    """Smooth pictures, bright or dark on the left; every tenth has a wrong label."""
    truth = numpy.arange(count) % 2
    slope = numpy.linspace(0, 0.2, SIDE)
    x = (
        numpy.where(truth, 0.7, 0.1)[:, None, None]
        + slope[None, None, :]
        + numpy.zeros((count, SIDE, SIDE))
    )
    x = x + numpy.linspace(0, 0.05, count)[:, None, None]
    return numpy.repeat(x[..., None], channels, axis=-1), numpy.where(
        numpy.arange(count) % 10 == 0, 1 - truth, truth
    )


def found(model: Any, asked: tuple[Any, Any], folder: Path, **record: Any) -> dict[str, Any]:
    claim = {"id": 1, "confusion": None, "labels": None, **record}
    (folder / "inside").mkdir(exist_ok=True)
    explain(model, asked, claim, str(folder / "inside"))
    return claim


@pytest.mark.parametrize("shape", ["grey", "colour", "flat", "batches"])
def test_the_surest_mistakes_are_pictures(shape: str, tmp_path: Path) -> None:
    x, y = pictures(channels=3 if shape == "colour" else 1)
    given: Any = x
    if shape == "flat":
        given = x.reshape(len(x), -1)
    asked = ([(x[:20], y[:20]), (x[20:], y[20:])], None) if shape == "batches" else (given, y)
    record = found(Stripes(), asked, tmp_path)
    assert record["confusion"] == [[16, 0], [4, 20]]
    assert record["labels"] == ["0", "1"]
    shown = mistakes(tmp_path)
    assert [(one.true, one.predicted, one.index) for one in shown] == [
        ("1", "0", n) for n in (0, 10, 20, 30)
    ]
    picture = Image.open(io.BytesIO(shown[0].png))
    assert (picture.size, picture.mode) == ((SIDE, SIDE), "RGB" if shape == "colour" else "L")
    expected = (255 * x[0]).round()
    assert (
        numpy.abs(numpy.asarray(picture, dtype=float).reshape(expected.shape) - expected).max() <= 1
    )


def test_tables_have_a_confusion_matrix_and_no_pictures(tmp_path: Path) -> None:
    random = numpy.random.default_rng(0)
    x = random.random((50, SIDE * SIDE))
    record = found(Stripes(), (x, Stripes().predict(x)), tmp_path)
    assert record["confusion"] is None or sum(map(sum, record["confusion"])) == 50
    assert mistakes(tmp_path) == ()


@pytest.mark.parametrize(
    "asked", [({"a": 1}, [0, 1]), ([numpy.ones(3), numpy.ones(3)], [0, 1, 2]), ([1, 2], None)]
)
def test_unsupported_inputs_are_skipped(asked: Any, tmp_path: Path) -> None:
    assert found(Stripes(), asked, tmp_path)["confusion"] is None


def claim(**changes: Any) -> dict[str, Any]:
    pixels = base64.b64encode(bytes(range(64))).decode()
    good = {
        "index": 1,
        "true": "a",
        "predicted": "b",
        "confidence": 0.9,
        "height": 8,
        "width": 8,
        "channels": 1,
    }
    return {**good, "pixels": pixels, **changes}


@pytest.mark.parametrize(
    "spoiled",
    [
        {"height": 9},
        {"height": 10**9, "width": 10**9},
        {"channels": 2},
        {"pixels": "!!"},
        {"pixels": None},
        {"width": -8},
        {"height": True},
    ],
)
def test_malformed_pixels_are_skipped(spoiled: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    content = {"mistakes": [claim(**spoiled), claim(), "x"] + [claim()] * 50}
    (tmp_path / "inside" / "mistakes.json").write_text(json.dumps(content))
    assert len(mistakes(tmp_path)) == 10


def test_pictures_are_in_the_report_and_beside_the_folders(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    evaluation = {
        "metric": "accuracy",
        "value": 0.5,
        "source": "keras.evaluate",
        "confusion": [[1, 1], [1, 1]],
    }
    (tmp_path / "inside" / "metrics.json").write_text(json.dumps({"evaluations": [evaluation]}))
    (tmp_path / "inside" / "mistakes.json").write_text(
        json.dumps({"mistakes": [claim(true="<b>x", confidence="no")]})
    )
    page = reporting.report(tmp_path).read_text()
    assert 'src="data:image/png;base64,' in page
    assert "&lt;b&gt;x" in page
    folder = tmp_path / "folder"
    index = reporting.report(tmp_path, folder=folder).read_text()
    assert 'src="mistakes/01.png"' in index
    assert "data:" not in index
    assert (folder / "mistakes" / "01.png").read_bytes().startswith(b"\x89PNG")
