"""Names, methods and arguments of PyTorch 0.x and 1.x, torchvision and torchtext."""

import functools
import inspect
import pickle
from typing import Any, Callable, Dict, Sequence, Tuple

from mlops_lib.runner.compat.arguments import renamed, translated
from mlops_lib.runner.compat.names import GoneError, Names, lend, listed
from mlops_lib.runner.compat.notes import Notes

MODULES: Dict[str, Tuple[Sequence[str], Names]] = {
    "torch._six": (
        (),
        {
            "string_classes": "builtins:str",
            "int_classes": "builtins:int",
            "inf": "math:inf",
            "nan": "math:nan",
            "container_abcs": "collections.abc",
            "queue": "queue",
            "PY3": lambda: True,
            "PY37": lambda: True,
        },
    )
}
_TEXT = (
    "Field LabelField ReversibleField SubwordField NestedField RawField BucketIterator Iterator BPTTIterator TabularDataset"
    " Dataset Example Batch"
)
NAMES: Dict[str, Names] = {
    "torchvision.transforms": listed(
        "Scale=Resize RandomSizedCrop=RandomResizedCrop", "torchvision.transforms"
    )
}
WITH_WEIGHTS = (
    "alexnet",
    "vgg",
    "resnet",
    "densenet",
    "inception",
    "squeezenet",
    "mobilenet",
    "googlenet",
)


def _ended(name: str) -> Any:
    raise GoneError(
        f"torchtext.data.{name} ended with torchtext 0.12: require torchtext==0.6.0, which any PyTorch runs"
    )


def model_urls(module: Any) -> "dict[str, str]":
    """Return the weight URLs of a module's models by model name."""
    enums = [value for name, value in vars(module).items() if name.endswith("_Weights")]
    return {
        item.__name__[: -len("_Weights")].lower(): next(iter(item)).url
        for item in enums
        if list(item)
    }


def hooks(notes: Notes) -> Dict[str, Callable[[Any], None]]:
    """Return functions to call after the import of each of these modules."""

    def torch(module: Any) -> None:
        module.load = _load(module.load, notes)

    def tensors(module: Any) -> None:
        module.Tensor.__rsub__ = _of_masks(module.Tensor.__rsub__, notes)

    def loaders(module: Any) -> None:
        def next_(self: Any) -> Any:
            notes.say("iter(loader).next() is next(iter(loader))")
            return self.__next__()

        if not hasattr(module._BaseDataLoaderIter, "next"):
            module._BaseDataLoaderIter.next = next_

    def schedulers(module: Any) -> None:
        drop = renamed({}, notes, dropped=("verbose",))
        for scheduler in vars(module).values():
            here = isinstance(scheduler, type) and scheduler.__module__ == module.__name__
            own = vars(scheduler).get("__init__") if here else None
            if own is not None and "verbose" not in inspect.signature(own).parameters:
                scheduler.__init__ = translated(own, drop)

    return {
        "torch": torch,
        "torch._tensor": tensors,
        "torch.utils.data.dataloader": loaders,
        "torch.optim.lr_scheduler": schedulers,
        "torchvision.transforms": lambda module: lend(
            module, NAMES["torchvision.transforms"], notes
        ),
        "torchtext.data": lambda module: lend(
            module, {name: functools.partial(_ended, name) for name in _TEXT.split()}, notes
        ),
        **{
            f"torchvision.models.{name}": lambda module: lend(
                module, {"model_urls": functools.partial(model_urls, module)}, notes
            )
            for name in WITH_WEIGHTS
        },
    }


def _load(original: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    """Let `torch.load` read files that hold more than weights, as it did before 2.6."""

    @functools.wraps(original)
    def load(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        except pickle.UnpicklingError as error:
            if "weights_only" in kwargs or "weights_only" not in str(error):
                raise
            source: Any = args[0] if args else kwargs.get("f")
            if hasattr(source, "seek"):
                source.seek(0)
            notes.say("torch.load of more than weights is torch.load(…, weights_only=False) now")
            return original(*args, weights_only=False, **kwargs)

    return load


def _of_masks(original: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    """`1 - mask`, when comparisons gave numbers."""

    @functools.wraps(original)
    def rsub(self: Any, other: Any) -> Any:
        # PyTorch refuses only masks; anything else must not pay for looking at its type.
        try:
            return original(self, other)
        except RuntimeError:
            if str(self.dtype) != "torch.bool":
                raise
        notes.say("1 - mask is ~mask now")
        return original(self.byte(), other)

    return rsub
