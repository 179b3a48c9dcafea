"""Methods and arguments that pandas dropped, and means over tables with text columns."""

import functools
import inspect
from typing import Any, Callable, Dict, List, Tuple

from mlops_lib.runner.compat.arguments import by_name
from mlops_lib.runner.compat.notes import Notes

NUMBERS = ("mean", "median", "std", "var", "corr", "cov", "skew", "kurt", "sem", "quantile")
"""They left out columns that hold no numbers, until pandas 2."""
PLACES = (
    "drop",
    "dropna",
    "fillna",
    "sort_values",
    "sort_index",
    "set_index",
    "reset_index",
    "drop_duplicates",
    "replace",
    "interpolate",
    "clip",
    "ffill",
    "bfill",
    "to_csv",
)
"""Methods whose parameters were positional once and are keyword-only today."""


def pandas(module: Any, notes: Notes) -> None:
    """Restore lost methods of tables, columns and readers."""
    frame = module.DataFrame
    series = module.Series

    def from_csv(path: Any, index_col: Any = 0, **kwargs: Any) -> Any:
        return module.read_csv(path, index_col=index_col, **kwargs)

    both: Dict[str, Any] = {
        "append": append,
        "ix": property(Ix),
        "as_matrix": as_matrix,
        "mad": mad,
        "sort": sort,
        "iteritems": lambda self: self.items(),
        "get_value": get_value,
        "set_value": set_value,
        "get_values": lambda self: self.values,
        "convert_objects": convert_objects,
        "irow": lambda self, i: self.iloc[i],
    }
    tables: Dict[str, Any] = {
        **both,
        "icol": lambda self, i: self.iloc[:, i],
        "lookup": lookup,
        "reindex_axis": lambda self, labels, axis=0: self.reindex(labels, axis=axis),
        "from_csv": staticmethod(from_csv),
        "from_items": classmethod(lambda cls, items, **kwargs: cls(dict(items), **kwargs)),
    }
    columns: Dict[str, Any] = {
        **both,
        "order": lambda self, **kwargs: self.sort_values(**kwargs),
        "iget": lambda self, i: self.iloc[i],
        "nonzero": lambda self: self.to_numpy().nonzero(),
    }
    for owner, substitutes in ((frame, tables), (series, columns)):
        for name, value in substitutes.items():
            _lend(owner, name, value, notes)
        for name in PLACES:
            if hasattr(owner, name):
                setattr(owner, name, _named(getattr(owner, name), f"pandas {name}", notes))
    for owner in (module.DatetimeIndex, module.core.indexes.accessors.DatetimeProperties):
        for name in ("week", "weekofyear"):
            _lend(owner, name, property(lambda self: self.isocalendar().week), notes)
    groups = module.core.groupby.DataFrameGroupBy
    for owner in (frame, groups):
        for name in NUMBERS:
            if hasattr(owner, name):
                setattr(owner, name, _of_numbers(getattr(owner, name), notes))
    frame.sort_index = _by(frame.sort_index, notes)
    frame.to_csv = _terminated(frame.to_csv, notes)
    for name in ("read_csv", "read_table"):
        setattr(module, name, _reader(getattr(module, name), notes))


def _lend(owner: Any, name: str, value: Any, notes: Notes) -> None:
    """A method noted when it is used; one that is still there stays."""
    if hasattr(owner, name):
        return
    message = f"pandas {owner.__name__}.{name} is stood in for: it is gone since pandas 2"
    if isinstance(value, property):
        getter = value.fget

        def get(self: Any) -> Any:
            notes.say(message)
            return getter(self) if getter is not None else None

        setattr(owner, name, property(get))
        return
    if isinstance(value, (classmethod, staticmethod)):
        setattr(owner, name, value)
        return

    @functools.wraps(value)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        notes.say(message)
        return value(self, *args, **kwargs)

    setattr(owner, name, call)


def _named(original: Callable[..., Any], called: str, notes: Notes) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = by_name(called, signature, args, kwargs, notes)
        return original(*args, **kwargs)

    return call


