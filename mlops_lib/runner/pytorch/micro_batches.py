"""Compute batches in parts, for a run that ran out of memory.

The call of a model is split along its examples. The parts are computed one after the other without
the activations that a backward pass needs, and their outputs are concatenated; the script continues
with these. When the loss goes backward, each part is computed again, and its gradients are added
to those of the parts before. This is gradient accumulation with activation checkpointing (Chen et
al. 2016, "Training Deep Nets with Sublinear Memory Cost") inside one step of the script, so that
the effective batch, the number of steps, schedules and counters do not change.

Whether the examples of a batch are independent is tried once for each model and kind of input:
examples are exchanged, and the outputs of the others must not change. Batch normalization sees
parts, so that the result differs from that of the whole batch; the run warns about it.
"""

import contextlib
import importlib
import math
import os
import sys
import weakref
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from mlops_lib.runner.context import Context
from mlops_lib.runner.script import execution
from mlops_lib.runner.state import atomic

PARTS = 4
"""The number of parts at first; doubled whenever a part does not fit either."""
TRIED = 4
"""The number of examples by which their independence is tried."""
TOLERANCE = 1e-3

Hook = Callable[[ModuleType], None]


class UnsplittableError(Exception):
    """A batch cannot be computed in parts."""


class Rule(NamedTuple):
    """The combination of the parts' outputs.

    Attributes:
        why: the reason why they cannot be combined; "" if they can.
        is_summed: whether a single number in the output is the sum over the examples; else it is
            their mean.
    """

    why: str = ""
    is_summed: bool = False


