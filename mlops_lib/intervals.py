"""Confidence intervals: of a proportion, of a difference of two, of a mean."""

from __future__ import annotations

import math
import statistics

CONFIDENCE = 0.95
LEVEL_Z = 1.6448536269514722
"""Normal quantile of a two-sided 90 % interval."""
STUDENT = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
)
"""Two-sided 95 % quantiles of Student's t with 1, 2, … degrees of freedom."""


def wilson(share: float, examples: int, *, looks: int = 1) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion (Wilson 1927, JASA 22).

    Several looks at the same examples share the 5 % (Bonferroni): with two looks, each interval
    covers 97.5 %.

    Args:
        share: the observed proportion, 0 to 1.
        examples: number of observed examples.
        looks: number of models that have been judged on these examples.

    >>> [round(end, 4) for end in wilson(0.8, 500)]
    [0.7627, 0.8327]
    >>> [round(end, 4) for end in wilson(0.8, 500, looks=3)]
    [0.7539, 0.8393]
    """
    z = statistics.NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * looks))
    centre = share + z * z / (2 * examples)
    spread = z * math.sqrt(share * (1 - share) / examples + z * z / (4 * examples * examples))
    scale = 1 + z * z / examples
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def paired_difference(
    only_new: int, only_champion: int, examples: int
) -> tuple[float, tuple[float, float]]:
    """Return the difference of two paired proportions and its 90 % interval.

    Half an example is added to each cell of the table, because the plain interval is too short for
    few examples (Agresti and Min, Statistics in Medicine 24, 2005).
    """
    difference = (only_new - only_champion) / examples
    new = only_new + 0.5
    champion = only_champion + 0.5
    count = examples + 2
    middle = (new - champion) / count
    spread = LEVEL_Z * math.sqrt(max(new + champion - (new - champion) ** 2 / count, 0.0)) / count
    return difference, (max(-1.0, middle - spread), min(1.0, middle + spread))


def half_width_of_mean(spread: float, count: int) -> float:
    """Return half the width of the 95 % interval of a mean (Student 1908, Biometrika 6).

    Args:
        spread: standard deviation of the sample.
        count: size of the sample, at least two.

    >>> round(half_width_of_mean(0.01, 5), 4)
    0.0124
    """
    freedom = count - 1
    # From there on the normal quantile is less than a tenth smaller.
    quantile = STUDENT[freedom - 1] if freedom <= len(STUDENT) else 1.96
    return quantile * spread / math.sqrt(count)
