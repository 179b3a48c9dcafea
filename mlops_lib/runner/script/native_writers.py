"""Libraries that write files from C or C++, bypassing Python's `open`.

Before a function of this table runs, a link into the pushed project at its path is replaced by a
copy, and the path is redirected as for `open` (see `path_redirection`).
"""

import contextlib
import functools
import os
from types import ModuleType
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from mlops_lib.runner.script import workdir


class Writer(NamedTuple):
    """A function that writes a file."""

    name: str
    """Its qualified name within its module."""
    place: int
    """Index of the positional argument with the path; `self` counts."""
    keyword: str
    mode: Optional[int] = None
    """Index of the positional argument `mode`, which also may be a keyword; None if it always
    writes.
    """


WRITERS: Dict[str, Tuple[Writer, ...]] = {
    "xgboost.core": (
        Writer("Booster.save_model", 1, "fname"),
        Writer("DMatrix.save_binary", 1, "fname"),
    ),
    "lightgbm.basic": (
        Writer("Booster.save_model", 1, "filename"),
        Writer("Dataset.save_binary", 1, "filename"),
    ),
    "catboost.core": (Writer("CatBoost.save_model", 1, "fname"), Writer("Pool.save", 1, "fname")),
    "pyarrow.parquet.core": (
        Writer("write_table", 1, "where"),
        Writer("ParquetWriter.__init__", 1, "where"),
    ),
    "pyarrow.feather": (Writer("write_feather", 1, "dest"),),
    "torch.serialization": (Writer("save", 1, "f"),),
    "h5py._hl.files": (Writer("File.__init__", 1, "name", mode=2),),
    "cv2": (Writer("imwrite", 0, "filename"),),
    "soundfile": (Writer("write", 0, "file"),),
    "sqlite3": (Writer("connect", 0, "database"),),
    "sqlite3.dbapi2": (Writer("connect", 0, "database"),),
    "safetensors.numpy": (Writer("save_file", 1, "filename"),),
    "safetensors.torch": (Writer("save_file", 1, "filename"),),
    "tensorflow.python.lib.io.file_io": (Writer("FileIO.__init__", 1, "name", mode=2),),
}


def hooks(find: Callable[[Any], Any]) -> Dict[str, Callable[[ModuleType], None]]:
    """Return the import hooks that wrap these functions.

    Args:
        find: returns the real location of a path that is about to be written.
    """
    return {
        module: functools.partial(_wrap_all, writers=writers, find=find)
        for module, writers in WRITERS.items()
    }


def _wrap_all(
    module: ModuleType, *, writers: Tuple[Writer, ...], find: Callable[[Any], Any]
) -> None:
    # A release of the library may lack some of these functions.
    for writer in writers:
        owner: Any = module
        *way, name = writer.name.split(".")
        for part in way:
            owner = getattr(owner, part, None)
        function = getattr(owner, name, None)
        if function is not None:
            setattr(owner, name, _wrapped(function, writer, find))


def _wrapped(function: Any, writer: Writer, find: Callable[[Any], Any]) -> Any:
    @functools.wraps(function)
    def write(*args: Any, **kwargs: Any) -> Any:
        path = args[writer.place] if writer.place < len(args) else kwargs.get(writer.keyword)
        if isinstance(path, (str, os.PathLike)) and _writes(writer, args, kwargs):
            place = find(path)
            # The function itself raises if something is wrong with the path.
            with contextlib.suppress(OSError):
                workdir.COPY_ON_WRITE.detach(place)
            if place is not path and writer.place < len(args):
                arguments: List[Any] = list(args)
                arguments[writer.place] = place
                args = tuple(arguments)
            elif place is not path:
                kwargs[writer.keyword] = place
        return function(*args, **kwargs)

    return write


def _writes(writer: Writer, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> bool:
    if writer.mode is None:
        return True
    mode = args[writer.mode] if writer.mode < len(args) else kwargs.get("mode", "r")
    return not isinstance(mode, str) or any(letter in mode for letter in "wax+")
