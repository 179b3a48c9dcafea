"""Choose the examples by which the trials of a PyTorch training are compared."""

from __future__ import annotations

import sys
from typing import Any, Dict, Iterable, List, NamedTuple, Optional

from mlops_lib.runner.search.pytorch import data, processes


class RefusedError(Exception):
    """The training cannot be searched."""


class Selection(NamedTuple):
    """The examples that select, and the script's evaluation that measures them."""

    kind: str
    """"disjoint" for an evaluation on examples that are not judged, "split" for training examples
    that are held back.
    """
    evaluated: data.Source
    """The examples that the script's evaluation reads."""
    training: Optional[data.Source] = None
    """The training examples, if some of them are held back."""
    held: Optional[data.Held] = None
    ends_after: bool = False
    """True if an evaluation after the loop gives the score."""

    @property
    def held_count(self) -> int:
        """Return the number of held-back examples; 0 if none are."""
        return 0 if self.held is None else len(self.held.rows)

    def install(self) -> Any:
        """Replace the evaluated examples by the held-back ones, in this process only.

        Returns:
            The source that the selecting evaluations read: a data set, or a tensor.

        Raises:
            ValueError: the examples do not fit there.
        """
        if self.held is not None and self.training is not None:
            return data.replace(self.training, self.evaluated, self.held)
        return self.evaluated.dataset if self.evaluated.dataset is not None else self.evaluated.x


def choose(
    findings: Dict[str, Any],
    training: Optional[data.Source],
    *,
    metric: str,
    seed: int,
    models: Iterable[Any],
) -> Selection:
    """Choose the examples that trials are compared on.

    Args:
        findings: the findings of the probe.
        training: the training examples, if they are known.
        metric: the judged metric.
        seed: the seed by which examples are held back.
        models: the models that the script has trained so far.

    Raises:
        RefusedError: there are none.
    """
    own = [
        evaluation
        for evaluation in findings["evaluations"]
        if evaluation["model"] == findings["model"]
        and evaluation["metric"]
        and not evaluation["trained"]
    ]
    apart = [e for e in own if e["apart"] and not e["after"] and e["source"]]
    source = data.source_at(apart[0]["source"]) if apart else None
    if source is not None:
        return Selection("disjoint", source)
    judged = [evaluation for evaluation in own if evaluation["judged"]]
    if not judged:
        raise RefusedError(
            f"no evaluation of the model in or after the loop was seen to give {metric}"
        )
    return _hold_back(judged, training, seed=seed, models=models)


def _hold_back(
    judged: List[Dict[str, Any]],
    training: Optional[data.Source],
    *,
    seed: int,
    models: Iterable[Any],
) -> Selection:
    if training is None:
        raise RefusedError("the data that it trains on is neither a DataLoader's nor a tensor")
    try:
        count = len(training)
    except TypeError:
        raise RefusedError("its training data has no length, so nothing can be held back") from None
    source = data.source_at(judged[-1]["source"] or {})
    if source is None:
        raise RefusedError("the data that it evaluates is made anew each time")
    if source.dataset is training.dataset and source.x is training.x:
        raise RefusedError("what it trains on and what it evaluates are not kept apart")
    model = object_at(judged[-1]["model"], sys.modules["torch"].nn.Module)
    # Its weights have seen the examples that would be held back.
    if any(_shares_parameters(earlier, model) for earlier in models):
        raise RefusedError(
            "an earlier training of the same model has seen all examples: none is left to select by"
        )
    return Selection(
        "split",
        source,
        training,
        data.hold_back(count, seed=seed),
        ends_after=any(evaluation["after"] for evaluation in judged),
    )


def object_at(address: int, kind: Any) -> Any:
    """Return the live object of this class at an address, or None."""
    return next((item for item in processes.alive(kind) if id(item) == address), None)


def _shares_parameters(earlier: Any, model: Any) -> bool:
    module = getattr(earlier, "module", earlier)
    if model is None or not hasattr(module, "parameters"):
        return False
    own = {id(parameter) for parameter in model.parameters()}
    return any(id(parameter) in own for parameter in module.parameters())
