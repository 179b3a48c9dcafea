"""Scalers, encoders, selectors and resamplers that were fitted on judged rows.

Information that a transformer learns from judged rows reaches the model that is judged on them. For
a scaler or an encoder it is little, and is reported. A selector or an encoder that uses the
targets, and a resampler that makes new training rows from judged ones, reveal the targets to the
model.
"""

import re
from typing import Any, Callable, Dict, List, Optional

from mlops_lib.runner.journal import Journal
from mlops_lib.runner.metrics import example_rows, repeats

MAX_TRANSFORMERS = 40
MAX_VALUES = 500_000_000
"""Number of values; larger inputs are not hashed."""
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
"""Transformers that learn nothing from inputs that a judged row could add to."""
SUPERVISED = re.compile(
    r"^(Select|GenericUnivariateSelect|RFE|TargetEncoder|LinearDiscriminant|PLS|CCA|Neighborhood"
    r"|WOE|CatBoostEncoder|LeaveOneOut|JamesStein|MEstimate|GLMM|SequentialFeatureSelector|Boruta)"
)
MIN_EXAMPLES = 5


class _TransformerFit:
    """A transformer, with the rows that it was fitted on and their results."""

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
        """Keys of rows that were made from rows it was fitted on."""
        self.repeats_rows = False
        self.width: Optional[int] = None
        self.columns: Optional[List[Any]] = None
        """Names of its output's columns, if it makes data frames or replaces columns of one."""

    def covers(self, keys: Any) -> Any:
        """Return a mask of the keys whose rows were made from rows it was fitted on."""
        import numpy

        return (
            numpy.isin(keys, numpy.concatenate(self.made))
            if self.made
            else numpy.zeros(len(keys), dtype=bool)
        )


class Preparations:
    """The transformers that a script fits by itself.

    Those inside a pipeline that is fitted as a model are part of that model.
    """

    def __init__(self) -> None:
        self._fits: List[_TransformerFit] = []
        self.depth = 0
        """Depth of calls inside a transformer's method; calls made there are part of it."""

    def record_fit(self, transformer: Any, x: Any, y: Any) -> None:
        """Record that a transformer was fitted on this input."""
        name = type(transformer).__name__
        if name in STATELESS:
            return
        rows = _rows(x)
        if rows is None:
            return
        self._fits = [
            previous for previous in self._fits if previous.transformer is not transformer
        ]
        record = _TransformerFit(
            transformer, name, rows, supervised=y is not None and bool(SUPERVISED.match(name))
        )
        record.columns = list(x.columns) if hasattr(x, "columns") else None
        self._fits.append(record)
        del self._fits[:-MAX_TRANSFORMERS]

    def record_transform(self, transformer: Any, x: Any, output: Any) -> None:
        """Record the output of a transformer for an input."""
        import numpy

        own = next(
            (record for record in reversed(self._fits) if record.transformer is transformer),
            None,
        )
        before = [record for record in self._fits if record.made and record is not own]
        if own is None and not before:
            return
        rows = _rows(x)
        results = _rows(output)
        if rows is None or results is None or len(rows) != len(results):
            return
        # Rows that an earlier transformer was fitted on pass through this one: their new keys
        # belong to the earlier one as well.
        for record in before:
            through = record.covers(rows.keys)
            if through.any():
                record.made.append(results.keys[through])
        if own is not None:
            is_known = numpy.isin(rows.keys, own.rows)
            if is_known.any():
                own.made.append(results.keys[is_known])
            own.width = results.numbers.shape[1] if results.numbers is not None else None
            own.columns = list(output.columns) if hasattr(output, "columns") else own.columns

    def record_resampling(self, sampler: Any, x: Any, output: Any) -> None:
        """Record the rows that a sampler made from an input."""
        rows = _rows(x)
        results = _rows(output)
        if rows is None or results is None:
            return
        record = _TransformerFit(sampler, type(sampler).__name__, rows, supervised=True)
        record.made.append(results.keys)
        record.repeats_rows = len(results) > len(rows)
        self._fits.append(record)

    def is_resampled(self, keys: Any) -> bool:
        """Return whether these examples were drawn repeatedly.

        Equal examples are then no property of the data.
        """
        return any(
            sampler.repeats_rows and sampler.covers(keys).mean() > 0.5 for sampler in self._fits
        )

    def find_fitted_on(self, x: Any, rows: example_rows.Rows, which: Any) -> List[Dict[str, Any]]:
        """Return the transformers that were fitted on judged examples.

        Args:
            x: the judged input.
            rows: its rows.
            which: mask of the judged examples to examine; copies of training examples are excluded.
        """
        # Almost all judged rows are copies: then all rows are examined instead of none.
        if int(which.sum()) < MIN_EXAMPLES:
            which = which | True
        findings = []
        for record in self._fits:
            share = max(
                float(record.covers(keys)[which].mean()) for keys in _keys_of_parts(x, rows, record)
            )
            # Rows that are equal by nature would count as fitted: their share among the fitted rows
            # is the baseline.
            if share > max(0.5, record.twins + 0.5 * (1 - record.twins)):
                findings.append(
                    {
                        "name": record.name,
                        "supervised": record.supervised,
                        "share": round(share, 4),
                        "rows": record.count,
                    }
                )
        return findings


