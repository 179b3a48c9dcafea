"""A PyTorch model as a file that was loaded again and gives the same number.

The file holds the module as `torch.save` writes it: its weights, and the names of its classes.
Whoever loads it needs the code that these names are of, as with any pickle of a module.
"""

import contextlib
import os
import sys
from typing import Any, Dict, Iterator, List, Optional

from mlops_lib.runner import protocol
from mlops_lib.runner.context import Context
from mlops_lib.runner.pytorch import tensors
from mlops_lib.runner.pytorch.measures import Reading
from mlops_lib.runner.pytorch.readings import ANSWERS, BINARY, CLASSES, VALUES
from mlops_lib.runner.pytorch.sessions import Session
from mlops_lib.runner.state import atomic

BATCH = 256
LINES = 400
WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
}
"""Classes that compile a module or spread it over devices, and their attribute that holds it."""
_KNOWN: Dict[int, "Model"] = {}
"""Modules by their identity; `forget` lets go of them."""


class Model:
    """A module as the rest of the runner looks at models: `predict` and its like, for arrays."""

    is_judged_by_its_calls = True
    """What the script compared its outputs with is known without guessing (targets.py)."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.reading: Optional[Reading] = None
        self.session: Optional[Session] = None

    def learn(self, session: Session, reading: Reading) -> None:
        """Note how its outputs are read."""
        self.session = session
        self.reading = reading

    def as_read(self, other: "Model") -> "Model":
        """Read the outputs as those of another model are read; returns itself."""
        self.session, self.reading = other.session, other.reading
        return self

    def decision_function(self, x: Any) -> Any:
        """Return the outputs for arrays of examples."""
        return tensors.joined([tensors.array(one) for one in self._raw(x)])

    def predict_proba(self, x: Any) -> Any:
        """Return the outputs as shares of the classes."""
        return tensors.joined([tensors.array(self.shares(one)) for one in self._raw(x)])

    def predict(self, x: Any) -> Any:
        """Return the answers: classes, yes or no as 1 or 0, or numbers."""
        return tensors.joined([tensors.array(self.answers(one)) for one in self._raw(x)])

    def _raw(self, x: Any) -> List[Any]:
        session = self.session
        reading = self.reading
        if session is None or reading is None or not session.kept:
            raise ValueError("how its outputs are read is not known")
        torch = sys.modules["torch"]
        kept = session.kept[0]
        found = []
        columns = list(x) if isinstance(x, tuple) else [x]
        first = tensors.at((kept.args, kept.kwargs), kept.inputs[0])
        with evaluating(self.module), torch.no_grad():
            for start in range(0, len(columns[0]), BATCH):
                part = [
                    torch.from_numpy(one[start : start + BATCH].copy()).to(first.device)
                    for one in columns
                ]
                args, kwargs = tensors.replaced(
                    (kept.args, kept.kwargs), dict(zip(kept.inputs, part))
                )
                found.append(tensors.at(self.module(*args, **kwargs), reading.path))
        return found

    def answers(self, raw: Any) -> Any:
        assert self.reading is not None
        if self.reading.kind == VALUES:
            return raw
        if self.reading.answer:
            made = ANSWERS[self.reading.answer](raw)
        elif self.reading.kind == BINARY:
            made = raw > self._edge()
        else:
            made = raw.argmax(1)
        return made.long() if made.dtype == sys.modules["torch"].bool else made

    def _edge(self) -> float:
        """Return the bound of yes for the outputs themselves: the loss may have been given their
        sigmoid.
        """
        assert self.reading is not None
        assert self.session is not None
        loss = self.session.kept[0].loss
        return (
            0.0
            if loss is not None and loss.scores.shape == "sigmoid"
            else float(self.reading.edge or 0.0)
        )

    def shares(self, raw: Any) -> Any:
        assert self.reading is not None
        if self.reading.kind == CLASSES and raw.dim() > 1:
            is_share = bool(((raw >= 0) & (raw <= 1)).all())
            return raw if is_share else raw.softmax(1)
        return raw if self.reading.edge == 0.5 or self.reading.kind == VALUES else raw.sigmoid()


def of(module: Any) -> Model:
    """Return a module as the rest of the runner looks at it, always the same object."""
    module = plain(module)
    known = _KNOWN.get(id(module))
    if known is None:
        known = _KNOWN[id(module)] = Model(module)
    return known


def forget(module: Any) -> None:
    """Let go of a module."""
    _KNOWN.pop(id(plain(module)), None)


@contextlib.contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Put a module and its parts into evaluation mode for a while."""
    modes = [(one, one.training) for one in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for one, mode in modes:
            one.training = mode


def plain(module: Any) -> Any:
    """Return the module itself: not its compiled form, nor what spreads it over devices."""
    # A module is slow to say that it has no such attribute, and this is asked at every step.
    attribute = WRAPPERS.get(type(module).__name__)
    inner = None if attribute is None else getattr(module, attribute, None)
    return module if inner is None else plain(inner)


def save(run: Context, model: Model, fit: Optional[int]) -> Dict[str, Any]:
    """Save the module into the run directory, load it again, and repeat its evaluations on what was
    loaded.
    """
    module = plain(model.module)
    described: Dict[str, Any] = {
        "path": protocol.TORCH_MODEL,
        "framework": "pytorch",
        "fit": fit,
        "class": type(module).__name__,
        "reloaded": False,
        "note": "",
        "architecture": architecture(module),
        "parameters": sum(one.numel() for one in module.parameters()),
    }
    torch = sys.modules["torch"]
    path = os.path.join(run.spec.inside, protocol.TORCH_MODEL)
    temporary = os.path.join(run.spec.inside, "." + protocol.TORCH_MODEL)
    try:
        torch.save(module, temporary)
        os.replace(temporary, path)
        described.update(bytes=os.path.getsize(path), sha256=atomic.digest(path))
    except Exception as error:  # noqa: BLE001 - a user's own module may fail to pickle in any way
        described.update(
            path=None, note=f"the model cannot be saved: {type(error).__name__}: {error}"[:1000]
        )
        _save_weights(run, module, described)
        return described
    try:
        loaded = load(path).as_read(model)
    except Exception as error:  # noqa: BLE001 - as above
        described["note"] = f"the saved model cannot be loaded: {type(error).__name__}: {error}"[
            :1000
        ]
        _save_weights(run, module, described)
        return described
    described["reloaded"] = True
    run.evaluations.remeasure(loaded, model)
    return described


def load(path: str) -> Model:
    """Return the model in a file that `save` wrote; it needs the code of its classes."""
    torch = sys.modules["torch"]
    module = torch.load(path, weights_only=False)
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"{os.path.basename(path)} holds a {type(module).__name__}, no module")
    return Model(module)


def _save_weights(run: Context, module: Any, described: Dict[str, Any]) -> None:
    with run.journal.guard("save weights"):
        sys.modules["torch"].save(
            module.state_dict(), os.path.join(run.spec.inside, "model.weights.pt")
        )
        described["weights"] = "model.weights.pt"


def architecture(module: Any) -> List[str]:
    """Return one line a layer that has no layers in it, as PyTorch names it."""
    lines = [
        f"{name}: {one!r}" if name else repr(one).splitlines()[0]
        for name, one in module.named_modules()
        if not list(one.children()) and not type(one).__module__.startswith("torchmetrics")
    ]
    return [line[:200] for line in lines[:LINES]]
