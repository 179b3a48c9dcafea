"""The examples that models were trained on; all others are held out."""

import weakref
from typing import Any, Callable, Iterator, List, NamedTuple, Optional

from mlops_lib.runner.metrics.example_hashes import Examples

MAX_TRAININGS = 32
"""Number of the latest trainings that are kept."""


class Training(NamedTuple):
    """The examples of a training; it keeps neither the model nor its input alive."""

    model: Callable[[], Any]
    x: Callable[[], Any]
    examples: Optional[Examples]
    read_late: Callable[[], Optional[Examples]]
    """Hash the examples of a pipeline by reading it once more, when the script has ended."""


def reference(item: Any) -> Callable[[], Any]:
    """Return a function that returns `item`, without keeping it alive if possible."""
    try:
        return weakref.ref(item)
    except TypeError:  # lists, tuples, None
        return lambda: None


class Trainings:
    """The latest trainings of a script, in chronological order."""

    def __init__(self) -> None:
        self._trainings: List[Training] = []

    def __iter__(self) -> Iterator[Training]:
        return iter(self._trainings)

    def add(
        self,
        model: Any,
        x: Any,
        examples: Optional[Examples],
        read_late: Callable[[], Optional[Examples]] = lambda: None,
    ) -> None:
        """Record that a model was trained on this input.

        Args:
            model: the model.
            x: the input.
            examples: its examples, if they could be hashed already.
            read_late: returns them when the script has ended, if not.
        """
        self._trainings.append(Training(reference(model), reference(x), examples, read_late))
        del self._trainings[:-MAX_TRAININGS]

    def replace(self, model: Any, x: Any, examples: Optional[Examples]) -> None:
        """Record that a search has trained this model anew, on these examples only."""
        self._trainings = [t for t in self._trainings if t.model() is not model]
        self.add(model, x, examples)

    def _of(self, model: Any) -> List[Training]:
        """Return the trainings of a model, or all of them if none is known to be its own."""
        # A script may evaluate a copy of its model, or one that it has loaded from a file.
        return [t for t in self._trainings if t.model() is model] or self._trainings

    def is_held_out(self, model: Any, x: Any, examples: Optional[Examples]) -> Optional[bool]:
        """Return whether a model has not been trained on these examples.

        Args:
            model: the model; None for any model.
            x: the input.
            examples: its examples.

        Returns:
            None if it is unknown.
        """
        own = self._trainings if model is None else self._of(model)
        # The same object needs no hashes: it also covers inputs that cannot be hashed.
        if x is not None and any(t.x() is x for t in own):
            return False
        if examples is None:
            return None
        return not any(t.examples is not None and examples.overlap(t.examples) > 0.5 for t in own)

    def hash_late(self, model: Any) -> bool:
        """Hash the pipelines that trained a model.

        Returns:
            Whether all examples that it was trained on are known now.
        """
        own = self._of(model)
        for i, training in enumerate(self._trainings):
            if training in own and training.examples is None:
                self._trainings[i] = training._replace(
                    examples=training.read_late(), read_late=lambda: None
                )
        own = self._of(model)
        return bool(own) and all(training.examples is not None for training in own)
