"""A run's curves as TensorBoard logs, written without TensorBoard.

The format is TensorFlow's TFRecord (length, its masked CRC-32C, data, its masked CRC-32C) around
`Event` messages. Of the protocol buffer's fields only wall time (1), step (2), file version (3) and
scalar summaries (5) are written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from mlops_lib import atomic
from mlops_lib.reporting.view import Fit, read_run


def tensorboard(run_dir: Path, folder: Path) -> list[Path]:
    """Write the epochs of every fit for `tensorboard --logdir FOLDER`.

    Training and validation are separate runs.

    Returns:
        The event files. The same run gives the same bytes.
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
                atomic.write_bytes(path, b"".join(_records(scalars, start)))
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


def _records(scalars: list[tuple[str, int, float]], start: float) -> Iterator[bytes]:
    yield _record(_double(1, start) + _text(3, "brain.Event:2"))
    for name, epoch, value in scalars:
        summary = _bytes(1, _text(1, name) + _float(2, value))
        yield _record(
            _double(1, start + epoch) + _varint(2 << 3) + _varint(epoch) + _bytes(5, summary)
        )


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", _masked(length)) + data + struct.pack("<I", _masked(data))


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", max(-3.4e38, min(3.4e38, value)))


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


@cache
def _table() -> list[int]:
    """Return the table of CRC-32C (Castagnoli), reflected polynomial 0x82F63B78."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


def _masked(data: bytes) -> int:
    table = _table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
