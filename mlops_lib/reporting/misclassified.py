"""The worst mistakes of an image model, as pictures.

The pixels are claims of the runner; the PNG files are made here, so that no decoder sees untrusted
data.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_lib import atomic
from mlops_lib.reporting.untrusted_files import count, number, text
from mlops_lib.runner import protocol

SHOWN = 12
SIDE = 64
"""Largest side of a picture, in pixels."""
LIMIT = 1024 * 1024
"""Most bytes read of the file."""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One example that was assigned to a wrong class."""

    true: str
    predicted: str
    index: int
    confidence: float | None
    """The model's confidence, from 0 to 1."""
    png: bytes

    @property
    def address(self) -> str:
        """The picture as a `data:` address, for the single-file page."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


def mistakes(run_dir: Path) -> tuple[Mistake, ...]:
    """Return the valid entries of `inside/mistakes.json`, the most confident first."""
    try:
        claim = atomic.read_json(
            run_dir / protocol.INSIDE / protocol.MISTAKES,
            inside=run_dir / protocol.INSIDE,
            limit=LIMIT,
        )
    except (OSError, ValueError):
        return ()
    entries = claim.get("mistakes") if isinstance(claim, dict) else None
    parsed = [_mistake(mistake) for mistake in entries[:SHOWN]] if isinstance(entries, list) else []
    return tuple(mistake for mistake in parsed if mistake is not None)


def _mistake(claim: Any) -> Mistake | None:
    if not isinstance(claim, dict):
        return None
    png = picture(claim)
    if png is None:
        return None
    confidence = number(claim.get("confidence"))
    return Mistake(
        true=text(claim.get("true"), limit=40),
        predicted=text(claim.get("predicted"), limit=40),
        index=count(claim.get("index")) or 0,
        confidence=confidence if confidence is not None and 0 <= confidence <= 1 else None,
        png=png,
    )


def picture(claim: Mapping[str, Any]) -> bytes | None:
    """Return a claimed picture as a PNG file, None if it has no valid size or content."""
    height = count(claim.get("height"), limit=SIDE)
    width = count(claim.get("width"), limit=SIDE)
    channels = claim.get("channels")
    content = _pixels(claim.get("pixels"))
    if (
        not height
        or not width
        or channels not in (1, 3)
        or len(content) != height * width * channels
    ):
        return None
    return _png(content, height=height, width=width, channels=channels)


def _pixels(claim: Any) -> bytes:
    """Return the bytes of a claimed picture; b"" if it is not valid Base64."""
    try:
        return base64.b64decode(claim, validate=True) if isinstance(claim, str) else b""
    except (binascii.Error, ValueError):
        return b""


def _png(pixels: bytes, *, height: int, width: int, channels: int) -> bytes:
    """Return a PNG file (ISO/IEC 15948) of grey (1 channel) or RGB (3) pixels.

    Args:
        pixels: row after row from the top.
        height: rows.
        width: pixels of a row.
        channels: 1 or 3 bytes per pixel.
    """
    row = width * channels
    lines = b"".join(b"\0" + pixels[start : start + row] for start in range(0, height * row, row))
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )
