"""Experiment trackers that the script has switched on: what a search tries is none of their runs."""

import contextlib
import sys
from typing import Any


def paused() -> Any:
    """Return a context in which MLflow's autologging notes nothing.

    `mlflow.autolog()` wraps every estimator's `fit`: without this each trial would open a run of
    its own, or change the parameters of the script's.
    """
    autologging = sys.modules.get("mlflow.utils.autologging_utils")
    disable = getattr(autologging, "disable_autologging", None)
    return contextlib.nullcontext() if disable is None else disable()
