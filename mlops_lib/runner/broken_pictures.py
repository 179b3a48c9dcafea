"""Names of the image files behind a failed decoding.

Decoders see bytes only, and their errors do not name the file.
"""

import os
import re
from typing import Any, Dict, Iterator, List, Optional

DECODING_ERRORS = re.compile(
    r"cannot identify image file|image file is truncated|Unknown image file format"
    r"|Invalid (?:PNG|JPEG|GIF|BMP)|Trying to decode \w+ format|broken data stream"
    r"|jpeg::Uncompress failed|Not a JPEG|decode_(?:image|jpeg|png)"
)
"""Errors of Pillow, TensorFlow and others about an image that cannot be decoded."""
SIGNATURES = {
    ".jpg": (b"\xff\xd8\xff",),
    ".jpeg": (b"\xff\xd8\xff",),
    ".png": (b"\x89PNG\r\n\x1a\n",),
    ".gif": (b"GIF87a", b"GIF89a"),
    ".bmp": (b"BM",),
    ".webp": (b"RIFF",),
    ".tif": (b"II*\x00", b"MM\x00*"),
    ".tiff": (b"II*\x00", b"MM\x00*"),
}
TRAILERS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND"}
MAX_FILES_READ = 100_000
MAX_FILES_NAMED = 5
_ANY_SIGNATURE = tuple(begin for begins in SIGNATURES.values() for begin in begins)


def explain(failure: Optional[Dict[str, Any]], work: str) -> None:
    """Add the names of damaged image files to a failed decoding's message.

    Args:
        failure: the runner's record of the exception; its message is extended in place.
        work: the working directory.
    """
    if failure is None or not DECODING_ERRORS.search(str(failure.get("message", ""))):
        return
    faults: List[str] = []
    for number, path in enumerate(_pictures(work)):
        fault = _fault(os.path.join(work, path)) if number < MAX_FILES_READ else ""
        faults += [f"{path} ({fault})"] if fault else []
        if number >= MAX_FILES_READ or len(faults) > MAX_FILES_NAMED:
            break
    if faults:
        more = " and more" if len(faults) > MAX_FILES_NAMED else ""
        failure["message"] = f"{failure['message']}: {', '.join(faults[:MAX_FILES_NAMED])}{more}"


def _pictures(work: str) -> Iterator[str]:
    for folder, folders, names in os.walk(work, followlinks=True):
        folders.sort()
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in SIGNATURES:
                yield os.path.relpath(os.path.join(folder, name), work)


def _fault(path: str) -> str:
    """Return the fault of an image file by its first and last bytes; "" if none."""
    suffix = os.path.splitext(path)[1].lower()
    try:
        with open(path, "rb") as stream:
            begin = stream.read(16)
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 4096))
            end = stream.read()
    except OSError as error:
        return str(error.strerror)
    if not begin:
        return "it is empty"
    if not begin.startswith(_ANY_SIGNATURE):
        return f"it begins with {begin[:8]!r}"
    if begin.startswith(SIGNATURES[suffix]) and suffix in TRAILERS and TRAILERS[suffix] not in end:
        return "it is cut off"
    return ""
