"""Measure a saved model again: `python -m mlops_lib.runner.metrics.remeasure`.

It is a process without the script. Its argument is a folder with `order.json`, the model's file,
and the examples that the runner stored. Nothing is written: the answer is the last line of the
output, marked with the order's token. No file is loaded in a way that runs code from it.

    order.json   {"token": "…", "model": "model.keras",
                  "entry": an entry of examples/examples.json}
    the answer   {"state": "measured", "value": 0.93, "all": {…}, "count": 2000, "note": ""}
                 state: measured, needs code (the file cannot be loaded without), failed (model or
                 examples cannot be read, or the model cannot be measured on the examples)
"""

import json
import os
import sys
from typing import Any, Dict, List

from mlops_lib.runner.metrics import comparison, kept_examples, loading, recipes
from mlops_lib.runner.metrics.recipes import Examples, Recipe

MEASURED = "measured"
NEEDS_CODE = "needs code"
FAILED = "failed"
NOTE_LENGTH = 500


def answer(folder: str, order: Dict[str, Any]) -> Dict[str, Any]:
    """Return the answer to an order."""
    try:
        recipe, examples = kept_examples.read(folder, order["entry"])
        count = int(order["entry"]["examples"]["count"])
    except Exception as error:  # noqa: BLE001 - the files are claims, of any shape
        return _without_value(FAILED, f"the stored examples cannot be read: {_describe(error)}")
    path = os.path.join(folder, str(order["model"]))
    try:
        model, is_compiled = (
            loading.load_keras(path) if path.endswith(".keras") else (loading.load(path), True)
        )
    except loading.NeedsCodeError as error:
        return _without_value(NEEDS_CODE, str(error))
    except Exception as error:  # noqa: BLE001 - a damaged file may raise anything
        return _without_value(
            FAILED, f"the saved model cannot be loaded by itself: {_describe(error)}"
        )
    try:
        numbers = measure(recipe, model, examples, is_compiled=is_compiled)
    except loading.NeedsCodeError as error:
        return _without_value(NEEDS_CODE, str(error))
    except Exception as error:  # noqa: BLE001 - a model may raise anything
        return _without_value(
            FAILED, f"the saved model cannot be measured by itself: {_describe(error)}"
        )
    return {
        **_without_value(MEASURED, ""),
        "value": numbers[recipe.metric],
        "all": numbers,
        "count": count,
    }


def measure(
    recipe: Recipe, model: Any, examples: Examples, *, is_compiled: bool
) -> Dict[str, float]:
    """Measure the model; if its own metrics need code, compute them from predictions.

    Raises:
        loading.NeedsCodeError: the number is the model's own metric, which is not loaded.
        Exception: the model raised it.
    """
    if recipe.call != recipes.EVALUATE or is_compiled:
        return recipes.measure(recipe, model, examples)
    truth, guess = recipes.targets_and_predictions(recipe, model, examples)
    value = None if examples.weight is not None else comparison.mean_of_scores(recipe, truth, guess)
    if value is None:
        raise loading.NeedsCodeError(
            f"its metric {recipe.metric}, or its loss, is the script's own"
        )
    return {recipe.metric: value}


def _without_value(state: str, note: str) -> Dict[str, Any]:
    return {"state": state, "note": note[:NOTE_LENGTH], "value": None, "all": {}, "count": None}


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def main(arguments: List[str]) -> int:
    """Answer the order in a folder."""
    folder = arguments[0]
    with open(os.path.join(folder, "order.json")) as stream:
        order = json.load(stream)
    result = answer(folder, order)
    sys.stdout.flush()
    sys.stdout.write(f"\n{order['token']}{json.dumps(result)}\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    # Threads that a framework left running must not keep the process alive.
    main(sys.argv[1:])
    os._exit(0)
