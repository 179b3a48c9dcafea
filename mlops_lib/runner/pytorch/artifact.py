"""Save a PyTorch model, load it again, and repeat its evaluations.

The file holds the module as `torch.save` writes it: its weights, and the names of its classes. To
load it, the code of these classes must be importable, as for any pickled module.
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
    """A module with the interface that the runner expects of models, over arrays."""

    is_judged_by_its_calls = True
    """True: the targets of its outputs are known from the script's calls (targets.py)."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.reading: Optional[Reading] = None
        self.session: Optional[Session] = None

    def learn(self, session: Session, reading: Reading) -> None:
        """Set the session and the reading by which its outputs are interpreted."""
        self.session = session
        self.reading = reading

    def as_read(self, model: "Model") -> "Model":
        """Take over the reading of another model; return this model."""
        self.session, self.reading = model.session, model.reading
        return self

    def decision_function(self, x: Any) -> Any:
        """Return the outputs for arrays of examples."""
        return tensors.joined([tensors.array(output) for output in self._raw(x)])

    def predict_proba(self, x: Any) -> Any:
        """Return the outputs as probabilities of the classes."""
        return tensors.joined([tensors.array(self.shares(output)) for output in self._raw(x)])

    def predict(self, x: Any) -> Any:
        """Return the answers: classes, 1 or 0 for yes or no, or numbers."""
        return tensors.joined([tensors.array(self.answers(output)) for output in self._raw(x)])

    def _raw(self, x: Any) -> List[Any]:
        session = self.session
        reading = self.reading
        if session is None or reading is None or not session.calls:
            raise ValueError("how its outputs are read is not known")
        torch = sys.modules["torch"]
        call = session.calls[0]
        outputs = []
        columns = list(x) if isinstance(x, tuple) else [x]
        first = tensors.at((call.args, call.kwargs), call.inputs[0])
        with evaluating(self.module), torch.no_grad():
            # In batches: the arrays may hold all examples, which need not fit at once.
            for start in range(0, len(columns[0]), BATCH):
                part = [
                    torch.from_numpy(column[start : start + BATCH].copy()).to(first.device)
                    for column in columns
                ]
                args, kwargs = tensors.replaced(
                    (call.args, call.kwargs), dict(zip(call.inputs, part))
                )
                outputs.append(tensors.at(self.module(*args, **kwargs), reading.path))
        return outputs

    def answers(self, raw: Any) -> Any:
        assert self.reading is not None
        if self.reading.kind == VALUES:
            return raw
        if self.reading.answer:
            result = ANSWERS[self.reading.answer](raw)
        elif self.reading.kind == BINARY:
            result = raw > self._edge()
        else:
            result = raw.argmax(1)
        # Labels are whole numbers, as the targets are.
        return result.long() if result.dtype == sys.modules["torch"].bool else result

    def _edge(self) -> float:
        """Return the threshold for the raw outputs, before a sigmoid of the script's."""
        assert self.reading is not None
        assert self.session is not None
        loss = self.session.calls[0].loss
        return (
            0.0
            if loss is not None and loss.scores.shape == "sigmoid"
            else float(self.reading.edge or 0.0)
        )

    def shares(self, raw: Any) -> Any:
        assert self.reading is not None
        if self.reading.kind == CLASSES and raw.dim() > 1:
            # The model may end with a softmax of its own.
            is_share = bool(((raw >= 0) & (raw <= 1)).all())
            return raw if is_share else raw.softmax(1)
        return raw if self.reading.edge == 0.5 or self.reading.kind == VALUES else raw.sigmoid()


def of(module: Any) -> Model:
    """Return the `Model` of a module, always the same object."""
    module = plain(module)
    model = _KNOWN.get(id(module))
    if model is None:
        model = _KNOWN[id(module)] = Model(module)
    return model


def forget(module: Any) -> None:
    """Drop the `Model` of a module."""
    _KNOWN.pop(id(plain(module)), None)


@contextlib.contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Put a module and its parts into evaluation mode for a while."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def plain(module: Any) -> Any:
    """Return the module inside wrappers that compile it or spread it over devices."""
    # `nn.Module.__getattr__` is slow to fail for a missing attribute, and this runs at every step.
    attribute = WRAPPERS.get(type(module).__name__)
    inner = None if attribute is None else getattr(module, attribute, None)
    return module if inner is None else plain(inner)


def save(run: Context, model: Model, fit: Optional[int]) -> Dict[str, Any]:
    """Save the module, load it again, and repeat its evaluations on the loaded one.

    Returns:
        The record of the model for the run directory.
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
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
    }
    torch = sys.modules["torch"]
    path = os.path.join(run.spec.inside, protocol.TORCH_MODEL)
    # A crash while writing must not leave half a model under the final name.
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
    # The file was written by this run; its classes are the project's own code.
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
    """Return one line for each layer without sublayers, as PyTorch prints it."""
    lines = [
        f"{name}: {layer!r}" if name else repr(layer).splitlines()[0]
        for name, layer in module.named_modules()
        if not list(layer.children()) and not type(layer).__module__.startswith("torchmetrics")
    ]
    return [line[:200] for line in lines[:LINES]]
