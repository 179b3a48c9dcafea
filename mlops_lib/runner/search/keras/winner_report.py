"""Describe the way to a search's winner, for people and for the suggested patch."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, Dict, List

from mlops_lib.runner.search import scores
from mlops_lib.runner.search.keras import trial
from mlops_lib.runner.search.keras.blueprint import blueprint
from mlops_lib.runner.search.keras.candidates import Facts
from mlops_lib.runner.search.keras.lineage import Lineage
from mlops_lib.runner.search.keras.trial_store import TrialStore


def gained_steps(number: int, context: trial.TrialContext, store: TrialStore) -> List[str]:
    """Return, in words, the changes on the way to a trial, each with its gain."""
    lines: List[str] = []
    while number:
        record = store.records[number]
        candidate = store.candidate(number)
        before = store.score(candidate.parent)
        score = store.score(number)
        change = "; ".join(candidate.words() or record["edits"])
        if before is not None and score is not None:
            gain = scores.gain_in_words(
                number,
                candidate.parent,
                score=score,
                before=before,
                request=context.request,
                examples=context.selected.count,
                trials=list(store.records.values()),
            )
            lines.insert(0, f"{gain}: {change}")
        number = candidate.parent
    return lines


def patch_facts(
    number: int,
    *,
    model: Any,
    written: List[Any],
    context: trial.TrialContext,
    lineage: Lineage,
    facts: Facts,
) -> Dict[str, Any]:
    """Return the content of winner.json, from which the host suggests a patch.

    Args:
        number: the winning trial.
        model: the developer's model.
        written: the blueprint of the developer's architecture; empty if it cannot be rebuilt.
        context: the parts that all trials share.
        lineage: builds the winner's architecture.
        facts: the data and the developer's way to train.
    """
    call = context.call
    selected = context.selected
    chain = lineage.trained_chain(number)
    # A patched script trains from scratch: with the first recipe, for the epochs of all together.
    epochs = sum(candidate.recipe.epochs for candidate in chain)
    recipe = replace(chain[0].recipe, epochs=epochs)
    x = selected.everything["x"] if selected.everything else selected.training["x"]
    batch = recipe.batch_size or trial.batch_size(call)
    arguments = call.arguments
    has_root = lineage.root is not None
    return {
        "schema": 1,
        "framework": "keras",
        "before": written,
        "after": blueprint(lineage.architecture(number)) if has_root else [],
        "recipe": asdict(recipe),
        "learning_rate": recipe.learning_rate or facts.learning_rate,
        "batch_size": batch,
        "given": {"epochs": arguments.get("epochs"), "batch_size": arguments.get("batch_size")},
        "steps": trial.steps_an_epoch(call, x, batch),
        "sites": call.sites,
        "class_weight": trial.rarity(arguments.get("y")) if recipe.balanced else None,
        "sequential": type(model).__name__ == "Sequential",
    }
