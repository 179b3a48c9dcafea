"""A PyTorch winner as changes to the calls that make its layers, its optimizer and its loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_lib.patching.notebooks import open_source
from mlops_lib.patching.source import Source, called_name, with_arguments
from mlops_lib.patching.winner_record import Site, UnpatchableError, Winner, identifier, literal

PARAMETERS: Mapping[str, Sequence[str]] = {
    "Conv1d": ("in_channels", "out_channels", "kernel_size"),
    "Conv2d": ("in_channels", "out_channels", "kernel_size"),
    "Linear": ("in_features", "out_features", "bias"),
    "BatchNorm1d": ("num_features",),
    "BatchNorm2d": ("num_features",),
    "Embedding": ("num_embeddings", "embedding_dim"),
    "LSTM": ("input_size", "hidden_size"),
    "GRU": ("input_size", "hidden_size"),
    "RNN": ("input_size", "hidden_size"),
    "DataLoader": ("dataset", "batch_size", "shuffle"),
    "CrossEntropyLoss": ("weight", "size_average", "ignore_index", "reduce", "reduction"),
}
"""Positional parameters of the constructors that a patch may change."""
OPTIMIZER = ("params", "lr")
NEW_LAYERS = (
    *("Conv1d", "Conv2d", "BatchNorm1d", "BatchNorm2d", "MaxPool1d", "MaxPool2d"),
    *("Linear", "ReLU", "Dropout"),
)
SCHEDULE = "scheduler"


@dataclass
class _Neighbours:
    before: list[str]
    after: list[str]


def patched_files(winner: Winner, *, project: Path) -> dict[str, str]:
    """Return the patched files, by their names in the project.

    Raises:
        UnpatchableError: the source is too clever to be changed reliably.
    """
    facts = winner.estimator
    if facts.get("unpatchable"):
        raise UnpatchableError(str(facts["unpatchable"])[:200])
    sources: dict[str, Source] = {}

    def source_of(site: Site) -> Source:
        if site.file not in sources:
            sources[site.file] = open_source(project, site.file)
        return sources[site.file]

    try:
        _change_layers(_list(facts, "layers"), source_of)
        for change in _list(facts, "calls"):
            site = _site(change)
            _set_arguments(source_of(site), site, change)
        if isinstance(facts.get("optimizer"), Mapping):
            site = _site(facts["optimizer"])
            _change_optimizer(source_of(site), site, facts["optimizer"])
        if isinstance(facts.get("loop"), Mapping):
            site = _site(facts["loop"])
            _change_loop(source_of(site), site, facts["loop"])
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UnpatchableError(f"its record is not understood ({type(error).__name__})") from error
    return {name: source.patched_text() for name, source in sources.items()}


def _list(facts: Mapping[str, Any], name: str) -> list[Any]:
    found = facts.get(name) or []
    return found if isinstance(found, list) else []


def _site(change: Mapping[str, Any]) -> Site:
    site = Site.read(change.get("site"))
    if site is None:
        raise UnpatchableError("it is not known where the script makes what changes")
    return site


def _change_layers(changes: list[Any], source_of: Any) -> None:
    """Set the widths of layers, and put new ones beside them."""
    within: dict[int, tuple[Source, Any, dict[int, _Neighbours]]] = {}
    for change in changes:
        site = _site(change)
        source = source_of(site)
        call = source.call(site, (identifier(change["class"]),))
        _set_values(source, call, change)
        prefix = source.code(call.func)[: -len(called_name(call))]
        if change.get("to"):
            text = _constructor({"class": change["to"]}, prefix)
            source.change(call, lambda node, text=text, cst=source.cst: cst.parse_expression(text))
            continue
        before = [_constructor(one, prefix) for one in change.get("before") or ()]
        after = [_constructor(one, prefix) for one in change.get("after") or ()]
        if not before and not after:
            continue
        argument = source.parent(call)
        parent = source.parent(argument)
        cst = source.cst
        if isinstance(parent, cst.Call) and called_name(parent) == "Sequential":
            index = [id(one) for one in parent.args].index(id(argument))
            place = within.setdefault(id(parent), (source, parent, {}))
            place[2][index] = _Neighbours(before, after)
        else:
            _wrap(source, call, f"{prefix}Sequential", before, after)
    for source, parent, places in within.values():
        _splice(source, parent, places)


def _set_values(source: Source, call: Any, change: Mapping[str, Any]) -> None:
    values = change.get("values") or {}
    if not values:
        return
    kind = identifier(change["class"])
    texts: dict[str, str | None] = {
        identifier(name): literal(value) for name, value in values.items()
    }
    source.change(call, lambda node: with_arguments(source, node, texts, PARAMETERS[kind]))


def _constructor(layer: Mapping[str, Any], prefix: str) -> str:
    kind = identifier(layer["class"])
    if kind not in NEW_LAYERS:
        raise UnpatchableError(f"a {kind} is no layer that the search adds")
    parts = [literal(value) for value in layer.get("args") or ()]
    parts += [f"{identifier(k)}={literal(v)}" for k, v in (layer.get("options") or {}).items()]
    if not prefix:
        raise UnpatchableError("the script imports layers one by one")
    return f"{prefix}{kind}({', '.join(parts)})"


def _wrap(source: Source, call: Any, outer: str, before: list[str], after: list[str]) -> None:
    cst = source.cst

    def make(node: Any) -> Any:
        made = cst.parse_expression(f"{outer}({', '.join([*before, 'X', *after])})")
        arguments = list(made.args)
        arguments[len(before)] = arguments[len(before)].with_changes(value=node)
        return made.with_changes(args=arguments)

    source.change(call, make)


def _splice(source: Source, parent: Any, places: dict[int, _Neighbours]) -> None:
    """Put new arguments beside those of a call, in its layout."""
    cst = source.cst

    def make(node: Any) -> Any:
        own = list(node.args)
        plain = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
        commas = [one.comma for one in own[:-1] if isinstance(one.comma, cst.Comma)]
        uncommented = [one for one in commas if "#" not in source.code(one)]
        between = uncommented[0] if uncommented else plain
        trailing = own[-1].comma
        made = []
        for index, argument in enumerate(own):
            beside = places.get(index, _Neighbours([], []))
            new = [cst.Arg(cst.parse_expression(text), comma=between) for text in beside.before]
            is_last = index == len(own) - 1
            kept = argument.with_changes(comma=between if is_last else argument.comma)
            new.append(kept)
            new += [cst.Arg(cst.parse_expression(text), comma=between) for text in beside.after]
            made += new
        made[-1] = made[-1].with_changes(
            comma=trailing, whitespace_after_arg=own[-1].whitespace_after_arg
        )
        return node.with_changes(args=made)

    source.change(parent, make)


def _set_arguments(source: Source, site: Site, change: Mapping[str, Any]) -> None:
    """Set arguments of a call: a batch size, label smoothing."""
    kind = identifier(change["class"])
    call = source.call(site, (kind,))
    _set_values(source, call, change)


def _change_optimizer(source: Source, site: Site, change: Mapping[str, Any]) -> None:
    """Set another optimizer, or other settings of it."""
    call = source.call(site, (identifier(change["class"]),))
    texts: dict[str, str | None] = {
        identifier(k): literal(v) for k, v in (change.get("values") or {}).items()
    }
    new = change.get("to")
    if not new:
        source.change(call, lambda node: with_arguments(source, node, texts, OPTIMIZER))
        return
    prefix = source.code(call.func)[: -len(called_name(call))]
    if not prefix or not call.args or call.args[0].star:
        raise UnpatchableError("the script imports its optimizer by name")
    settings = "".join(f", {name}={text}" for name, text in texts.items())
    text = f"{prefix}{identifier(new)}({source.code(call.args[0].value)}{settings})"
    source.change(call, lambda node: source.cst.parse_expression(text))


def _change_loop(source: Source, site: Site, change: Mapping[str, Any]) -> None:
    """Set the number of iterations of a loop, and let a schedule follow it."""
    cst = source.cst
    loops = [one for one in source.nodes(cst.For) if source.line(one) == site.line]
    if len(loops) != 1:
        raise UnpatchableError(f"line {site.line} of {site.file} does not begin exactly one loop")
    loop = loops[0]
    epochs = change.get("epochs")
    if isinstance(epochs, int):
        _set_range(source, loop, epochs)
    optimizer = change.get("cosine")
    if optimizer is not None:
        count = int(change["count"])
        _add_schedule(source, loop, identifier(optimizer), count)


def _set_range(source: Source, loop: Any, epochs: int) -> None:
    cst = source.cst
    ranges = [
        one
        for one in source.nodes(cst.Call)
        if called_name(one) == "range"
        and source.around(one, cst.For) is loop
        and source.is_within(one, loop.iter)
    ]
    if len(ranges) != 1 or len(ranges[0].args) > 2:
        raise UnpatchableError("the loop over the epochs does not go over a range")
    arguments = ranges[0].args
    start = 0
    if len(arguments) == 2:
        if not isinstance(arguments[0].value, cst.Integer):
            raise UnpatchableError("the loop over the epochs begins at a variable")
        start = int(arguments[0].value.value)

    def make(node: Any) -> Any:
        last = node.args[-1].with_changes(value=cst.Integer(str(start + epochs)))
        return node.with_changes(args=[*node.args[:-1], last])

    source.change(ranges[0], make)


def _add_schedule(source: Source, loop: Any, optimizer: str, count: int) -> None:
    """Let the learning rate decay along a cosine over a loop."""
    cst = source.cst
    imported = any(
        alias.name.value == "torch" and alias.asname is None
        for node in source.nodes(cst.Import)
        for alias in node.names
        if isinstance(alias.name, cst.Name)
    )
    names = {node.value for node in source.nodes(cst.Name)}
    if not imported or SCHEDULE in names:
        raise UnpatchableError("a schedule cannot be added to the script")
    made = cst.parse_statement(
        f"{SCHEDULE} = torch.optim.lr_scheduler.CosineAnnealingLR({optimizer}, {count})\n"
    )
    step = cst.parse_statement(f"{SCHEDULE}.step()\n")

    def make(node: Any) -> Any:
        if not isinstance(node.body, cst.IndentedBlock):
            raise UnpatchableError("the loop over the epochs is one line")
        body = node.body.with_changes(body=[*node.body.body, step])
        first = made.with_changes(leading_lines=node.leading_lines)
        return cst.FlattenSentinel([first, node.with_changes(body=body, leading_lines=[])])

    source.change(loop, make)


def script(winner: Winner, *, reason: str) -> str:
    """Return a text that says what to change by hand.

    Args:
        winner: the search's winner.
        reason: why there is no patch.

    Raises:
        UnpatchableError: the record says nothing.
    """
    words = [str(one)[:200] for one in winner.estimator.get("words") or ()]
    layers = [str(one)[:200] for one in winner.estimator.get("after") or ()]
    if not words:
        raise UnpatchableError("it does not say what changed")
    lines = [
        "# What the search changed.",
        f"# Not a patch of the script, because {reason}.",
        "#",
        *(f"# - {one}" for one in words),
        "#",
        "# The layers:",
        *(f"#   {one}" for one in layers),
    ]
    return "\n".join(line.replace("\n", " ") for line in lines) + "\n"
