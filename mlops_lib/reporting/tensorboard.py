"""A run's curves as TensorBoard logs, written with the `tensorboard` package."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlops_lib import atomic
from mlops_lib.errors import UsageError
from mlops_lib.reporting.view import Fit, read_run


def tensorboard(run_dir: Path, folder: Path) -> list[Path]:
    """Write the epochs of every fit for `tensorboard --logdir FOLDER`.

    Training and validation are separate runs.

    Returns:
        The event files. The same run gives the same bytes.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    view = read_run(run_dir)
    start = view.spec.created if view.spec else 0.0
    paths = []
    for fit in view.fits:
        for part, scalars in (
            ("train", _scalars(fit, validation=False)),
            ("validation", _scalars(fit, validation=True)),
        ):
            if scalars:
                path = (
                    folder / view.name / f"fit_{fit.number}" / part / "events.out.tfevents.0.mlops"
                )
                atomic.write_bytes(path, _content(scalars, start))
                paths.append(path)
    return paths


def _scalars(fit: Fit, *, validation: bool) -> list[tuple[str, int, float]]:
    """Return name, epoch (from 0) and value of each number.

    A metric and its validation have the same name, so that they share a chart.
    """
    return [
        (f"epoch_{name.removeprefix('val_')}", epoch, value)
        for name, points in fit.series.items()
        if name.startswith("val_") == validation
        for epoch, value in points
        if value is not None
    ]


def _content(scalars: list[tuple[str, int, float]], start: float) -> bytes:
    """Return an event file.

    TensorBoard's `SummaryWriter` would name the file and its first event by the present time, and
    import TensorFlow if it is installed. Its messages and its record format are used without it.
    """
    try:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError:
        raise UsageError(
            "TensorBoard is not installed",
            where="mlops report --tensorboard",
            remedy="pip install 'mlops_lib[tensorboard]'",
        ) from None
    file = io.BytesIO()
    records = RecordWriter(file)
    for event in _events(scalars, start, event_pb2.Event):
        records.write(event.SerializeToString(deterministic=True))
    return file.getvalue()


def _events(scalars: list[tuple[str, int, float]], start: float, event: Any) -> Iterator[Any]:
    """Yield the messages of an event file, the version of the format first."""
    yield event(wall_time=start, file_version="brain.Event:2")
    for name, epoch, value in scalars:
        # A scalar of the format is a 32-bit float; what exceeds its range has to be cut.
        single = max(-3.4e38, min(3.4e38, value))
        yield event(
            wall_time=start + epoch,
            step=epoch,
            summary={"value": [{"tag": name, "simple_value": single}]},
        )
