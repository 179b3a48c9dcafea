"""Push ML code, get a model that meets its bar.

Every stage is one function here, one verb of the `mlops` command and one step in Jenkins. Importing
this package loads only the standard library; each function loads its dependencies on first
use.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_HOME = {
    "detect": "mlops_lib.detection",
    "build": "mlops_lib.pipeline.stages",
    "train": "mlops_lib.pipeline.stages",
    "judge": "mlops_lib.pipeline.stages",
    "search": "mlops_lib.pipeline.stages",
    "work": "mlops_lib.pipeline.stages",
    "register": "mlops_lib.pipeline.stages",
    "notify": "mlops_lib.pipeline.publishing",
    "report": "mlops_lib.pipeline.publishing",
    "watch": "mlops_lib.monitoring.watch",
    "run": "mlops_lib.pipeline.stages",
    "stop": "mlops_lib.pipeline.stages",
    "improve": "mlops_lib.tuning.in_memory",
    "plot": "mlops_lib.reporting",
    "frame": "mlops_lib.tuning.in_memory",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from mlops_lib.detection import detect as detect
    from mlops_lib.monitoring.watch import watch as watch
    from mlops_lib.pipeline.publishing import notify as notify
    from mlops_lib.pipeline.publishing import report as report
    from mlops_lib.pipeline.stages import build as build
    from mlops_lib.pipeline.stages import judge as judge
    from mlops_lib.pipeline.stages import register as register
    from mlops_lib.pipeline.stages import run as run
    from mlops_lib.pipeline.stages import search as search
    from mlops_lib.pipeline.stages import stop as stop
    from mlops_lib.pipeline.stages import train as train
    from mlops_lib.pipeline.stages import work as work
    from mlops_lib.reporting import plot as plot
    from mlops_lib.tuning.in_memory import frame as frame
    from mlops_lib.tuning.in_memory import improve as improve


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext mlops_lib`: the cell magic `%%mlops`."""
    from mlops_lib.tuning.cell_magic import load

    load(shell)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mlops_lib' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
