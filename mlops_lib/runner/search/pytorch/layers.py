"""Edits of a module's layers, on the module itself.

A layer that becomes wider is initialised again in place, and the layers that read it follow: the
module is called once on a few examples, which shows the shapes of their inputs. Only the order of
the calls has to be known, not the code of `forward`. A new layer is inserted into a Sequential, or
shares the place of an old one: `self.conv1` becomes a Sequential that begins with it. An edit whose
call fails, or whose output has another shape, is no candidate.
"""

from __future__ import annotations

import contextlib
import copy
import math
import sys
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

Edit = Mapping[str, Any]
Limits = Mapping[str, Any]

COST = 6e6
"""Multiplications that an example may cost after edits, as for Keras."""
GROWTH = 4
WIDTHS = (64, 48, 32, 24, 16)
MOST_FILTERS = 256
SMALLEST_MAP = 6
MOST_BLOCKS = 3
NARROW = 64
LEAST_HIDDEN = 64
MOST_HIDDEN = 256
MANY_LAYERS = 12
SMALL_STATE = 64
SMALL_EMBEDDING = 32
SMOOTH = ("Sigmoid", "Tanh", "Softsign", "LogSigmoid")
RECURRENT = ("LSTM", "GRU", "RNN")
POOLS = ("MaxPool2d", "AvgPool2d", "MaxPool1d", "AvgPool1d")
NORMS = ("BatchNorm1d", "BatchNorm2d", "LayerNorm", "GroupNorm", "InstanceNorm2d")


class UneditableError(Exception):
    """The module, or what an edit makes of it, cannot be used."""


class Use(NamedTuple):
    """A call of a layer."""

    name: str
    layer: Any
    given: Tuple[int, ...]
    gave: Tuple[int, ...]


