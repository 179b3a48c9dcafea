"""Scalers, encoders, selectors and resamplers: on which rows were they fitted, and are any of those
judged?

What a transformer learns from judged rows reaches the model that is judged on them. For a scaler or
an encoder that is little, and is said; a selector or an encoder that looks at the targets, and a
resampler that makes new training rows from judged ones, let the model know the answers.
"""

import re
from typing import Any, Callable, Dict, List, Optional

from mlops_lib.runner.journal import Journal
from mlops_lib.runner.metrics import example_rows, repeats

KEPT = 40
LARGEST = 500_000_000
"""Values; larger inputs are not hashed."""
STATELESS = (
    "LabelEncoder",
    "LabelBinarizer",
    "MultiLabelBinarizer",
    "Normalizer",
    "FunctionTransformer",
    "HashingVectorizer",
    "Binarizer",
    "PolynomialFeatures",
    "FeatureHasher",
)
"""They learn nothing of the inputs that a judged row could add to."""
SUPERVISED = re.compile(
    r"^(Select|GenericUnivariateSelect|RFE|TargetEncoder|LinearDiscriminant|PLS|CCA|Neighborhood|WOE|CatBoostEncoder"
    r"|LeaveOneOut|JamesStein|MEstimate|GLMM|SequentialFeatureSelector|Boruta)"
)
FEWEST = 5


class _Fitted:
    """One transformer with the rows it was fitted on, and what became of them."""

    def __init__(
        self, transformer: Any, name: str, rows: example_rows.Rows, *, supervised: bool
    ) -> None:
        import numpy

        self.transformer = transformer
        self.name = name
        self.supervised = supervised
        self.rows = numpy.unique(rows.keys)
        self.count = len(rows)
        self.twins = repeats.twin_share(rows.keys)
        self.made: List[Any] = []
        """Keys of rows made from rows it was fitted on."""
        self.repeats_rows = False
        self.width: Optional[int] = None
        self.columns: Optional[List[Any]] = None
        """Of what it makes: the number of columns, and their names if it makes data frames or
        replaces columns of one.
        """

    def covers(self, keys: Any) -> Any:
        """Return which of these keys are of rows made from rows it was fitted on, as a mask."""
        import numpy

        return (
            numpy.isin(keys, numpy.concatenate(self.made))
            if self.made
            else numpy.zeros(len(keys), dtype=bool)
        )


class Preparations:
    """The transformers that a script fits by itself; those inside a pipeline that is fitted as a
    model are part of it.
    """

    def __init__(self) -> None:
        self._fitted: List[_Fitted] = []
        self.depth = 0
        """How deep the script is inside a transformer's method; what that calls of other
        transformers is part of it.
        """

    def record_fit(self, transformer: Any, x: Any, y: Any) -> None:
        """Note that a transformer was fitted on this input."""
        name = type(transformer).__name__
        if name in STATELESS:
            return
        rows = _rows(x)
        if rows is None:
            return
        self._fitted = [one for one in self._fitted if one.transformer is not transformer]
        fitted = _Fitted(
            transformer, name, rows, supervised=y is not None and bool(SUPERVISED.match(name))
        )
        fitted.columns = list(x.columns) if hasattr(x, "columns") else None
        self._fitted.append(fitted)
        del self._fitted[:-KEPT]

    def record_transform(self, transformer: Any, x: Any, made: Any) -> None:
        """Note what a transformer made of an input."""
        import numpy

        own = next((one for one in reversed(self._fitted) if one.transformer is transformer), None)
        before = [one for one in self._fitted if one.made and one is not own]
        if own is None and not before:
            return
        rows = _rows(x)
        results = _rows(made)
        if rows is None or results is None or len(rows) != len(results):
            return
        for one in before:  # what it was fitted on goes on through the next transformer
            through = one.covers(rows.keys)
            if through.any():
                one.made.append(results.keys[through])
        if own is not None:
            known = numpy.isin(rows.keys, own.rows)
            if known.any():
                own.made.append(results.keys[known])
            own.width = results.numbers.shape[1] if results.numbers is not None else None
            own.columns = list(made.columns) if hasattr(made, "columns") else own.columns

    def record_resampling(self, sampler: Any, x: Any, made: Any) -> None:
        """Note that new rows were made from an input."""
        rows = _rows(x)
        results = _rows(made)
        if rows is None or results is None:
            return
        fitted = _Fitted(sampler, type(sampler).__name__, rows, supervised=True)
        fitted.made.append(results.keys)
        fitted.repeats_rows = len(results) > len(rows)
        self._fitted.append(fitted)

    def is_resampled(self, keys: Any) -> bool:
        """Return whether these examples were drawn repeatedly: that some are equal is then no
        property of the data.
        """
        return any(one.repeats_rows and one.covers(keys).mean() > 0.5 for one in self._fitted)

    def find_fitted_on(self, x: Any, rows: example_rows.Rows, which: Any) -> List[Dict[str, Any]]:
        """Return the transformers that were fitted on judged examples.

        Args:
            x: the judged input.
            rows: the same, read.
            which: the judged examples to look at, as a mask: not those that are copies of training
                examples.
        """
        if int(which.sum()) < FEWEST:
            which = which | True
        found = []
        for one in self._fitted:
            share = max(
                float(one.covers(keys)[which].mean()) for keys in _keys_of_parts(x, rows, one)
            )
            if share > max(0.5, one.twins + 0.5 * (1 - one.twins)):
                found.append(
                    {
                        "name": one.name,
                        "supervised": one.supervised,
                        "share": round(share, 4),
                        "rows": one.count,
                    }
                )
        return found


