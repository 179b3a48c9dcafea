"""Process state around a loop: PyTorch's modes, the working directory, locals."""

import contextlib
import ctypes
import os
import sys
from typing import Any, Dict


def modes() -> Dict[str, Any]:
    """Return PyTorch's modes of this thread, and the working directory."""
    torch = sys.modules["torch"]
    return {
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "folder": os.getcwd(),
    }


def restore_modes(state: Dict[str, Any]) -> None:
    """Restore what `modes` returned."""
    torch = sys.modules["torch"]
    torch.set_grad_enabled(state["grad"])
    torch.set_default_dtype(state["dtype"])
    os.chdir(state["folder"])


def assign_locals(frame: Any, values: Dict[str, Any]) -> None:
    """Make `values` the local variables of a running frame."""
    local = frame.f_locals
    for name in [name for name in local if name not in values]:
        del local[name]
    local.update(values)
    # Before Python 3.13 (PEP 667) `f_locals` is a copy; this function of CPython writes it back.
    if sys.version_info < (3, 13):
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(1))


def torch_version() -> str:
    """Return PyTorch's version, "" if it is not imported yet."""
    with contextlib.suppress(AttributeError):
        return str(sys.modules["torch"].__version__)
    return ""


def is_deterministic() -> bool:
    """Return whether the computation must repeat to the bit: on the processor it does."""
    torch = sys.modules["torch"]
    return not torch.cuda.is_initialized() or torch.are_deterministic_algorithms_enabled()