class Plan:
    """The possible changes of a module's layers.

    Args:
        model: the module as the script made it.
        example: (args, kwargs) of one of its calls.
    """

    def __init__(self, model: Any, example: Any) -> None:
        self.model = model
        self.example = example
        self.reason = ""
        self.uses: List[Use] = []
        try:
            self._shape, self.uses = traced(model, example)
            self._check()
        except Exception as error:  # noqa: BLE001 - the script's own code runs
            self.reason = f"{type(error).__name__}: {error}"[:200]
            self.uses = []
        self.cost = cost_of(self.uses)

    def _check(self) -> None:
        owners: Dict[int, int] = {}
        for module in self.model.modules():
            for parameter in module._parameters.values():
                if parameter is not None:
                    owners[id(parameter)] = owners.get(id(parameter), 0) + 1
        # Shared weights have one shape: a layer cannot be changed without the other.
        if any(count > 1 for count in owners.values()):
            raise UneditableError("layers share their weights")
        if any(type(module).__name__ == "ScriptModule" for module in self.model.modules()):
            raise UneditableError("it is compiled")

    # --- what there is

    def of_kind(self, *kinds: str) -> List[Use]:
        """Return the layers of these classes in the order of their calls, each once."""
        return list(
            # By name: a layer that is called several times is one layer.
            {use.name: use for use in self.uses if type(use.layer).__name__ in kinds}.values()
        )

    @property
    def convolutions(self) -> List[Use]:
        """The convolutions that may change."""
        return [use for use in self.of_kind("Conv2d", "Conv1d") if _is_free(use.layer)]

    @property
    def dense(self) -> List[Use]:
        """The linear layers that may change, the output's last."""
        return [use for use in self.of_kind("Linear") if _is_free(use.layer)]

    def portfolio(self, limits: Limits) -> List[List[Edit]]:
        """Return the sets of edits that most often help, the most promising first."""
        if not self.uses:
            return []
        portfolio: List[List[Edit]] = []
        for edits in self._edit_sets():
            allowed = [edit for edit in edits if allows(limits, edit)]
            if allowed and allowed not in portfolio and self.fits(allowed, limits):
                portfolio.append(allowed)
            # Two sets are enough of one kind; after them, trials vary the best one.
            if len(portfolio) == 2:
                break
        return portfolio

    def fits(self, edits: Sequence[Edit], limits: Limits) -> bool:
        """Return whether the edited module runs with the same outputs, within the limits."""
        try:
            edited = copy.deepcopy(self.model)
            apply(edited, self.example, edits)
            shape, uses = traced(edited, self.example)
        except Exception:  # noqa: BLE001 - whatever another shape meets in the script's own code
            return False
        # The script's own model may exceed the limit already: edits must then not add to it.
        most = limits.get("parameters")
        count = sum(parameter.numel() for parameter in edited.parameters())
        own = sum(parameter.numel() for parameter in self.model.parameters())
        if most and count > max(int(most), own):
            return False
        return shape == self._shape and cost_of(uses) <= GROWTH * max(COST, self.cost)

    def variation(self, edits: Sequence[Edit], draw: Any, limits: Limits) -> Optional[List[Edit]]:
        """Return the edits with one of them changed or one more; None if nothing fits."""
        options: List[Callable[[], List[Edit]]] = []
        for index, edit in enumerate(edits):
            if "size" in edit:
                factor = draw.choice((0.5, 1.5, 2.0))
                size = max(4, round(edit["size"] * factor))
                changed = [*edits[:index], {**edit, "size": size}, *edits[index + 1 :]]
                options.append(lambda changed=changed: changed)  # type: ignore[misc]
            if "rate" in edit:
                rate = draw.choice((0.1, 0.2, 0.4, 0.5))
                redropped = [*edits[:index], {**edit, "rate": rate}, *edits[index + 1 :]]
                options.append(lambda redropped=redropped: redropped)  # type: ignore[misc]
        edited_places = {(edit["kind"], edit["at"]) for edit in edits}
        more: List[Edit] = [
            {"kind": "resize", "at": use.name, "size": 2 * _width(use.layer)}
            for use in [*self.convolutions, *self.dense[:-1]]
        ]
        if self.dense:
            more += [
                {"kind": "dropout", "at": self.dense[-1].name, "rate": 0.3},
                {"kind": "dense", "at": self.dense[-1].name, "size": 2 * LEAST_HIDDEN},
            ]
        options += [
            lambda edit=edit: [*edits, edit]  # type: ignore[misc]
            for edit in more
            if (edit["kind"], edit["at"]) not in edited_places
        ]
        # Few of them are tried: each runs the edited module once.
        draw.shuffle(options)
        for option in options[:6]:
            changed_edits = [edit for edit in option() if allows(limits, edit)]
            if changed_edits and changed_edits != list(edits) and self.fits(changed_edits, limits):
                return changed_edits
        return None

    # --- what is wanted

    def _edit_sets(self) -> Iterator[List[Edit]]:
        # A known design, or one that stands on frozen layers, changes in its head only.
        if len(self.of_kind("Conv2d", "Conv1d")) > MANY_LAYERS or self._is_frozen():
            yield self._head()
        elif self.convolutions:
            yield from self._convolutional()
        elif self.of_kind(*RECURRENT):
            yield self._recurrent()
        elif self.dense:
            yield from self._dense()

    def _is_frozen(self) -> bool:
        return any(not parameter.requires_grad for parameter in self.model.parameters())

    def _head(self) -> List[Edit]:
        edits: List[Edit] = [
            {"kind": "resize", "at": use.name, "size": 2 * NARROW}
            for use in self.dense[:-1]
            if use.layer.out_features < NARROW
        ]
        return [*edits, *self._before_output(0.3)]

    def _before_output(self, rate: float) -> List[Edit]:
        if not self.dense or self.of_kind("Dropout"):
            return []
        return [{"kind": "dropout", "at": self.dense[-1].name, "rate": rate}]

    def _activations(self) -> List[Edit]:
        return [
            {"kind": "activation", "at": use.name, "to": "ReLU"}
            for use in self.of_kind(*SMOOTH)
            if use is not self.uses[-1]
        ]

    def _convolutional(self) -> Iterator[List[Edit]]:
        norms: List[Edit] = [
            {"kind": "batch_norm", "at": use.name}
            for use in self.convolutions
            if not self._is_normalised(use)
        ]
        bottlenecks: List[Edit] = [
            {"kind": "resize", "at": use.name, "size": 2 * NARROW}
            for use in self.dense[:-1]
            if use.layer.out_features < NARROW
        ]
        rest = [*self._activations(), *bottlenecks, *self._before_output(0.3)]
        for base in WIDTHS:  # more blocks, wider
            wider, last = self._wider(base)
            blocks = self._blocks(last)
            if self._costs_little([*wider, *blocks]):
                yield [*norms, *wider, *blocks, *rest]
                break
        for base in WIDTHS:  # a flattened size that is written in the code stays
            wider, _ = self._wider(base)
            wider = [edit for edit in wider if edit["at"] != self.convolutions[-1].name]
            if self._costs_little(wider):
                yield [*norms, *wider, *rest]
                break
        yield [*norms, *rest]

    def _costs_little(self, edits: Sequence[Edit]) -> bool:
        try:
            edited = copy.deepcopy(self.model)
            apply(edited, self.example, edits)
            return cost_of(traced(edited, self.example)[1]) <= COST
        except Exception:  # noqa: BLE001 - it is found out later whether the edits fit
            return True

    def _wider(self, base: int) -> Tuple[List[Edit], int]:
        """Return the convolutions to widen, and how many filters the last one then has."""
        own = self.convolutions
        side = max(own[0].given[2:])
        edits: List[Edit] = []
        filters = own[-1].layer.out_channels
        for use in own:
            stage = max(round(math.log2(side / max(1, max(use.gave[2:])))), 0)
            filters = max(use.layer.out_channels, min(base * 2**stage, MOST_FILTERS))
            if filters > use.layer.out_channels:
                edits.append({"kind": "resize", "at": use.name, "size": filters})
        return edits, filters

    def _blocks(self, filters: int) -> List[Edit]:
        """Return Conv-Pool blocks until the map that is flattened is small."""
        last = self.convolutions[-1]
        side = self._last_side()
        edits: List[Edit] = []
        while side >= SMALLEST_MAP and len(edits) < MOST_BLOCKS:
            filters = min(2 * filters, MOST_FILTERS)
            edits.append({"kind": "conv_block", "at": last.name, "size": filters})
            side //= 2
        return edits

    def _last_side(self) -> int:
        """Return the side of the map that is flattened or pooled away."""
        names = [use.name for use in self.uses]
        start = names.index(self.convolutions[-1].name)
        side = max(self.convolutions[-1].gave[2:])
        channels = self.convolutions[-1].layer.out_channels
        for use in self.uses[start + 1 :]:
            # The width of the first linear layer gives the size of the flattened map.
            if type(use.layer).__name__ == "Linear":
                area: float = use.given[-1] / channels
                return round(math.pow(area, 1 / (len(self.convolutions[-1].gave) - 2)))
            if len(use.gave) == len(self.convolutions[-1].gave):
                side = max(use.gave[2:])
        return side

    def _is_normalised(self, use: Use) -> bool:
        names = [later_use.name for later_use in self.uses]
        following = self.uses[names.index(use.name) + 1 :][:3]
        for later_use in following:
            if type(later_use.layer).__name__ in NORMS:
                return True
            if type(later_use.layer).__name__ in ("Conv2d", "Conv1d", "Linear"):
                return False
        return False

    def _recurrent(self) -> List[Edit]:
        edits: List[Edit] = [
            {"kind": "resize", "at": use.name, "size": SMALL_EMBEDDING}
            for use in self.of_kind("Embedding")
            if use.layer.embedding_dim < SMALL_EMBEDDING and _is_free(use.layer)
        ]
        edits += [
            {"kind": "resize", "at": use.name, "size": SMALL_STATE}
            for use in self.of_kind(*RECURRENT)
            if use.layer.hidden_size < SMALL_STATE
        ]
        return [*edits, *self._before_output(0.3)]

    def _dense(self) -> Iterator[List[Edit]]:
        first, output = self.dense[0], self.dense[-1]
        # Rows of numbers only: on sequences or maps the layer is applied at each position.
        if len(first.given) != 2:
            yield self._before_output(0.1)
            return
        width = min(max(first.layer.in_features, LEAST_HIDDEN), MOST_HIDDEN)
        edits: List[Edit] = []
        if not any(type(use.layer).__name__ in NORMS for use in self.uses[:2]):
            edits.append({"kind": "normalise_input", "at": first.name})
        edits += [
            {"kind": "resize", "at": use.name, "size": width}
            for use in self.dense[:-1]
            if use.layer.out_features < width
        ]
        if len(self.dense) <= 2:
            edits.append({"kind": "dense", "at": output.name, "size": width})
        edits += self._activations()
        yield [*edits, *self._before_output(0.1)]
        # The inputs may be scaled already, and batch statistics only add noise then.
        yield [edit for edit in edits if edit["kind"] != "normalise_input"]