def _keys_of_parts(x: Any, rows: example_rows.Rows, fitted: _Fitted) -> List[Any]:
    """Return the judged examples' keys: of whole rows, and of those columns alone that the
    transformer made.
    """
    parts = [rows.keys]
    if hasattr(x, "columns") and fitted.columns and len(fitted.columns) < x.shape[1]:
        if all(name in x.columns for name in fitted.columns):
            part = example_rows.read(x[fitted.columns])
            parts += [] if part is None else [part.keys]
    elif (
        rows.numbers is not None
        and fitted.width is not None
        and 1 < fitted.width < rows.numbers.shape[1]
    ):
        parts.append(example_rows.number_keys(rows.numbers[:, : fitted.width]))
        parts.append(example_rows.number_keys(rows.numbers[:, -fitted.width :]))
    return parts


def _rows(x: Any) -> Optional[example_rows.Rows]:
    shape = getattr(x, "shape", None)
    size = 1
    for side in shape or ():
        size *= int(side or 0)
    return None if size > LARGEST else example_rows.read(x)


def _inside(known: Preparations, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    known.depth += 1
    try:
        return function(*args, **kwargs)
    finally:
        known.depth -= 1


def _watched(noted_as: str, note: Callable[..., None]) -> Callable[..., Any]:
    """A method of the script's own call, after which `note(known, transformer, x, y, result)` is
    told of it.
    """

    def call(
        known: Preparations,
        journal: Journal,
        original: Callable[..., Any],
        transformer: Any,
        args: Any,
        kwargs: Any,
    ) -> Any:
        if known.depth:
            return original(transformer, *args, **kwargs)
        result = _inside(known, original, transformer, *args, **kwargs)
        with journal.guard(noted_as):
            note(known, transformer, *_given(args, kwargs), result)
        return result

    return call


def _fitted(known: Preparations, transformer: Any, x: Any, y: Any, result: Any) -> None:
    known.record_fit(transformer, x, y)


def _transformed(known: Preparations, transformer: Any, x: Any, y: Any, result: Any) -> None:
    known.record_transform(transformer, x, result)


def _fitted_and_transformed(
    known: Preparations, transformer: Any, x: Any, y: Any, result: Any
) -> None:
    known.record_fit(transformer, x, y)
    known.record_transform(transformer, x, result)


def _resampled(known: Preparations, sampler: Any, x: Any, y: Any, result: Any) -> None:
    known.record_resampling(sampler, x, result[0])


def _given(args: Any, kwargs: Any) -> Any:
    given = dict(zip(("X", "y"), args), **kwargs)
    return given.get("X", given.get("raw_documents")), given.get("y")


fit = _watched("fitted transformer", _fitted)
METHODS = {
    "transform": _watched("transformed rows", _transformed),
    "fit_transform": _watched("fitted transformer", _fitted_and_transformed),
    "fit_resample": _watched("resampled rows", _resampled),
}
"""A transformer's methods besides `fit`, with what watches each."""
