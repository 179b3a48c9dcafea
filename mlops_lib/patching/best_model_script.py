"""`best_model.py`: the winner as a separate script, for sources without a patch."""

from __future__ import annotations

import keyword
import re

from mlops_lib.patching.winner_record import Layer, UnpatchableError, Winner, literal


def script(winner: Winner, *, reason: str) -> str:
    """Return a module with `build_model()`, which builds the architecture uncompiled.

    Args:
        winner: the search's winner.
        reason: why there is no patch.

    Raises:
        UnpatchableError: a layer cannot be written as code.
    """
    if not winner.after or not all(layer.has_code for layer in winner.after):
        raise UnpatchableError("a layer is the project's own")
    lines = [
        '"""The architecture that the search found.',
        "",
        f"Not a patch of the script, because {reason}.",
        '"""',
        "",
        "import keras",
        "from keras import layers",
        "",
        "",
        "def build_model():",
        '    """A fresh, uncompiled model."""',
    ]
    lines += [f"    {line}" for line in (_stack(winner) if winner.sequential else _graph(winner))]
    return "\n".join(lines) + "\n\n\n" + _training(winner)


def constructor(layer: Layer, *, prefix: str = "layers.", keras: str = "keras") -> str:
    """Return a layer as source code."""
    if layer.kind == "InputLayer":
        return (
            f"{keras}.Input({literal(layer.arguments['shape'])}, "
            f"dtype={literal(layer.arguments['dtype'])})"
        )
    if layer.kind == "Bidirectional":
        return f"{prefix}Bidirectional({constructor(inner_of(layer), prefix=prefix, keras=keras)})"
    return f"{prefix}{layer.kind}({', '.join(settings(layer, keras=keras))})"


def inner_of(layer: Layer) -> Layer:
    """Return the layer inside a Bidirectional.

    Raises:
        UnpatchableError: it cannot be written as code.
    """
    try:
        return Layer.read(layer.arguments["layer"])
    except (ValueError, KeyError) as error:
        raise UnpatchableError("a wrapped layer cannot be written as code") from error


def settings(layer: Layer, *, keras: str = "keras") -> list[str]:
    """Return a layer's arguments as source code; the first one by position if usual."""
    parts: list[str] = []
    for name, value in layer.arguments.items():
        text = literal(value, keras=keras)
        # As a person writes it: `Dense(64, activation="relu")`.
        first = layer.parameters[:1] == (name,) and not parts
        parts.append(text if first else f"{name}={text}")
    return parts


def _stack(winner: Winner) -> list[str]:
    inner = [f"        {constructor(layer)}," for layer in winner.after]
    return ["return keras.Sequential(", "    [", *inner, "    ]", ")"]


def _graph(winner: Winner) -> list[str]:
    names = {layer.name: _variable(layer.name) for layer in winner.after}
    lines: list[str] = []
    consumed: set[str] = set()
    for layer in winner.after:
        arguments = [names[name] for name in layer.inputs if name in names]
        consumed.update(layer.inputs)
        call = (
            ""
            if layer.kind == "InputLayer"
            else f"([{', '.join(arguments)}])"
            if len(arguments) > 1
            else f"({arguments[0]})"
        )
        lines.append(f"{names[layer.name]} = {constructor(layer)}{call}")
    inputs = [names[layer.name] for layer in winner.after if layer.kind == "InputLayer"]
    outputs = [names[layer.name] for layer in winner.after if layer.name not in consumed]
    return [*lines, f"return keras.Model({_list_code(inputs)}, {_list_code(outputs)})"]


def _list_code(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"


def _variable(name: str) -> str:
    plain = re.sub(r"\W", "_", name)
    return plain if plain.isidentifier() and not keyword.iskeyword(plain) else f"layer{plain}"


def optimizer(winner: Winner, *, keras: str = "keras") -> str | None:
    """Return the winner's optimizer as source code; None if it is the developer's own."""
    rate = winner.learning_rate
    epochs = int(winner.recipe.get("epochs") or 1)
    if winner.recipe.get("schedule") != "cosine":
        return None
    total = max(epochs * winner.steps, 2)
    warm = max(total // 10, 1)
    schedule = (
        f"{keras}.optimizers.schedules.CosineDecay({literal(rate / 10)}, {max(total - warm, 1)}, "
        f"warmup_target={literal(rate)}, warmup_steps={warm}, alpha=0.01)"
    )
    return (
        f"{keras}.optimizers.Adam({schedule})" if winner.recipe.get("optimizer") == "adam" else None
    )


def _training(winner: Winner) -> str:
    entries = [
        f'"epochs": {int(winner.recipe.get("epochs") or 1)}',
        f'"batch_size": {winner.batch_size}',
    ]
    if winner.class_weight:
        entries.append(f'"class_weight": {dict(winner.class_weight)!r}')
    lines = [f"FIT = {{{', '.join(entries)}}}"]
    optimizer_code = optimizer(winner)
    if optimizer_code is not None:
        lines = [
            "def build_optimizer():",
            '    """As the search trained it."""',
            f"    return {optimizer_code}",
            "",
            "",
            *lines,
        ]
    return "\n".join(lines) + "\n"