def _keys_of_parts(x: Any, rows: example_rows.Rows, record: _TransformerFit) -> List[Any]:
    """Return the judged examples' keys: of whole rows, and of some columns alone.

    These are the columns that the transformer made.
    """
    parts = [rows.keys]
    if hasattr(x, "columns") and record.columns and len(record.columns) < x.shape[1]:
        if all(name in x.columns for name in record.columns):
            part = example_rows.read(x[record.columns])
            parts += [] if part is None else [part.keys]
    elif (
        rows.numbers is not None
        and record.width is not None
        and 1 < record.width < rows.numbers.shape[1]
    ):
        parts.append(example_rows.number_keys(rows.numbers[:, : record.width]))
        parts.append(example_rows.number_keys(rows.numbers[:, -record.width :]))
    return parts


def _rows(x: Any) -> Optional[example_rows.Rows]:
    shape = getattr(x, "shape", None)
    size = 1
    for side in shape or ():
        size *= int(side or 0)
    return None if size > MAX_VALUES else example_rows.read(x)


def _inside(
    preparations: Preparations, function: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    preparations.depth += 1
    try:
        return function(*args, **kwargs)
    finally:
        preparations.depth -= 1


def _observed(noted_as: str, note: Callable[..., None]) -> Callable[..., Any]:
    """Return a method that calls the original and then `note`.

    The arguments of `note` are the preparations, the transformer, x, y and the result.
    """

    def call(
        preparations: Preparations,
        journal: Journal,
        original: Callable[..., Any],
        transformer: Any,
        args: Any,
        kwargs: Any,
    ) -> Any:
        if preparations.depth:
            return original(transformer, *args, **kwargs)
        result = _inside(preparations, original, transformer, *args, **kwargs)
        with journal.guard(noted_as):
            note(preparations, transformer, *_x_and_y(args, kwargs), result)
        return result

    return call


def _observe_fit(preparations: Preparations, transformer: Any, x: Any, y: Any, result: Any) -> None:
    preparations.record_fit(transformer, x, y)


def _observe_transform(
    preparations: Preparations, transformer: Any, x: Any, y: Any, result: Any
) -> None:
    preparations.record_transform(transformer, x, result)


def _observe_fit_transform(
    preparations: Preparations, transformer: Any, x: Any, y: Any, result: Any
) -> None:
    preparations.record_fit(transformer, x, y)
    preparations.record_transform(transformer, x, result)


def _observe_resampling(
    preparations: Preparations, sampler: Any, x: Any, y: Any, result: Any
) -> None:
    preparations.record_resampling(sampler, x, result[0])


def _x_and_y(args: Any, kwargs: Any) -> Any:
    arguments = dict(zip(("X", "y"), args), **kwargs)
    return arguments.get("X", arguments.get("raw_documents")), arguments.get("y")


fit = _observed("fitted transformer", _observe_fit)
METHODS = {
    "transform": _observed("transformed rows", _observe_transform),
    "fit_transform": _observed("fitted transformer", _observe_fit_transform),
    "fit_resample": _observed("resampled rows", _observe_resampling),
}
"""A transformer's methods besides `fit`, each with its observer."""