def _of_numbers(original: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        except (TypeError, ValueError):
            if "numeric_only" in kwargs:
                raise
            result = original(*args, numeric_only=True, **kwargs)
            notes.say(
                f"pandas {original.__name__}: columns that hold no numbers are left out: numeric_only=True"
            )
            return result

    return call


def _by(original: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    @functools.wraps(original)
    def sort_index(self: Any, *args: Any, by: Any = None, **kwargs: Any) -> Any:
        if by is None:
            return original(self, *args, **kwargs)
        notes.say("sort_index(by=…) is sort_values(by=…) now")
        return self.sort_values(by, **kwargs)

    return sort_index


def _terminated(original: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    @functools.wraps(original)
    def to_csv(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "line_terminator" in kwargs:
            kwargs["lineterminator"] = kwargs.pop("line_terminator")
            notes.say("to_csv(line_terminator=…) is lineterminator= now")
        return original(self, *args, **kwargs)

    return to_csv


def _reader(original: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    """`read_csv(path, ",", error_bad_lines=False, squeeze=True)`."""
    signature = inspect.signature(original)

    @functools.wraps(original)
    def read(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = by_name(original.__name__, signature, args, kwargs, notes)
        for key in {
            "error_bad_lines",
            "warn_bad_lines",
            "mangle_dupe_cols",
            "tupleize_cols",
            "squeeze",
        } & set(kwargs):
            if key in signature.parameters:
                continue
            value = kwargs.pop(key)
            notes.say(f"{original.__name__}({key}=…) is gone since pandas 2 and is answered for")
            if key == "error_bad_lines" and not value:
                kwargs.setdefault("on_bad_lines", "skip")
            elif key == "squeeze" and value:
                return read(*args, **kwargs).squeeze("columns")
        return original(*args, **kwargs)

    return read


class Ix:
    """Indexer `.ix[…]`: by label if the index has it, else by position."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner

    def _key(self, key: Any) -> Tuple[Any, Any]:
        parts = key if isinstance(key, tuple) else (key,)
        positional: List[bool] = []
        for axis, part in zip((self._owner.index, getattr(self._owner, "columns", None)), parts):
            ends = (
                [part.start, part.stop]
                if isinstance(part, slice)
                else part
                if isinstance(part, list)
                else [part]
            )
            numbers = all(isinstance(item, int) for item in ends if item is not None)
            positional.append(numbers and axis is not None and axis.dtype.kind not in "iu")
        return parts, positional

    def __getitem__(self, key: Any) -> Any:
        parts, positional = self._key(key)
        if all(positional) or not any(positional):
            return (self._owner.iloc if positional[0] else self._owner.loc)[key]
        result = self._owner
        for axis, (part, by_position) in enumerate(zip(parts, positional)):
            whole = (slice(None),) * axis if result.ndim > axis else ()
            result = (result.iloc if by_position else result.loc)[(*whole, part) if whole else part]
        return result

    def __setitem__(self, key: Any, value: Any) -> None:
        parts, positional = self._key(key)
        axes: Any = (self._owner.index, getattr(self._owner, "columns", None))
        labels = tuple(
            axes[i][part] if by_position else part
            for i, (part, by_position) in enumerate(zip(parts, positional))
        )
        self._owner.loc[labels] = value


def append(
    self: Any,
    other: Any,
    ignore_index: bool = False,
    verify_integrity: bool = False,
    sort: bool = False,
) -> Any:
    """`DataFrame.append` and `Series.append`."""
    import pandas

    if isinstance(other, dict):
        other = pandas.Series(other)
    if isinstance(other, pandas.Series) and isinstance(self, pandas.DataFrame):
        other = other.to_frame().T
    others = list(other) if isinstance(other, (list, tuple)) else [other]
    others = [pandas.DataFrame([item]) if isinstance(item, dict) else item for item in others]
    return pandas.concat(
        [self, *others], ignore_index=ignore_index, verify_integrity=verify_integrity, sort=sort
    )


def as_matrix(self: Any, columns: Any = None) -> Any:
    """`as_matrix`."""
    return self.values if columns is None else self[list(columns)].values


def get_value(self: Any, index: Any, column: Any = None) -> Any:
    """`get_value`."""
    return self.loc[index] if column is None else self.loc[index, column]


def mad(self: Any, axis: Any = 0, **kwargs: Any) -> Any:
    """The mean absolute deviation."""
    return (self - self.mean()).abs().mean()


def sort(
    self: Any,
    columns: Any = None,
    axis: int = 0,
    ascending: bool = True,
    inplace: bool = False,
    **kwargs: Any,
) -> Any:
    """`sort`."""
    if columns is None and getattr(self, "ndim", 1) == 2:
        return self.sort_index(axis=axis, ascending=ascending, inplace=inplace)
    selection = {} if columns is None else {"by": columns}
    return self.sort_values(**selection, ascending=ascending, inplace=inplace)


def set_value(self: Any, index: Any, column: Any, value: Any = None) -> Any:
    """`set_value`; a column has no columns."""
    if value is None:
        self.loc[index] = column
    else:
        self.loc[index, column] = value
    return self


def convert_objects(self: Any, convert_numeric: bool = False, **kwargs: Any) -> Any:
    """Return `convert_objects`: better types, and numbers on request; other values become missing."""
    import pandas

    if not convert_numeric:
        return self.infer_objects()
    if self.ndim == 1:
        return pandas.to_numeric(self, errors="coerce")
    return self.apply(
        lambda column: (
            pandas.to_numeric(column, errors="coerce") if column.dtype == object else column
        )
    )


def lookup(self: Any, rows: Any, columns: Any) -> Any:
    """One value for each pair of labels."""
    return self.to_numpy()[self.index.get_indexer(rows), self.columns.get_indexer(columns)]
