"""The data of one call of `fit`: its order, its state, what reading it draws."""

from typing import Any, Dict, List, Tuple

from mlops_lib.runner.keras import data_order, examples
from mlops_lib.runner.state import objects, rng


class FitData:
    """Training and validation data of one call of `fit`.

    Args:
        call: the call's arguments by name.
        order: the order of the data, of which the call's iterators are part.
    """

    def __init__(self, call: Dict[str, Any], order: data_order.DataOrder) -> None:
        self.call = call
        self.order = order

    def training_rows(self, name: str = "x") -> Any:
        """Return the training inputs, or targets, without `validation_split`'s rows."""
        rows: Any = self.call.get(name)
        split = self.call.get("validation_split") or 0.0
        if not split or self.call.get("validation_data") is not None or not hasattr(rows, "shape"):
            return rows
        return rows[: examples.first_validation_row(rows, split)]

    def has_drawn(self, order: Dict[str, Any]) -> bool:
        """Return whether recreating the training data has advanced the random state.

        Args:
            order: the order in the checkpoint.
        """
        first = order["iterators"][0]
        if not (
            first["python"] and first["limited"] and first["steps"] and first["random"] is not None
        ):
            return False
        return not rng.is_same_python(first["random"], rng.capture_python())

    def restore(self, name: str, contents: Dict[str, bytes]) -> None:
        """Restore the attributes of the training or validation data."""
        roots = [(name, self.order.data[name])]
        objects.restore(objects.find_places(roots), contents, roots)

    def capture(self) -> Dict[str, Dict[str, bytes]]:
        """Return the attributes of data that has a state of its own."""
        return {
            name: objects.capture(objects.find_places([(name, data)]), {})[0]
            for name, data in self.order.data.items()
            if name in ("x", "validation") and data_order.is_stateful(data)
        }

    @property
    def is_read_by_threads(self) -> bool:
        """Return whether several threads read the data and draw, in no determined order."""
        x = self.call.get("x")
        own = [
            getattr(x, name, None) or self.call.get(name)
            for name in ("workers", "use_multiprocessing")
        ]
        return (
            data_order.is_stateful(x)
            and (own[0] or 1) > 1
            and not own[1]
            and data_order.reads_randomly(x)
        )


def named_data(call: Dict[str, Any], roots: List[Tuple[str, Any]]) -> Dict[str, Any]:
    """Return the data of a call by name, and the data sets that its callbacks hold.

    Args:
        call: the call's arguments by name.
        roots: the callbacks' places.
    """
    validation = call.get("validation_data")
    data = {
        "x": call.get("x"),
        "validation": validation[0] if isinstance(validation, tuple) and validation else validation,
    }
    for name, space, key in objects.find_places(roots):
        if isinstance(space, dict) and data_order.is_dataset(space[key]):
            data[name] = space[key]
    return data
