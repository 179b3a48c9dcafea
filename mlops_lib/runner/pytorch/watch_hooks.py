"""Report a script's use of PyTorch to the `Watch`.

Each wrapper calls the original first and returns its result, so that the script sees no difference.
It looks at the tensors only during an evaluation, or until the comparison of a training model's
output is known.
"""

import functools
import inspect
import sys
import weakref
from types import ModuleType
from typing import Any, Callable, Dict

from mlops_lib.runner.pytorch import readings
from mlops_lib.runner.pytorch.watch import Watch

Hook = Callable[[ModuleType], None]


def hooks(watch: Watch) -> Dict[str, Hook]:
    """Return the import hooks."""
    plain: Dict[str, Any] = {}
    """The original loss functions."""

    def modules(module: Any) -> None:
        module.Module.__call__ = _watched_call(watch, module.Module.__call__)

    def functional(module: Any) -> None:
        for name in readings.KIND_OF_LOSS:
            if hasattr(module, name):
                plain[name] = getattr(module, name)
                setattr(module, name, _watched_loss(watch, name, plain[name]))

    def scripting(module: Any) -> None:
        module.script = _with_plain_losses(plain, module.script)

    def torch(module: Any) -> None:
        # Operators are looked up on the class, functions on the module: scripts use either.
        for owner, names, kind in (
            (module.Tensor, ("__eq__", "eq", "__ne__", "ne"), "equal"),
            (module, ("eq", "ne"), "equal"),
            (module.Tensor, ("__sub__", "sub"), "difference"),
            (module, ("sub",), "difference"),
        ):
            for name in names:
                setattr(owner, name, _watched_operator(watch, kind, getattr(owner, name)))
        for owner in (module.Tensor, module):
            owner.all = _watched_all(watch, owner.all)

    def loaders(module: Any) -> None:
        # `_reset` begins another pass of an iterator with persistent workers.
        base = module._BaseDataLoaderIter
        base.__init__ = _watched_start(watch, base.__init__)
        base._reset = _watched_start(watch, base._reset)
        base.__next__ = _watched_next(watch, base.__next__)

    return {
        "torch.nn.modules.module": modules,
        "torch.nn.functional": functional,
        "torch": torch,
        "torch.utils.data.dataloader": loaders,
        "torch.jit._script": scripting,
    }


def _watched_call(watch: Watch, plain: Callable[..., Any]) -> Callable[..., Any]:
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807 - what Python calls
        # Within a call of a model nothing else is asked, not even of a compiler: it sees depth 1.
        if watch.depth or _is_traced() or watch.run.nested or watch.busy or _is_measure(self):
            return plain(self, *args, **kwargs)
        grad = bool(sys.modules["torch"].is_grad_enabled())
        watch.calls(self, grad=grad)
        try:
            output = plain(self, *args, **kwargs)
        finally:
            watch.depth = 0
        if grad and self.training and watch.is_settled(self):
            watch.called_again(self)
        else:
            watch.quietly(watch.called, self, args, kwargs, output, grad)
        return output

    functools.update_wrapper(__call__, plain)
    return __call__


def _is_measure(module: Any) -> bool:
    """Return whether a module compares outputs with targets, and is no model."""
    kind = type(module).__module__
    return kind == "torch.nn.modules.loss" or kind.startswith("torchmetrics")


def _is_traced() -> bool:
    """Return whether a compiler looks at the code instead of running it."""
    torch = sys.modules["torch"]
    compiler = getattr(torch, "compiler", None)
    if compiler is not None and compiler.is_compiling():
        return True
    # `torch.jit.trace` records all operations, those of an observer too.
    return torch._C._get_tracing_state() is not None


def _watched_loss(watch: Watch, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    names = list(inspect.signature(plain).parameters)

    @functools.wraps(plain)
    def loss(*args: Any, **kwargs: Any) -> Any:
        value = plain(*args, **kwargs)
        if _is_traced() or watch.busy:  # a compiler must not depend on what is watched
            return value
        if watch.wants_inside if watch.depth else watch.is_looking:
            watch.quietly(_note_loss, watch, name, {**dict(zip(names, args)), **kwargs}, value)
        return value

    return loss


def _note_loss(watch: Watch, name: str, arguments: Dict[str, Any], value: Any) -> None:
    options = {
        key: value_
        for key, value_ in arguments.items()
        if key not in ("input", "target") and value_ is not None
    }
    watch.compared(name, arguments.get("input"), arguments.get("target"), options, value)


def _with_plain_losses(plain: Dict[str, Any], script: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `torch.jit.script`: it compiles the sources of the original losses."""

    @functools.wraps(script)
    def script_(*args: Any, **kwargs: Any) -> Any:
        functional = sys.modules["torch.nn.functional"]
        watched = {name: getattr(functional, name) for name in plain}
        vars(functional).update(plain)
        try:
            return script(*args, **kwargs)
        finally:
            vars(functional).update(watched)

    return script_


def _watched_operator(watch: Watch, kind: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def operator(*args: Any, **kwargs: Any) -> Any:
        result = plain(*args, **kwargs)
        if len(args) == 2 and hasattr(args[1], "numel") and not _is_traced() and watch.is_looking:
            watch.quietly(watch.compared, kind, args[0], args[1], {}, result)
        return result

    return operator


def _watched_all(watch: Watch, plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def all_(*args: Any, **kwargs: Any) -> Any:
        if args and (len(args) > 1 or kwargs) and not _is_traced() and watch.is_looking:
            # `(prediction == target).all(1)`: an example counts as right if all of its values are.
            any(call.join(args[0]) for call in watch.open)
        return plain(*args, **kwargs)

    return all_


def _watched_start(watch: Watch, plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def start(self: Any, loader: Any, *args: Any, **kwargs: Any) -> None:
        plain(self, loader, *args, **kwargs)
        # A number, not the iterator: another process continues with the same numbers.
        self._mlops_pass = (watch.next_iterator(), weakref.ref(loader))

    return start


def _nothing() -> None:
    return None


def _watched_next(watch: Watch, plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def next_(self: Any) -> Any:
        number, loader = getattr(self, "_mlops_pass", (None, _nothing))
        try:
            data = plain(self)
        except StopIteration:
            if number is not None:
                watch.quietly(watch.ended, number)
            raise
        if number is not None and not watch.run.nested and not watch.busy:
            # Closing calls compares tensors, which must not be observed in turn.
            if watch.open:
                watch.quietly(watch.gave, number, loader(), data)
            else:
                watch.gave(number, loader(), data)
        return data

    return next_
