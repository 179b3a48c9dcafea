"""`best_model.py`: the winner as a script of its own, where the developer's source is too clever to
be patched.
"""

from __future__ import annotations

import keyword
import re

from mlops_lib.patching.winner_record import Layer, TooCleverError, Winner, literal


def script(winner: Winner, *, reason: str) -> str:
    """A module with `build_model()`, which makes the architecture and compiles nothing.

    Args:
        winner: what the search found.
        reason: why there is no patch.

    Raises:
        TooCleverError: a layer cannot be written as code.
    """
    if not winner.after or not all(layer.known for layer in winner.after):
        raise TooCleverError("a layer is the project's own")
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
    """A layer as source code."""
    if layer.kind == "InputLayer":
        return f"{keras}.Input({literal(layer.arguments['shape'])}, dtype={literal(layer.arguments['dtype'])})"
    if layer.kind == "Bidirectional":
        return f"{prefix}Bidirectional({constructor(inner_of(layer), prefix=prefix, keras=keras)})"
    return f"{prefix}{layer.kind}({', '.join(settings(layer, keras=keras))})"


def inner_of(layer: Layer) -> Layer:
    """The layer that a Bidirectional holds.

    Raises:
        TooCleverError: it holds none that can be written.
    """
    try:
        return Layer.read(layer.arguments["layer"])
    except (ValueError, KeyError) as error:
        raise TooCleverError("a wrapped layer cannot be written as code") from error


def settings(layer: Layer, *, keras: str = "keras") -> list[str]:
    """The arguments, the first where nobody would name it by its place."""
    found: list[str] = []
    for name, value in layer.arguments.items():
        text = literal(value, keras=keras)
        first = layer.parameters[:1] == (name,) and not found
        found.append(text if first else f"{name}={text}")
    return found


def _stack(winner: Winner) -> list[str]:
    inner = [f"        {constructor(layer)}," for layer in winner.after]
    return ["return keras.Sequential(", "    [", *inner, "    ]", ")"]


def _graph(winner: Winner) -> list[str]:
    names = {layer.name: _variable(layer.name) for layer in winner.after}
    lines: list[str] = []
    read: set[str] = set()
    for layer in winner.after:
        taken = [names[name] for name in layer.inputs if name in names]
        read.update(layer.inputs)
        call = (
            ""
            if layer.kind == "InputLayer"
            else f"([{', '.join(taken)}])"
            if len(taken) > 1
            else f"({taken[0]})"
        )
        lines.append(f"{names[layer.name]} = {constructor(layer)}{call}")
    inputs = [names[one.name] for one in winner.after if one.kind == "InputLayer"]
    outputs = [names[one.name] for one in winner.after if one.name not in read]
    return [*lines, f"return keras.Model({_listed(inputs)}, {_listed(outputs)})"]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"


def _variable(name: str) -> str:
    plain = re.sub(r"\W", "_", name)
    return plain if plain.isidentifier() and not keyword.iskeyword(plain) else f"layer_{plain}"


def optimizer(winner: Winner, *, keras: str = "keras") -> str | None:
    """The winner's optimizer as source code, None where it is the developer's own."""
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
    said = [
        f'"epochs": {int(winner.recipe.get("epochs") or 1)}',
        f'"batch_size": {winner.batch_size}',
    ]
    if winner.class_weight:
        said.append(f'"class_weight": {dict(winner.class_weight)!r}')
    lines = [f"FIT = {{{', '.join(said)}}}"]
    chosen = optimizer(winner)
    if chosen is not None:
        lines = [
            "def build_optimizer():",
            '    """As the search trained it."""',
            f"    return {chosen}",
            "",
            "",
            *lines,
        ]
    return "\n".join(lines) + "\n"