class MicroBatches:
    """Splits the calls of the outermost modules.

    Args:
        run: the run.
    """

    def __init__(self, run: Context) -> None:
        self._run = run
        self._is_within = False
        self._path = os.path.join(run.spec.inside, "fits", "micro_batches.json")
        stored = atomic.read_json(self._path)
        self._parts = stored if isinstance(stored, int) and stored > PARTS else PARTS
        self._largest = 0
        """Examples of the largest batch that was computed in parts."""
        self._rules: "weakref.WeakKeyDictionary[Any, Dict[Any, Rule]]" = weakref.WeakKeyDictionary()
        """Model and kind of input to how the parts are put together."""
        self._notes: Set[str] = set()

    def hooks(self) -> Dict[str, Hook]:
        """Return the import hooks."""

        def modules(module: Any) -> None:
            plain = module.Module.__call__

            def __call__(self_: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807 - Python's name
                # Only outermost calls are split: a submodule sees parts already.
                if self._is_within or self._run.nested or _is_compiled_now():
                    return plain(self_, *args, **kwargs)
                self._is_within = True
                call = self._call if _torch().is_grad_enabled() else self._evaluate
                try:
                    return call(plain, self_, args, kwargs)
                finally:
                    self._is_within = False

            module.Module.__call__ = __call__

        return {"torch.nn.modules.module": modules}

    def failed(self, error: BaseException) -> None:
        """Let another process continue with smaller parts if a backward pass did not fit."""
        if execution.is_out_of_memory(error) and self._parts < self._largest:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            atomic.write_json(self._path, min(self._parts * PARTS, self._largest))
            self._run.restart_process(
                f"the memory was not enough for {self._parts} parts of a batch either"
            )

    def _call(self, plain: Callable[..., Any], model: Any, args: Any, kwargs: Any) -> Any:
        batch = Batch(args, kwargs)
        if next(model.parameters(), None) is None or batch.size < 2:
            return plain(model, *args, **kwargs)
        rule = self._rule(plain, model, batch)
        if rule.why:
            return plain(model, *args, **kwargs)
        while True:
            # Batch normalization cannot train on a single example, so a part has at least two.
            size = max(_smallest(model), math.ceil(batch.size / self._parts))
            if size >= batch.size:
                return plain(model, *args, **kwargs)
            self._largest = max(self._largest, batch.size)
            # Dropout masks are drawn again if a part fails and the batch is repeated in smaller
            # parts.
            states = _random_states()
            try:
                return self._in_parts(plain, model, batch, size, rule)
            except Exception as error:  # the script's own is raised again by the whole batch
                if execution.is_out_of_memory(error) and size <= _smallest(model):
                    raise
                _put_random_states(states)
                if not execution.is_out_of_memory(error):
                    self._rules[model][batch.kinds] = Rule(_why(error))
                    self._refuse(_why(error))
                    return plain(model, *args, **kwargs)
                self._parts *= 2
                self._note(f"a part did not fit either: {self._parts} parts a batch from here on")

    def _evaluate(self, plain: Callable[..., Any], model: Any, args: Any, kwargs: Any) -> Any:
        """Call a model without gradients: as a whole if it fits, else in parts."""
        states = _random_states()
        try:
            return plain(model, *args, **kwargs)
        except Exception as error:
            if not execution.is_out_of_memory(error):
                raise
        _put_random_states(states)
        return self._call(plain, model, args, kwargs)

    def _rule(self, plain: Callable[..., Any], model: Any, batch: "Batch") -> Rule:
        rules = self._rules.setdefault(model, {})
        if batch.kinds not in rules:
            rule = rules[batch.kinds] = self._try(plain, model, batch)
            if rule.why:
                self._refuse(rule.why)
            else:
                self._announce(model)
        return rules[batch.kinds]

    def _try(self, plain: Callable[..., Any], model: Any, batch: "Batch") -> Rule:
        # Each forward pass there prepares one reduction of gradients between processes.
        if type(model).__name__ in ("DistributedDataParallel", "FullyShardedDataParallel"):
            return Rule("it is trained by several processes")
        if batch.has_unknown:
            return Rule("its inputs are not tensors alone")
        states = _random_states()
        try:
            with _unchanged(model):
                return _find_rule(
                    lambda arguments: plain(model, *arguments[0], **arguments[1]), batch
                )
        except Exception as error:  # noqa: BLE001 - a model may refuse few examples in any way
            return Rule(_why(error))
        finally:
            _put_random_states(states)

    def _in_parts(
        self, plain: Callable[..., Any], model: Any, batch: "Batch", size: int, rule: Rule
    ) -> Any:
        torch = _torch()
        is_trained = torch.is_grad_enabled()
        outputs = []
        for begin in range(0, batch.size, size):
            args, kwargs = batch.part(slice(begin, begin + size))
            if is_trained:
                outputs.append(self._kept_as_inputs(plain, model, args, kwargs))
            else:
                outputs.append(plain(model, *args, **kwargs))
        sizes = [min(size, batch.size - begin) for begin in range(0, batch.size, size)]
        return joined(outputs, sizes, is_summed=rule.is_summed)

    def _kept_as_inputs(self, plain: Callable[..., Any], model: Any, args: Any, kwargs: Any) -> Any:
        """Compute a part and keep only its inputs; the backward pass computes it again."""
        checkpoints = importlib.import_module("torch.utils.checkpoint")
        return checkpoints.checkpoint(
            plain,
            model,
            *args,
            # The reentrant variant takes no keyword arguments, and needs an input with gradients.
            use_reentrant=False,
            # The first context surrounds the forward pass, the second its recomputation.
            context_fn=lambda: (contextlib.nullcontext(), self._recomputing(model)),
            **kwargs,
        )

    @contextlib.contextmanager
    def _recomputing(self, model: Any) -> Iterator[None]:
        """Hide a second computation from the observers, and undo its effect on buffers."""
        copies = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
        was_within = self._is_within
        self._is_within = True
        self._run.nested += 1
        try:
            yield
        finally:
            for buffer, value in copies:
                buffer.data.copy_(value)  # what autograd has saved of it stays valid
            self._run.nested -= 1
            self._is_within = was_within

    def _announce(self, model: Any) -> None:
        normalizes = any("BatchNorm" in type(module).__name__ for module in model.modules())
        self._note(
            f"the memory was not enough before: each batch of {type(model).__name__} is computed in"
            f" {self._parts} parts whose gradients are accumulated to one update of the same"
            " effective batch; the result is not guaranteed identical to that of a run with more"
            " memory"
            + (
                ", and not exact: batch normalization sees each part on its own"
                if normalizes
                else ""
            )
        )

    def _refuse(self, why: str) -> None:
        self._note(
            "the memory was not enough before, and a batch cannot be computed in parts:"
            f" {why}; make the batches smaller, or give more memory"
        )

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.add(text)
            self._run.journal.warn(text)


class Batch:
    """The arguments of a call, split into those with one row an example and others.

    Args:
        args: the positional arguments.
        kwargs: the keyword arguments.

    Attributes:
        size: the number of examples.
    """

    def __init__(self, args: Any, kwargs: Any) -> None:
        self._leaves, self._spec = _tree().tree_flatten((args, kwargs))
        rows = [len(leaf) for leaf in self._leaves if _has_rows(leaf)]
        self.size = rows[0] if rows else 0
        self._split = [_has_rows(leaf) and len(leaf) == self.size for leaf in self._leaves]

    @property
    def has_unknown(self) -> bool:
        """Return whether an argument may hold examples but cannot be split."""
        plain = (type(None), bool, int, float, str, _torch().Tensor, _torch().dtype)
        return not all(isinstance(leaf, plain) for leaf in self._leaves)

    @property
    def kinds(self) -> Tuple[Any, ...]:
        """The dimensions and types of the arguments, which distinguish kinds of input."""
        return tuple(
            (leaf.dim(), leaf.dtype) if hasattr(leaf, "dim") else type(leaf)
            for leaf in self._leaves
        )

    def part(self, rows: Any) -> Any:
        """Return (args, kwargs) of some examples.

        Args:
            rows: a slice or a list of indices.
        """
        leaves = [
            leaf[rows] if is_split else leaf for leaf, is_split in zip(self._leaves, self._split)
        ]
        return _tree().tree_unflatten(leaves, self._spec)


def joined(outputs: List[Any], sizes: List[int], *, is_summed: bool) -> Any:
    """Return the output for a whole batch.

    Args:
        outputs: the outputs of its parts.
        sizes: the number of examples of each part.
        is_summed: whether single numbers are sums over the examples.

    Raises:
        UnsplittableError: an output holds something else than rows and single numbers.
    """
    tree = _tree()
    flat = [tree.tree_flatten(output) for output in outputs]
    return tree.tree_unflatten(
        [
            _joined_leaf(list(leaves), sizes, is_summed=is_summed)
            for leaves in zip(*(leaves for leaves, _ in flat))
        ],
        flat[0][1],
    )


def _joined_leaf(leaves: List[Any], sizes: List[int], *, is_summed: bool) -> Any:
    torch = _torch()
    first = leaves[0]
    if not isinstance(first, torch.Tensor):
        if first is None or isinstance(first, (bool, int, float, str)):
            return first
        raise UnsplittableError(f"its output holds a {type(first).__name__}")
    if all(_has_rows(leaf) and len(leaf) == size for leaf, size in zip(leaves, sizes)):
        return torch.cat(leaves)
    if first.dim() or not first.is_floating_point():
        raise UnsplittableError("its output does not have one row an example")
    if is_summed:
        return sum(leaves[1:], first)
    total = sum(sizes)
    return sum(leaf * (size / total) for leaf, size in zip(leaves, sizes))


def _find_rule(call: Callable[[Any], Any], batch: Batch) -> Rule:
    """Return how the parts combine, after a trial with a few examples.

    Raises:
        UnsplittableError: the examples are not independent.
    """
    count = min(TRIED, batch.size) // 2 * 2
    half = count // 2
    first = list(range(half))
    second = list(range(half, count))
    states = _random_states()
    results = []
    # If the examples are independent, replacing the one half leaves the outputs of the other.
    for rows in (first + second, first + first, second + second, first, second):
        _put_random_states(states)
        results.append(_tree().tree_flatten(call(batch.part(rows)))[0])
    joint, only_first, only_second, half_first, half_second = results
    is_summed: Optional[bool] = None
    for leaves in zip(joint, only_first, only_second, half_first, half_second):
        if not isinstance(leaves[0], _torch().Tensor):
            continue
        if not leaves[0].dim():
            is_summed = _is_sum(leaves[0], leaves[3], leaves[4])
            continue
        if [len(leaf) for leaf in leaves] != [count, count, count, half, half]:
            raise UnsplittableError("its output does not have one row an example")
        if not _is_close(leaves[0][:half], leaves[1][:half]) or not _is_close(
            leaves[0][half:], leaves[2][half:]
        ):
            raise UnsplittableError("what it answers to an example depends on the others")
    return Rule(is_summed=bool(is_summed))


def _is_sum(joint: Any, first: Any, second: Any) -> bool:
    if _is_close(joint, (first + second) / 2):
        return False
    if _is_close(joint, first + second):
        return True
    raise UnsplittableError("its loss is neither the mean nor the sum over the examples")


def _is_close(value: Any, reference: Any) -> bool:
    if not value.is_floating_point():
        return bool((value == reference).all())
    # The tolerance is relative to the largest value: parts change the order of summation.
    scale = float(value.detach().abs().max()) if value.numel() else 0.0
    torch = _torch()
    return bool(
        torch.allclose(value, reference, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True)
    )


@contextlib.contextmanager
def _unchanged(model: Any) -> Iterator[None]:
    """Call a model in evaluation mode, and restore its modules afterwards."""
    # `eval` and a forward pass may set attributes, such as caches.
    before = [(module, dict(vars(module))) for module in model.modules()]
    buffers = [(module, dict(module._buffers)) for module, _ in before]
    model.eval()
    try:
        with _torch().no_grad():
            yield
    finally:
        for module, attributes in before:
            vars(module).clear()
            vars(module).update(attributes)
        for module, values in buffers:
            module._buffers.update(values)


def _smallest(model: Any) -> int:
    """Return the least number of examples in a part."""
    return 2 if any("BatchNorm" in type(module).__name__ for module in model.modules()) else 1


def _why(error: Exception) -> str:
    if isinstance(error, UnsplittableError):
        return str(error)
    return f"{type(error).__name__}: {error}"[:200]


def _has_rows(value: Any) -> bool:
    return isinstance(value, _torch().Tensor) and value.dim() > 0


def _random_states() -> Any:
    torch = _torch()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.get_rng_state(), devices


def _put_random_states(states: Any) -> None:
    torch = _torch()
    torch.set_rng_state(states[0])
    if states[1]:
        torch.cuda.set_rng_state_all(states[1])


def _is_compiled_now() -> bool:
    torch = _torch()
    compiler = getattr(torch, "compiler", None)
    if compiler is not None and compiler.is_compiling():
        return True
    return torch._C._get_tracing_state() is not None


def _torch() -> Any:
    return sys.modules["torch"]


def _tree() -> Any:
    return importlib.import_module("torch.utils._pytree")


def install(run: Context, training: Any) -> Dict[str, Hook]:
    """Return the import hooks; none unless this attempt must use less memory."""
    if not run.spec.smaller:
        return {}
    batches = MicroBatches(run)
    run.on_error.append(batches.failed)
    return batches.hooks()
