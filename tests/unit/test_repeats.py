"""Equal examples on both sides of a split: natural in coarse tables, copies in fine ones."""

from __future__ import annotations

import numpy

from mlops_lib.runner.metrics import example_rows, repeats


def coarse_rows(columns: int = 4, values: int = 3, count: int = 400) -> numpy.ndarray:
    return numpy.random.default_rng(1).integers(0, values, size=(count, columns)).astype("float64")


def explained(table: numpy.ndarray, match: list[int], share: float) -> bool:
    rows = example_rows.read(table)
    assert rows is not None
    return repeats.CoarseRows(rows).explains(numpy.array(match), share)


def test_twins_are_counted_with_all_their_copies() -> None:
    assert repeats.twin_share(numpy.array([])) == 0.0
    assert repeats.twin_share(numpy.array([1, 1, 2, 3])) == 0.5
    assert repeats.twin_share(numpy.array([1, 1, 1, 1])) == 1.0


def test_as_many_repeats_as_the_training_examples_have_are_expected() -> None:
    assert repeats.is_expected(repeated=30, judged=100, twins=0.3, trained=1000)
    assert not repeats.is_expected(repeated=90, judged=100, twins=0.3, trained=1000)
    assert not repeats.is_expected(repeated=30, judged=100, twins=0.0, trained=1000)


def test_rows_of_a_coarse_table_are_equal_by_chance() -> None:
    assert explained(coarse_rows(), list(range(50)), share=0.5)


def test_rows_of_continuous_measurements_are_not() -> None:
    fine = numpy.random.default_rng(2).normal(size=(400, 4))
    assert not explained(fine, list(range(50)), share=0.5)


def test_one_hot_columns_count_as_one() -> None:
    category = numpy.random.default_rng(3).integers(0, 5, size=400)
    table = numpy.concatenate([numpy.eye(5)[category], coarse_rows(columns=3)], axis=1)
    assert explained(table, list(range(50)), share=0.5)


def test_pictures_are_never_equal_by_chance() -> None:
    pictures = numpy.random.default_rng(4).integers(0, 255, size=(40, 8, 8, 3)).astype("uint8")
    assert not explained(pictures, [1, 2, 3], share=0.1)
