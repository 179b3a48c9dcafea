"""Experiment trackers that the script has enabled, paused during a search."""

import contextlib
import sys
from typing import Any


def paused() -> Any:
    """Return a context in which MLflow's autologging records nothing.

    `mlflow.autolog()` wraps every estimator's `fit`. Without this context each trial would open a
    run of its own, or change the parameters of the script's run.
    """
    autologging = sys.modules.get("mlflow.utils.autologging_utils")
    disable = getattr(autologging, "disable_autologging", None)
    return contextlib.nullcontext() if disable is None else disable()