def allows(limits: Limits, edit: Edit) -> bool:
    """Return whether the project's own limits allow an edit."""
    only = limits.get("edits")
    kind = edit["kind"]
    return kind not in (limits.get("without") or ()) and (not only or kind in only)


def words(edits: Sequence[Edit]) -> List[str]:
    """Return the edits in words."""
    templates = {
        "resize": "{at} with {size} units",
        "batch_norm": "batch normalisation after {at}",
        "conv_block": "a block of {size} filters after {at}",
        "dense": "a layer of {size} units before {at}",
        "dropout": "dropout {rate} before {at}",
        "normalise_input": "normalised inputs",
        "activation": "{to} for {at}",
    }
    return [templates[edit["kind"]].format(**edit) for edit in edits]


def _is_free(layer: Any) -> bool:
    return getattr(layer, "groups", 1) == 1 and all(
        parameter.requires_grad for parameter in layer.parameters()
    )


def _width(layer: Any) -> int:
    return int(getattr(layer, "out_channels", 0) or layer.out_features)


def traced(model: Any, example: Any) -> Tuple[Any, List[Use]]:
    """Call a module on an example.

    Returns:
        The shapes of its outputs, and the calls of its layers in order.
    """
    from mlops_lib.runner.pytorch import artifact, tensors

    uses: List[Use] = []
    handles = [
        module.register_forward_hook(_noting(uses, name))
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    try:
        with artifact.evaluating(model), sys.modules["torch"].no_grad():
            output = model(*example[0], **example[1])
    finally:
        for handle in handles:
            handle.remove()
    return [tuple(leaf.shape) for _, leaf in tensors.leaves(output)], uses


def _noting(uses: List[Use], name: str) -> Callable[..., None]:
    def note(layer: Any, inputs: Any, gave: Any) -> None:
        first = gave[0] if isinstance(gave, tuple) else gave
        if inputs and hasattr(inputs[0], "shape") and hasattr(first, "shape"):
            uses.append(Use(name, layer, tuple(inputs[0].shape), tuple(first.shape)))

    return note


def cost_of(uses: Sequence[Use]) -> float:
    """Return the multiplications that an example costs."""
    total = 0.0
    for use in uses:
        weight = getattr(use.layer, "weight", None)
        if weight is None or weight.dim() < 2 or type(use.layer).__name__ == "Embedding":
            continue
        positions = math.prod(use.gave[2:]) if weight.dim() > 2 else math.prod(use.gave[1:-1])
        total += weight.numel() * positions
    return total


# --- on the module itself


def apply(model: Any, example: Any, edits: Sequence[Edit]) -> Dict[int, Any]:
    """Edit a module in place, and let the layers that follow fit.

    Returns:
        For each new layer, by identity, the old one that it was put to.

    Raises:
        UneditableError: an edit does not fit.
    """
    modules = dict(model.named_modules())
    anchors: Dict[int, Any] = {}
    for edit in edits:
        layer = modules.get(edit["at"])
        if layer is None:
            raise UneditableError(f"there is no layer {edit['at']}")
        if edit["kind"] == "resize":
            resize(layer, edit["size"])
            continue
        new, is_before = _new_layers(edit, layer)
        if edit["kind"] == "activation":
            parent, key = _parent(model, layer)
            parent._modules[key] = new[0]
            modules[edit["at"]] = new[0]
            anchors[id(new[0])] = layer
            continue
        after = {} if is_before else {key: item for key, item in anchors.items() if item is layer}
        _put(model, layer, new, is_before=is_before, put=after)
        anchors.update({id(item): layer for item in new})
    fit_together(model, example)
    return anchors


def _new_layers(edit: Edit, layer: Any) -> Tuple[List[Any], bool]:
    nn = sys.modules["torch"].nn
    kind = edit["kind"]
    rank = 1 if type(layer).__name__ == "Conv1d" else 2
    if kind == "batch_norm":
        return [getattr(nn, f"BatchNorm{rank}d")(layer.out_channels)], False
    if kind == "conv_block":
        convolution = getattr(nn, f"Conv{rank}d")(layer.out_channels, edit["size"], 3, padding=1)
        norm = getattr(nn, f"BatchNorm{rank}d")(edit["size"])
        return [nn.ReLU(), getattr(nn, f"MaxPool{rank}d")(2), convolution, norm], False
    if kind == "dense":
        return [nn.Linear(layer.in_features, edit["size"]), nn.ReLU()], True
    if kind == "dropout":
        return [nn.Dropout(edit["rate"])], True
    if kind == "normalise_input":
        return [nn.BatchNorm1d(layer.in_features)], True
    if kind == "activation":
        return [getattr(nn, edit["to"])()], False
    raise UneditableError(f"no edit is called {kind}")


def _parent(model: Any, layer: Any) -> Tuple[Any, str]:
    for module in model.modules():
        for key, child in module._modules.items():
            if child is layer:
                return module, key
    raise UneditableError("the layer is the module itself")


def _put(
    model: Any, layer: Any, new: List[Any], *, is_before: bool, put: Mapping[int, Any]
) -> None:
    """Put layers before or after another one.

    Args:
        model: the whole module.
        layer: the layer that is there.
        new: the layers to put.
        is_before: whether they come before it.
        put: the layers that were put so far, by identity.
    """
    nn = sys.modules["torch"].nn
    parent, key = _parent(model, layer)
    if type(parent) is nn.Sequential:
        children = list(parent._modules.items())
        index = list(parent._modules).index(key)
        if not is_before:
            index += 1
            while index < len(children) and id(children[index][1]) in put:
                index += 1  # what was put after it before comes first
        children[index:index] = [(f"new{len(put)}_{i}", item) for i, item in enumerate(new)]
        # A Sequential that was made of a list names its layers by their places.
        if all(name.isdigit() for name in parent._modules):
            children = [(str(i), item) for i, (_, item) in enumerate(children)]
        parent._modules.clear()
        parent._modules.update(children)
        return
    together = [*new, layer] if is_before else [layer, *new]
    parent._modules[key] = nn.Sequential(*together)


def resize(layer: Any, size: int) -> None:
    """Initialise a layer again with another width."""
    kind = type(layer).__name__
    has_bias = getattr(layer, "bias", None) is not None
    if kind in ("Conv2d", "Conv1d"):
        _renew_convolution(layer, layer.in_channels, size)
    elif kind == "Linear":
        _renewed(layer, layer.in_features, size, bias=has_bias)
    elif kind == "Embedding":
        _renewed(layer, layer.num_embeddings, size, padding_idx=layer.padding_idx)
    elif kind in RECURRENT:
        _renew_recurrent(layer, layer.input_size, size)
    else:
        raise UneditableError(f"a {kind} has no width")


def _renewed(layer: Any, *args: Any, **kwargs: Any) -> None:
    # `__init__` sets it to training, and the parameters to the default device and type.
    mode = layer.training
    parameter = next(layer.parameters(), None)
    if parameter is not None:
        kwargs["dtype"] = parameter.dtype
        kwargs["device"] = parameter.device
    type(layer).__init__(layer, *args, **kwargs)
    layer.training = mode


def _renew_convolution(layer: Any, inputs: int, outputs: int) -> None:
    if layer.groups != 1:
        raise UneditableError("a convolution has groups")
    _renewed(
        layer,
        inputs,
        outputs,
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,
    )


def _renew_recurrent(layer: Any, inputs: int, size: int) -> None:
    more = {"nonlinearity": layer.nonlinearity} if type(layer).__name__ == "RNN" else {}
    _renewed(
        layer,
        inputs,
        size,
        num_layers=layer.num_layers,
        bias=layer.bias,
        batch_first=layer.batch_first,
        dropout=layer.dropout,
        bidirectional=layer.bidirectional,
        **more,
    )


def fit_together(model: Any, example: Any) -> None:
    """Fit each layer to the output of the one before it, by calling the module once."""
    handles = [
        module.register_forward_pre_hook(_fitted)
        for module in model.modules()
        if not list(module.children())
    ]
    from mlops_lib.runner.pytorch import artifact

    try:
        with artifact.evaluating(model), sys.modules["torch"].no_grad():
            model(*example[0], **example[1])
    finally:
        for handle in handles:
            handle.remove()


def _fitted(layer: Any, inputs: Any) -> None:
    """Initialise a layer again if it is given another width than it takes."""
    if not inputs or not hasattr(inputs[0], "shape"):
        return
    shape = inputs[0].shape
    kind = type(layer).__name__
    # Initialising the layer again replaces its table of hooks, among them the one that is running.
    hooks = layer._forward_pre_hooks
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: layer.__dict__.update(_forward_pre_hooks=hooks))
        if kind in ("Conv2d", "Conv1d") and layer.groups == 1:
            channels = int(shape[1] if len(shape) == len(layer.kernel_size) + 2 else shape[0])
            if channels != layer.in_channels:
                _renew_convolution(layer, channels, layer.out_channels)
        elif kind == "Linear" and shape[-1] != layer.in_features:
            _renewed(layer, int(shape[-1]), layer.out_features, bias=layer.bias is not None)
        elif kind.startswith("BatchNorm") and shape[1] != layer.num_features:
            _renewed(layer, int(shape[1]), eps=layer.eps, momentum=layer.momentum)
        elif kind in RECURRENT and shape[-1] != layer.input_size:
            _renew_recurrent(layer, int(shape[-1]), layer.hidden_size)


