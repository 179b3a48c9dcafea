"""Tensors within what a model takes and gives: where they are, and whether two of them are the
same.
"""

from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

Path = Tuple[Any, ...]
"""Where a tensor is: keys, indexes and names of attributes, one after the other."""

MOST_LEAVES = 64
DEPTH = 4


def leaves(value: Any) -> List[Tuple[Path, Any]]:
    """Return the tensors in a tensor, sequence, mapping or data class, each with its path."""
    return list(_leaves(value, (), DEPTH))[:MOST_LEAVES]


def _leaves(value: Any, path: Path, depth: int) -> Iterator[Tuple[Path, Any]]:
    if is_tensor(value):
        yield path, value
    elif depth and isinstance(value, Mapping):
        for key in value:
            yield from _leaves(value[key], (*path, key), depth - 1)
    elif depth and isinstance(value, (list, tuple)):
        for index, one in enumerate(value[:MOST_LEAVES]):
            yield from _leaves(one, (*path, index), depth - 1)
    elif depth and hasattr(type(value), "__dataclass_fields__"):
        for name in type(value).__dataclass_fields__:
            yield from _leaves(getattr(value, name, None), (*path, "." + name), depth - 1)


def at(value: Any, path: Path) -> Any:
    """Return what is at a path.

    Raises:
        LookupError, AttributeError, TypeError: there is nothing.
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
        return {key: replaced(one, new, (*path, key)) for key, one in value.items()}
    if isinstance(value, Mapping):
        return {key: replaced(value[key], new, (*path, key)) for key in value}
    if type(value) in (list, tuple):
        return type(value)(replaced(one, new, (*path, index)) for index, one in enumerate(value))
    return value


def is_tensor(value: Any) -> bool:
    """Return whether it is a tensor with values that can be read."""
    return (
        hasattr(value, "untyped_storage")
        and hasattr(value, "is_sparse")
        and value.layout.__str__() == "torch.strided"
    )


def place(tensor: Any) -> int:
    """Return where a tensor's memory begins; 0 if that cannot be told."""
    try:
        return int(tensor.untyped_storage().data_ptr())
    except (RuntimeError, NotImplementedError):  # a fake or functional tensor
        return 0


def shares(one: Any, other: Any) -> bool:
    """Return whether two tensors lie in the same memory."""
    return one is other or (place(one) == place(other) != 0)


def same_values(one: Any, other: Any) -> bool:
    """Return whether two tensors hold the same values in the same order, whatever their shapes,
    kinds and devices.
    """
    import torch

    if one is other:
        return True
    if one.numel() != other.numel() or not one.numel():
        return False
    left = one.detach().reshape(-1)
    right = other.detach().reshape(-1)
    if left.device != right.device:
        left, right = left.cpu(), right.cpu()
    if left.dtype != right.dtype:
        left, right = left.double(), right.double()
    return bool(torch.equal(left, right))


def array(tensor: Any) -> Any:
    """Return a tensor's values as an array; kinds that numpy does not know as 32-bit floats."""
    value = tensor.detach()
    if str(value.dtype) in ("torch.bfloat16",):
        value = value.float()
    return value.cpu().resolve_conj().resolve_neg().numpy()


def rows(tensors: List[Any], count: int) -> Any:
    """Return tensors as arrays with a row an example, as `digest.hashes` takes them; None if they
    are not aligned.
    """
    arrays = tuple(array(one) for one in tensors)
    if not arrays or any(one.ndim == 0 or len(one) != count for one in arrays):
        return None
    return arrays[0] if len(arrays) == 1 else arrays


def joined(parts: List[Any]) -> Optional[Any]:
    """Return arrays, or tuples of arrays, put together; None if their examples differ in shape."""
    import numpy

    if not parts or any(part is None for part in parts):
        return None
    if isinstance(parts[0], tuple):
        columns = [joined([part[i] for part in parts]) for i in range(len(parts[0]))]
        return None if any(column is None for column in columns) else tuple(columns)
    if any(part.shape[1:] != parts[0].shape[1:] or part.dtype != parts[0].dtype for part in parts):
        return None
    return parts[0] if len(parts) == 1 else numpy.concatenate(parts)
