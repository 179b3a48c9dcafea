"""When a trial is given up: from its curve, and from how others of its search went on."""

from __future__ import annotations

from mlops_lib.runner.search.outlook import is_hopeless

# A network for photographs under a cosine, from fresh weights and from trained ones.
FRESH = [0.44, 0.51, 0.53, 0.55, 0.64, 0.63, 0.62, 0.67, 0.65, 0.68, 0.69, 0.70, 0.72, 0.71]
TRAINED = [0.67, 0.65, 0.67, 0.68, 0.70, 0.70, 0.69, 0.72, 0.71, 0.71, 0.73, 0.73, 0.72, 0.72]


def test_what_a_cosine_gains_late_is_waited_for() -> None:
    running = [0.45, 0.50, 0.52, 0.56, 0.60, 0.60, 0.61]
    for count in range(1, len(running) + 1):
        assert not is_hopeless(running[:count], 14, 0.72, mode="max", finished=[FRESH], error=0.014)


def test_what_is_too_far_behind_is_given_up_at_a_third() -> None:
    running = [0.60, 0.59, 0.61, 0.62, 0.62]
    assert is_hopeless(running, 14, 0.73, mode="max", finished=[TRAINED], error=0.014)
    assert not is_hopeless(running[:4], 14, 0.73, mode="max", finished=[TRAINED], error=0.014)
    assert not is_hopeless(running, 14, 0.73, mode="max", finished=[FRESH], error=0.014)


def test_a_loss_falls_instead_of_rising() -> None:
    other = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]
    assert not is_hopeless([1.0, 0.9, 0.8], 6, 0.55, mode="min", finished=[other])
    assert is_hopeless([2.0, 1.9, 1.8], 6, 0.55, mode="min", finished=[other])


def test_no_trial_is_given_up_that_has_ended_or_has_no_rival() -> None:
    assert not is_hopeless([0.1] * 14, 14, 0.9, mode="max", finished=[FRESH])
    assert not is_hopeless([0.1] * 7, 14, None, mode="max", finished=[FRESH])