def graft(trained: Any, plan: Plan, edits: Sequence[Edit]) -> Dict[int, Any]:
    """Change the layers of the script's own module; update its optimizer's parameters.

    Args:
        trained: the training (`recipe.Trained`).
        plan: the possible changes.
        edits: the changes.

    Returns:
        For each new layer, by identity, the old layer that it was added to.

    Raises:
        UneditableError: an edit does not fit.
    """
    model = trained.model
    groups = trained.optimizer.param_groups
    group_of = {id(one): index for index, group in enumerate(groups) for one in group["params"]}
    before = {id(one) for one in model.parameters()}
    home: Dict[int, Any] = {}
    for module in model.modules():
        own = [group_of.get(id(one)) for one in module._parameters.values() if one is not None]
        if own:
            home[id(module)] = own[0]
    anchors = apply(model, plan.example, edits)
    group_parameters: List[List[Any]] = [
        [one for one in group["params"] if id(one) not in before] for group in groups
    ]
    usual = next((index for index in home.values() if index is not None), 0)
    for module in model.modules():
        # A new layer trains in the group of the one that it was added to, at that group's rate.
        anchor = anchors.get(id(module), module)
        index = home.get(id(anchor), usual)
        for parameter in module._parameters.values():
            if parameter is not None and index is not None:
                group_parameters[index].append(parameter)
    for group, parameters in zip(groups, group_parameters):
        group["params"] = parameters
    # The state belongs to parameters that are gone.
    trained.optimizer.state.clear()
    return anchors
