"""Find, replace and compare tensors within the arguments and outputs of models."""

from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

Path = Tuple[Any, ...]
"""The location of a tensor: keys, indexes and attribute names, one after the other."""

MOST_LEAVES = 64
DEPTH = 4


def leaves(value: Any) -> List[Tuple[Path, Any]]:
    """Return the tensors in a tensor, sequence, mapping or data class, with paths."""
    return list(_leaves(value, (), DEPTH))[:MOST_LEAVES]


def _leaves(value: Any, path: Path, depth: int) -> Iterator[Tuple[Path, Any]]:
    if is_tensor(value):
        yield path, value
    elif depth and isinstance(value, Mapping):
        for key in value:
            yield from _leaves(value[key], (*path, key), depth - 1)
    elif depth and isinstance(value, (list, tuple)):
        for index, element in enumerate(value[:MOST_LEAVES]):
            yield from _leaves(element, (*path, index), depth - 1)
    # Such as Hugging Face's ModelOutput.
    elif depth and hasattr(type(value), "__dataclass_fields__"):
        for name in type(value).__dataclass_fields__:
            yield from _leaves(getattr(value, name, None), (*path, "." + name), depth - 1)


def at(value: Any, path: Path) -> Any:
    """Return the value at a path.

    Raises:
        LookupError, AttributeError, TypeError: there is none.
    """
    for step in path:
        is_attribute = (
            isinstance(step, str) and step.startswith(".") and not isinstance(value, Mapping)
        )
        value = getattr(value, step[1:]) if is_attribute else value[step]
    return value


def replaced(value: Any, new: Dict[Path, Any], path: Path = ()) -> Any:
    """Return a copy of arguments with other tensors at some paths."""
    if path in new:
        return new[path]
    if isinstance(value, dict):
        return {key: replaced(value_, new, (*path, key)) for key, value_ in value.items()}
    if isinstance(value, Mapping):
        return {key: replaced(value[key], new, (*path, key)) for key in value}
    # Subclasses (named tuples) take other arguments, and stay as they are.
    if type(value) in (list, tuple):
        return type(value)(
            replaced(value_, new, (*path, index)) for index, value_ in enumerate(value)
        )
    return value


def is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor whose numbers can be read."""
    return (
        hasattr(value, "untyped_storage")
        and hasattr(value, "is_sparse")
        and value.layout.__str__() == "torch.strided"
    )


def place(tensor: Any) -> int:
    """Return the address of a tensor's memory; 0 if it has none."""
    try:
        return int(tensor.untyped_storage().data_ptr())
    except (RuntimeError, NotImplementedError):  # a fake or functional tensor
        return 0


def shares(first: Any, second: Any) -> bool:
    """Return whether two tensors share memory."""
    return first is second or (place(first) == place(second) != 0)


def same_values(first: Any, second: Any) -> bool:
    """Return whether two tensors hold the same values in the same order.

    Shapes, dtypes and devices may differ.
    """
    import torch

    if first is second:
        return True
    if first.numel() != second.numel() or not first.numel():
        return False
    left = first.detach().reshape(-1)
    right = second.detach().reshape(-1)
    if left.device != right.device:
        left, right = left.cpu(), right.cpu()
    # Targets are often int64 and predictions float32.
    if left.dtype != right.dtype:
        left, right = left.double(), right.double()
    return bool(torch.equal(left, right))


def array(tensor: Any) -> Any:
    """Return a tensor's values as an array; bfloat16, which NumPy lacks, as float32."""
    value = tensor.detach()
    # NumPy has no bfloat16; float32 holds all its values.
    if str(value.dtype) in ("torch.bfloat16",):
        value = value.float()
    return value.cpu().resolve_conj().resolve_neg().numpy()


def rows(tensors: List[Any], count: int) -> Any:
    """Return tensors as arrays with one row an example, None if they are not aligned.

    It is the form that `example_hashes.hashes` takes.
    """
    arrays = tuple(array(part) for part in tensors)
    if not arrays or any(part.ndim == 0 or len(part) != count for part in arrays):
        return None
    return arrays[0] if len(arrays) == 1 else arrays


def joined(parts: List[Any]) -> Optional[Any]:
    """Return arrays, or tuples of arrays, concatenated; None if row shapes differ."""
    import numpy

    if not parts or any(part is None for part in parts):
        return None
    if isinstance(parts[0], tuple):
        columns = [joined([part[i] for part in parts]) for i in range(len(parts[0]))]
        return None if any(column is None for column in columns) else tuple(columns)
    if any(part.shape[1:] != parts[0].shape[1:] or part.dtype != parts[0].dtype for part in parts):
        return None
    return parts[0] if len(parts) == 1 else numpy.concatenate(parts)
