"""`runner.search.past_searches`: what helped in similar searches comes first."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from keras import layers

from mlops_lib.runner.search.keras.candidates import Candidate, Facts, kinds_of
from mlops_lib.runner.search.keras.diagnosis import Diagnosis
from mlops_lib.runner.search.keras.edit_space import AS_PICTURES, USUAL_FORM, Space, next_candidate
from mlops_lib.runner.search.past_searches import helpful_kinds, in_words, preferred_first


def past(
    tried: str, helped: str = "", *, diagnosis: str = "", weight: float = 1.0
) -> dict[str, Any]:
    return {
        "weight": weight,
        "diagnosis": diagnosis.split(),
        "tried": tried.split(),
        "helped": helped.split(),
    }


def test_what_helped_more_reliably_comes_first() -> None:
    searches = [past("a b", "a"), past("a b", "b"), past("b", "b"), past("c")]
    assert helpful_kinds(searches) == ["b", "a"]


def test_one_success_proves_less_than_many() -> None:
    searches = [past("once", "once"), *[past("often", "often")] * 5, past("often")]
    assert helpful_kinds(searches) == ["often", "once"]


def test_searches_with_the_same_findings_count_more() -> None:
    searches = [past("a", "a", diagnosis="overfitting"), past("b", "b", diagnosis="unfinished")]
    assert helpful_kinds(searches, ["overfitting"]) == ["a", "b"]
    assert helpful_kinds(searches, ["unfinished"]) == ["b", "a"]


def test_others_keep_their_order() -> None:
    ordered = preferred_first(["p", "q", "r", "s"], lambda one: [one], ["s", "q"])
    assert ordered == ["s", "q", "p", "r"]
    assert preferred_first("pq", lambda one: [one], []) == ["p", "q"]


def test_counts_are_told() -> None:
    told = in_words([past("SVC own", "SVC"), past("SVC Ridge", "own"), past("SVC", "SVC")])
    assert told == (
        "3 similar searches of this home: what led to a winner there is tried first, SVC (2 of 3)"
    )
    assert in_words([]) == in_words([past("own", "own")]) == ""


@pytest.fixture(scope="module")
def pixels() -> Any:
    """A network that flattens pictures at once."""
    return keras.Sequential(
        [
            keras.Input((16, 16, 1), name="image"),
            layers.Flatten(),
            layers.Dense(32, activation="relu", name="hidden"),
            layers.Dense(4, activation="softmax", name="out"),
        ]
    )


def space(model: Any, *searches: dict[str, Any]) -> Space:
    facts = Facts(
        examples=1000,
        batch_size=32,
        epochs=10,
        images=["image"],
        pictures={"image": [16, 16, 1]},
        most_cost=1e9,
    )
    return Space(model, facts, Diagnosis(("underfitting",)), inheritable=True, past=searches)


def test_prepared_candidates_of_a_keras_search_change_places(pixels: Any) -> None:
    def first(*searches: dict[str, Any]) -> list[str]:
        candidate = next_candidate(
            space(pixels, *searches), 0, lambda n: pixels, lambda n: Diagnosis(()), []
        )
        assert candidate is not None
        return candidate.kinds()

    assert first() == [USUAL_FORM]
    assert first(past(f"{USUAL_FORM} {AS_PICTURES}", AS_PICTURES)) == [AS_PICTURES]


def test_edits_that_helped_before_come_first_and_none_is_left_out(pixels: Any) -> None:
    def around(*searches: dict[str, Any]) -> list[Candidate]:
        return list(space(pixels, *searches).around(1, pixels, Diagnosis(("underfitting",))))

    usual = around()
    changed = around(past("l2 resize", "l2"))
    assert kinds_of(usual[0].edits) != ["l2"]
    assert kinds_of(changed[0].edits) == ["l2"]
    assert {str(one.values()) for one in changed} == {str(one.values()) for one in usual}


def test_the_name_of_a_prepared_candidate_survives_the_oracle() -> None:
    candidate = Candidate(0, role=USUAL_FORM)
    assert Candidate.read(candidate.values()).kinds() == [USUAL_FORM]
    assert Candidate.read(Candidate(0).values()).kinds() == []
