"""The facts for a patch with the winner: the calls to change, and their arguments."""

from __future__ import annotations

import weakref
from types import ModuleType
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from mlops_lib.runner.context import Context
from mlops_lib.runner.script import call_sites


class Sites:
    """The places at which the script made its modules, optimizers and loaders.

    By identity: metrics, which are modules, have a hash of their own that needs their state.
    """

    def __init__(self) -> None:
        self._found: Dict[int, Tuple[Any, call_sites.Site]] = {}

    def get(self, item: Any) -> Optional[call_sites.Site]:
        """Return the place of an object, None if it is not known."""
        owner, site = self._found.get(id(item), (None, None))
        return site if owner is not None and owner() is item else None

    def note(self, item: Any, root: str) -> None:
        """Note that an object is made by the call under way."""
        if self.get(item) is None:
            site = call_sites.caller(root)
            if site is not None:
                self._found[id(item)] = (weakref.ref(item), site)


SITES = Sites()

SETTINGS: Mapping[str, Any] = {
    "Conv1d": ("in_channels", "out_channels"),
    "Conv2d": ("in_channels", "out_channels"),
    "Linear": ("in_features", "out_features"),
    "BatchNorm1d": ("num_features",),
    "BatchNorm2d": ("num_features",),
    "Embedding": ("embedding_dim",),
    "LSTM": ("input_size", "hidden_size"),
    "GRU": ("input_size", "hidden_size"),
    "RNN": ("input_size", "hidden_size"),
}
"""The settings of layers that edits change."""


def hooks(run: Context) -> Dict[str, Callable[[ModuleType], None]]:
    """Return import hooks that record the creation of modules, optimizers and loaders."""

    def noting(name: str) -> Callable[[ModuleType], None]:
        def hook(module: Any) -> None:
            kind = getattr(module, name)
            plain = kind.__init__

            def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
                if not run.nested:
                    with run.journal.guard("place of a layer"):
                        SITES.note(self, run.work)
                plain(self, *args, **kwargs)

            __init__.__doc__ = plain.__doc__
            __init__.__signature__ = _signature(plain)  # type: ignore[attr-defined]
            kind.__init__ = __init__

        return hook

    return {
        "torch.nn.modules.module": noting("Module"),
        "torch.optim.optimizer": noting("Optimizer"),
        "torch.utils.data.dataloader": noting("DataLoader"),
    }


def _signature(function: Any) -> Any:
    import inspect

    return inspect.signature(function)


class Before:
    """The script's layers before they change."""

    def __init__(self, model: Any) -> None:
        self.modules = list(model.modules())
        self.settings = {id(module): _settings(module) for module in self.modules}
        self.places = {id(module): SITES.get(module) for module in self.modules}
        sites = [str(site) for site in self.places.values() if site is not None]
        self.twice = {text for text in sites if sites.count(text) > 1}

    def changes(self, edited: Any, anchors: Mapping[int, Any]) -> List[Dict[str, Any]]:
        """Return the layers that change, with the new ones beside each.

        Args:
            edited: the module with the winner's layers.
            anchors: for each new layer, by identity, the old one that it was put to.

        Raises:
            ValueError: it cannot be written as changes of single calls.
        """
        added_beside: Dict[int, Dict[str, List[Any]]] = {}
        replaced: Dict[int, str] = {}
        for parent in edited.modules():
            children = list(parent._modules.values())
            for index, child in enumerate(children):
                anchor = anchors.get(id(child))
                if anchor is None:
                    continue
                old = next((i for i, sibling in enumerate(children) if sibling is anchor), None)
                if old is None:
                    replaced[id(anchor)] = type(child).__name__
                    continue
                side = "before" if index < old else "after"
                sides = added_beside.setdefault(id(anchor), {"before": [], "after": []})
                sides[side].append(_described(child))
        changes = []
        for module in self.modules:
            now = _settings(module)
            values = {k: v for k, v in now.items() if self.settings[id(module)].get(k) != v}
            sides = added_beside.get(id(module), {})
            kind = replaced.get(id(module), "")
            if not values and not sides and not kind:
                continue
            site = self.places[id(module)]
            # A patch changes the arguments of one call, so a call in a loop cannot be changed for
            # one of its layers.
            if site is None or str(site) in self.twice:
                raise ValueError("one line makes several of the layers that change")
            change = {"site": site, "class": type(module).__name__, "values": values}
            changes.append({**change, **sides, "to": kind})
        return changes


def _settings(module: Any) -> Dict[str, Any]:
    names = SETTINGS.get(type(module).__name__, ())
    return {name: int(getattr(module, name)) for name in names}


def _described(layer: Any) -> Dict[str, Any]:
    """Return a new layer as its class and arguments."""
    kind = type(layer).__name__
    if kind.startswith("Conv"):
        args = [layer.in_channels, layer.out_channels, int(layer.kernel_size[0])]
        return {"class": kind, "args": args, "options": {"padding": int(layer.padding[0])}}
    if kind == "Linear":
        return {"class": kind, "args": [layer.in_features, layer.out_features]}
    if kind.startswith("BatchNorm"):
        return {"class": kind, "args": [layer.num_features]}
    if kind.startswith("MaxPool"):
        return {"class": kind, "args": [layer.kernel_size]}
    return {"class": kind, "args": [layer.p] if kind == "Dropout" else []}


def training_changes(trained: Any, recipe: Any, own: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the changes to optimizer, loop, loader and loss.

    Args:
        trained: the training (`recipe.Trained`).
        recipe: the winner's.
        own: `optimizer`, the class of the script's own one, and `rate`.
    """
    facts: Dict[str, Any] = {"calls": []}
    values: Dict[str, Any] = {}
    if recipe.rate is not None or recipe.optimizer:
        values["lr"] = recipe.rate if recipe.rate is not None else own["rate"]
    if recipe.decay is not None:
        values["weight_decay"] = recipe.decay
    if values:
        facts["optimizer"] = {
            "site": SITES.get(trained.optimizer),
            "class": own["optimizer"],
            "to": recipe.optimizer,
            "values": values,
        }
    if recipe.batch_size is not None:
        for loader in trained.loaders:
            change = {"class": "DataLoader", "values": {"batch_size": recipe.batch_size}}
            facts["calls"].append({"site": SITES.get(loader), **change})
    if recipe.smoothing is not None:
        for criterion in trained.criteria:
            change = {
                "class": "CrossEntropyLoss",
                "values": {"label_smoothing": recipe.smoothing},
            }
            facts["calls"].append({"site": SITES.get(criterion), **change})
    if recipe.epochs is not None or recipe.schedule:
        file, line, _ = trained.loop.site.rsplit(":", 2)
        facts["loop"] = {"site": {"file": file, "line": int(line)}, "epochs": recipe.epochs}
        if recipe.schedule:
            facts["loop"].update(cosine=_name_of(trained), count=trained.epochs)
            if trained.schedulers:
                facts["unpatchable"] = "the script has a schedule of its own"
    return facts


def _name_of(trained: Any) -> Optional[str]:
    """Return the variable of the loop's frame that holds the optimizer, or ""."""
    for name, value in trained.loop.frame.f_locals.items():
        if value is trained.optimizer:
            return str(name)
    return ""
