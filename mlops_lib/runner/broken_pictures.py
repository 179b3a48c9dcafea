"""Which picture a failure is about: decoders see bytes only, and say nothing of the file they came
from.
"""

import os
import re
from typing import Any, Dict, Iterator, List, Optional

COMPLAINTS = re.compile(
    r"cannot identify image file|image file is truncated|Unknown image file format|Invalid (?:PNG|JPEG|GIF|BMP)"
    r"|Trying to decode \w+ format|broken data stream|jpeg::Uncompress failed|Not a JPEG|decode_(?:image|jpeg|png)"
)
"""What Pillow, TensorFlow and others say of a picture that they cannot read."""
BEGINNINGS = {
    ".jpg": (b"\xff\xd8\xff",),
    ".jpeg": (b"\xff\xd8\xff",),
    ".png": (b"\x89PNG\r\n\x1a\n",),
    ".gif": (b"GIF87a", b"GIF89a"),
    ".bmp": (b"BM",),
    ".webp": (b"RIFF",),
    ".tif": (b"II*\x00", b"MM\x00*"),
    ".tiff": (b"II*\x00", b"MM\x00*"),
}
ENDS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND"}
MOST_READ = 100_000
MOST_NAMED = 5
_ANY = tuple(begin for begins in BEGINNINGS.values() for begin in begins)


def explain(failure: Optional[Dict[str, Any]], work: str) -> None:
    """Add to a failure over a picture the files that are none.

    Args:
        failure: the runner's account of the exception; its message is completed.
        work: the working directory.
    """
    if failure is None or not COMPLAINTS.search(str(failure.get("message", ""))):
        return
    found: List[str] = []
    for number, path in enumerate(_pictures(work)):
        said = _trouble(os.path.join(work, path)) if number < MOST_READ else ""
        found += [f"{path} ({said})"] if said else []
        if number >= MOST_READ or len(found) > MOST_NAMED:
            break
    if found:
        more = " and more" if len(found) > MOST_NAMED else ""
        failure["message"] = f"{failure['message']}: {', '.join(found[:MOST_NAMED])}{more}"


def _pictures(work: str) -> Iterator[str]:
    for folder, folders, names in os.walk(work, followlinks=True):
        folders.sort()
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in BEGINNINGS:
                yield os.path.relpath(os.path.join(folder, name), work)


def _trouble(path: str) -> str:
    """Return what is wrong with a picture by its first and last bytes, "" if nothing is."""
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
    if not begin.startswith(_ANY):
        return f"it begins with {begin[:8]!r}"
    if begin.startswith(BEGINNINGS[suffix]) and suffix in ENDS and ENDS[suffix] not in end:
        return "it is cut off"
    return ""
