"""A Keras winner as changes to the calls that made the developer's model, compiled it and trained
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlops_lib.patching import best_model_script
from mlops_lib.patching.notebooks import open_source
from mlops_lib.patching.source import Source, called_name, with_arguments, with_elements
from mlops_lib.patching.winner_record import Layer, TooCleverError, Winner, literal

FIT = (
    "x",
    "y",
    "batch_size",
    "epochs",
    "verbose",
    "callbacks",
    "validation_split",
    "validation_data",
    "shuffle",
    "class_weight",
)
COMPILE = ("optimizer", "loss", "loss_weights", "metrics")
COMMON = ("Dense", "Conv2D", "Conv1D", "Flatten", "Dropout", "Embedding")
"""Layers that nearly every model has: they show how a file calls its layers."""
SHAPES = ("input_shape", "input_dim", "batch_input_shape")
INPUTS = ("Input", "InputLayer")
NO_LAYERS = (*INPUTS, "Sequential", "Model")
"""Calls that do not show how a file calls its layers."""


@dataclass
class Change:
    """What becomes of one layer of the developer's."""

    layer: Layer
    siblings: tuple[Layer, ...] = ()
    """The layers of the model that it is in, as the developer made it."""
    settings: dict[str, Any] = field(default_factory=dict)
    """New values; `Ellipsis` leaves the argument out."""
    after: list[Layer] = field(default_factory=list)
    before: list[Layer] = field(default_factory=list)
    both_ways: bool = False
    """Wrapped into a Bidirectional."""
    removed: bool = False

    @property
    def is_any(self) -> bool:
        """Whether anything changes."""
        return bool(self.settings or self.after or self.before or self.both_ways or self.removed)


def changed(winner: Winner, *, project: Path) -> dict[str, str]:
    """The changed files, by their names in the project.

    Raises:
        TooCleverError: the source does not show one place for each change.
    """
    changes = [one for one in planned(winner) if one.is_any]
    made = _all(winner.before)
    sites = [layer.site for layer in made if layer.site is not None and layer.kind != "InputLayer"]
    for one in changes:
        if one.layer.site is None:
            raise TooCleverError(f"it does not show where {one.layer.name} is made")
        if sites.count(one.layer.site) > 1:
            raise TooCleverError(
                f"line {one.layer.site.line} of {one.layer.site.file} makes several layers"
            )
    names = {
        site.file
        for site in (winner.fit, winner.compile, *(one.layer.site for one in changes))
        if site is not None
    }
    found = {}
    for name in sorted(names):
        editor = _Editor(open_source(project, name), name)
        for one in changes:
            if one.layer.site is not None and one.layer.site.file == name:
                editor.layer(one)
        editor.training(winner)
        found[name] = editor.text()
    return found


def planned(winner: Winner) -> list[Change]:
    """The difference between the two architectures, as changes to layers of the first.

    Raises:
        TooCleverError: it cannot be said so.
    """
    changes = {layer.name: Change(layer, winner.before) for layer in winner.before}
    after = {layer.name: layer for layer in winner.after}
    inner: list[Change] = []
    for name, change in changes.items():
        if name not in after:
            change.removed = True
        else:
            _compare(change, after[name])
            within = replace(winner, before=change.layer.layers, after=after[name].layers)
            inner += planned(within) if within.before or within.after else []
    for layer in winner.after:
        if layer.name not in changes:
            _insert(layer, changes, after, winner)
    return [*changes.values(), *inner]


def _all(layers: Iterable[Layer]) -> list[Layer]:
    """The layers, and those of the models among them."""
    return [one for layer in layers for one in (layer, *_all(layer.layers))]


def _compare(change: Change, now: Layer) -> None:
    own = change.layer
    new = now.arguments
    old = own.arguments
    if own.kind == "InputLayer":
        return
    if now.kind == "Bidirectional":
        inner = best_model_script.inner_of(now)
        change.both_ways = own.kind != "Bidirectional"
        old = own.arguments if change.both_ways else best_model_script.inner_of(own).arguments
        new = inner.arguments
    elif own.kind != now.kind:
        raise TooCleverError(f"{own.name} became another kind of layer")
    change.settings.update(
        {name: value for name, value in new.items() if name not in old or old[name] != value}
    )
    change.settings.update({name: ... for name in old if name not in new})


def _insert(
    layer: Layer, changes: dict[str, Change], after: Mapping[str, Layer], winner: Winner
) -> None:
    if not layer.known:
        raise TooCleverError(f"{layer.name} cannot be written as code")
    place = layer
    while place.name not in changes:
        if len(place.inputs) != 1:
            raise TooCleverError(f"{layer.name} stands at no single place")
        place = after[place.inputs[0]]
    anchor = changes[place.name]
    if place.kind == "InputLayer":
        readers = [changes[one.name] for one in winner.before if place.name in one.inputs]
        if len(readers) == 1:
            # Where the input has no line of its own, what follows it goes before its first reader.
            readers[0].before.append(layer)
            return
    anchor.after.append(layer)


class _Editor:
    """The changes to one file."""

    def __init__(self, source: Source, name: str) -> None:
        self.source, self.name, self.cst = source, name, source.cst
        self._wanted: set[str] = set()
        """Names of layers that must be imported."""
        self._lists: dict[int, tuple[Any, dict[int, list[str]]]] = {}
        self._import_keras = False
        self._keras: str | None = None

    def text(self) -> str:
        """The file with everything changed."""
        for listed, elements in self._lists.values():
            self.source.change(listed, self._relisted(listed, elements))
        self._imports()
        return self.source.changed()

    @property
    def keras(self) -> str:
        """How this file calls Keras; the import is added where it does not."""
        if self._keras is None:
            self._keras = self._known_keras()
            if self._keras is None:
                self._import_keras = True
                self._keras = "keras"
        return self._keras

    def _known_keras(self) -> str | None:
        for node in self.source.nodes((self.cst.Import, self.cst.ImportFrom)):
            if isinstance(node.names, self.cst.ImportStar):
                continue
            for one in node.names:
                whole = self.source.code(one.name)
                shown = one.asname.name.value if one.asname else None
                origin = (
                    self.source.code(node.module)
                    if isinstance(node, self.cst.ImportFrom) and node.module
                    else ""
                )
                if f"{origin}.{whole}".lstrip(".") in ("keras", "tensorflow.keras"):
                    return shown or whole
                if whole == "tensorflow" and not origin:
                    return f"{shown or whole}.keras"
        return None

    def layer(self, change: Change) -> None:
        """Change the call that makes a layer, and what stands around it."""
        site = change.layer.site
        assert site is not None
        call = self.source.call(site, INPUTS if change.layer.kind == "InputLayer" else ())
        if change.layer.kind == "InputLayer":
            self._after_input(call, change)
            return
        if change.settings:
            self._set(call, change)
        if change.both_ways:
            text = f"{self._prefix(call, 'Bidirectional')}Bidirectional(__it__)"
            self.source.change(call, lambda made: self._expression(text, made))
        if change.after or change.before or change.removed:
            self._around(call, change)

    def _after_input(self, call: Any, change: Change) -> None:
        """What follows an input that several layers read gets a name of its own: the model still
        begins at the input.
        """
        cst = self.cst
        line = self.source.around(call, cst.SimpleStatementLine)
        target = self._target(line, call)
        if target is None:
            raise TooCleverError(f"{self.name} does not give its input a name")
        made = f"{target}_prepared"
        for layer in change.siblings:
            if change.layer.name in layer.inputs:
                self._read_instead(layer, target, made)
        texts = [self._made(call, layer) for layer in change.after]
        first = [f"{made} = {texts[0]}({target})"] + [
            f"{made} = {text}({made})" for text in texts[1:]
        ]
        self._statements(line, change, [], first)

    def _read_instead(self, layer: Layer, old: str, new: str) -> None:
        cst = self.cst
        if layer.site is None or layer.site.file != self.name:
            raise TooCleverError(f"{layer.name} is made elsewhere")
        outer = self.source.parent(self.source.call(layer.site, ()))
        names = [
            one.value
            for one in getattr(outer, "args", ())
            if isinstance(one.value, cst.Name) and one.value.value == old
        ]
        if not isinstance(outer, cst.Call) or len(names) != 1:
            raise TooCleverError(f"{self.name} passes its input on in a way of its own")
        self.source.change(names[0], lambda made: cst.Name(new))

    def _set(self, call: Any, change: Change) -> None:
        wanted = {
            name: None
            if value is ...
            else literal(value, keras=self.keras if isinstance(value, dict) else "keras")
            for name, value in change.settings.items()
        }
        if called_name(call) == "Bidirectional":
            if not call.args or not isinstance(call.args[0].value, self.cst.Call):
                raise TooCleverError(f"what {change.layer.name} wraps is made elsewhere")
            call = call.args[0].value
            parameters = best_model_script.inner_of(change.layer).parameters
        else:
            parameters = change.layer.parameters
        self.source.change(call, lambda made: with_arguments(self.source, made, wanted, parameters))

    def _expression(self, text: str, made: Any) -> Any:
        """`text` as an expression, with `__it__` standing for a node."""
        cst = self.cst

        class Put(cst.CSTTransformer):  # type: ignore[misc, name-defined, unused-ignore]
            def leave_Name(self, original_node: Any, updated_node: Any) -> Any:  # noqa: N802 - LibCST's name
                return made if original_node.value == "__it__" else updated_node

        return cst.parse_expression(text).visit(Put())

    def _prefix(self, call: Any, *kinds: str) -> str:
        """`layers.` where the file says `layers.Dense`; nothing, and the names imported, where it
        says `Dense`.
        """
        if isinstance(call.func, self.cst.Attribute) and called_name(call) not in NO_LAYERS:
            # Where preprocessing layers once were, no others are.
            return (
                self.source.code(call.func.value).removesuffix(".experimental.preprocessing") + "."
            )
        if called_name(call) in NO_LAYERS:
            others = [
                one
                for one in self.source.nodes(self.cst.Call)
                if called_name(one) in ("Dense", "Conv2D", "Conv1D", "Flatten", "Dropout")
            ]
            if others:
                return self._prefix(others[0], *kinds)
            return f"{self.keras}.layers."
        self._wanted.update(kinds)
        return ""

    def _made(self, call: Any, layer: Layer) -> str:
        kinds = [
            layer.kind,
            *([best_model_script.inner_of(layer).kind] if layer.kind == "Bidirectional" else []),
        ]
        text = best_model_script.constructor(
            layer, prefix=self._prefix(call, *kinds), keras="__keras__"
        )
        return text.replace("__keras__", self.keras) if "__keras__" in text else text

    def _around(self, call: Any, change: Change) -> None:
        before = [self._made(call, layer) for layer in change.before]
        after = [self._made(call, layer) for layer in change.after]
        call = self._by_name(call)
        cst = self.cst
        parent = self.source.parent(call)
        if isinstance(parent, cst.Element) and isinstance(self.source.parent(parent), cst.List):
            self._in_list(call, self.source.parent(parent), change, before, after)
        elif isinstance(parent, cst.Arg) and called_name(self.source.parent(parent)) == "add":
            self._by_add(self.source.parent(parent), call, change, before, after)
        elif isinstance(parent, cst.Call) and parent.func is call and len(parent.args) == 1:
            self._functional(parent, change, before, after)
        else:
            raise TooCleverError(f"{self.name} uses {change.layer.name} in a way of its own")

    def _by_name(self, call: Any) -> Any:
        """Where a layer that was given a name first stands in a list of layers; else the call
        itself.
        """
        cst = self.cst
        name = self._target(self.source.around(call, cst.SimpleStatementLine), call)
        uses = [
            one
            for one in self.source.nodes(cst.Element)
            if name and getattr(one.value, "value", None) == name
        ]
        return uses[0].value if len(uses) == 1 else call

    def _in_list(
        self, call: Any, listed: Any, change: Change, before: list[str], after: list[str]
    ) -> None:
        place = next(i for i, one in enumerate(listed.elements) if one.value is call)
        if before and place == 0:
            before, shape = self._first(call, before)
            if shape:
                self.source.change(call, lambda made: with_arguments(self.source, made, shape, ()))
        own = [] if change.removed else ["__it__"]
        self._lists.setdefault(id(listed), (listed, {}))[1][place] = [*before, *own, *after]

    def _first(self, call: Any, before: list[str]) -> tuple[list[str], dict[str, str | None]]:
        """The first layer tells its input's shape: that goes to the layer now before it."""
        told = [
            one for one in getattr(call, "args", ()) if one.keyword and one.keyword.value in SHAPES
        ]
        if not told:
            return before, {}
        text = f"{told[0].keyword.value}={self.source.code(told[0].value)}"
        head = before[0]
        joined = head[:-1] + (", " if not head.endswith("()") else "") + text + ")"
        return [joined, *before[1:]], {told[0].keyword.value: None}

    def _relisted(self, listed: Any, elements: dict[int, list[str]]) -> Any:
        def make(updated: Any) -> Any:
            parts = []
            for i, one in enumerate(updated.elements):
                texts = elements.get(i, ["__it__"])
                parts.append(
                    [
                        one.value if text == "__it__" else self.cst.parse_expression(text)
                        for text in texts
                    ]
                )
            return with_elements(self.source, updated, parts)

        return make

    def _by_add(
        self, adding: Any, call: Any, change: Change, before: list[str], after: list[str]
    ) -> None:
        line = self.source.around(adding, self.cst.SimpleStatementLine)
        if line is None or len(line.body) != 1 or not isinstance(line.body[0], self.cst.Expr):
            raise TooCleverError(f"{change.layer.name} is added in a line with other things")
        if before and not self._has_input():
            before, shape = self._first(call, before)
            if shape:
                self.source.change(call, lambda made: with_arguments(self.source, made, shape, ()))
        adder = self.source.code(adding.func)
        self._statements(
            line,
            change,
            [f"{adder}({text})" for text in before],
            [f"{adder}({text})" for text in after],
        )

    def _has_input(self) -> bool:
        return any(called_name(one) in INPUTS for one in self.source.nodes(self.cst.Call))

    def _statements(self, line: Any, change: Change, before: list[str], after: list[str]) -> None:
        cst = self.cst

        def make(updated: Any) -> Any:
            kept = [] if change.removed else [updated]
            lead = updated.leading_lines if change.removed or before else ()
            new = [cst.parse_statement(text) for text in (*before, *after)]
            if new and (change.removed or before):
                new[0] = new[0].with_changes(leading_lines=lead)
                kept = [one.with_changes(leading_lines=()) for one in kept]
            whole = [*new[: len(before)], *kept, *new[len(before) :]]
            return cst.FlattenSentinel(whole) if whole else cst.RemoveFromParent()

        self.source.change(line, make)

    def _functional(self, outer: Any, change: Change, before: list[str], after: list[str]) -> None:
        cst = self.cst
        if before:
            taken = outer.args[0]
            self.source.change(
                taken, lambda made: made.with_changes(value=self._nested(before, made.value))
            )
        line = self.source.around(outer, cst.SimpleStatementLine)
        target = self._target(line, outer)
        if (
            change.removed
            and not after
            and target is not None
            and self.source.code(outer.args[0].value) == target
            and not before
        ):
            self.source.change(line, lambda made: cst.RemoveFromParent())
            return
        if change.removed:
            self.source.change(outer, lambda made: self._nested(after, made.args[0].value))
        elif target is not None:
            self._statements(line, change, [], [f"{target} = {text}({target})" for text in after])
        elif after:
            self.source.change(outer, lambda made: self._nested(after, made))

    def _nested(self, texts: list[str], made: Any) -> Any:
        for text in texts:
            made = self._expression(f"{text}(__it__)", made)
        return made

    def _target(self, line: Any, outer: Any) -> str | None:
        """The name that the whole statement assigns the call to."""
        cst = self.cst
        if line is None or len(line.body) != 1 or not isinstance(line.body[0], cst.Assign):
            return None
        assign = line.body[0]
        if (
            assign.value is not outer
            or len(assign.targets) != 1
            or not isinstance(assign.targets[0].target, cst.Name)
        ):
            return None
        return str(assign.targets[0].target.value)

    def training(self, winner: Winner) -> None:
        """Set what `compile` and `fit` are given."""
        if winner.compile is not None and winner.compile.file == self.name:
            call = self.source.call(winner.compile, ("compile",))
            if best_model_script.optimizer(winner) is not None:
                text = best_model_script.optimizer(winner, keras=self.keras)
                self.source.change(
                    call,
                    lambda made: with_arguments(self.source, made, {"optimizer": text}, COMPILE),
                )
        if winner.fit is not None and winner.fit.file == self.name:
            self._fit(self.source.call(winner.fit, ("fit",)), winner)

    def _fit(self, call: Any, winner: Winner) -> None:
        wanted: dict[str, str | None] = {}
        epochs = int(winner.recipe.get("epochs") or 0)
        if (
            epochs
            and winner.given.get("epochs") != epochs
            and not self._constant(call, "epochs", epochs)
        ):
            wanted["epochs"] = str(epochs)
        batch = int(winner.recipe.get("batch_size") or 0)
        if (
            batch
            and winner.given.get("batch_size") != batch
            and not self._constant(call, "batch_size", batch)
        ):
            wanted["batch_size"] = str(batch)
        if winner.class_weight:
            wanted["class_weight"] = repr(dict(winner.class_weight))
        if wanted:
            self.source.change(call, lambda made: with_arguments(self.source, made, wanted, FIT))

    def _constant(self, call: Any, name: str, value: int) -> bool:
        """Change the constant that the argument names, where it is one: other lines may use it too."""
        cst = self.cst
        given = next((one for one in call.args if one.keyword and one.keyword.value == name), None)
        if given is None or not isinstance(given.value, cst.Name):
            return False
        assigned = [
            one
            for one in self.source.nodes(cst.Assign)
            if any(
                isinstance(t.target, cst.Name) and t.target.value == given.value.value
                for t in one.targets
            )
        ]
        if len(assigned) != 1 or not isinstance(assigned[0].value, cst.Integer):
            return False
        if not isinstance(self.source.parent(self.source.parent(assigned[0])), cst.Module):
            return False
        self.source.change(assigned[0].value, lambda made: cst.Integer(str(value)))
        return True

    def _imports(self) -> None:
        cst = self.cst
        if self._wanted:
            self._import_names()
        if self._import_keras:
            first = self.source.nodes((cst.Import, cst.ImportFrom))
            lines = [self.source.around(one, cst.SimpleStatementLine) for one in first]
            tops = [one for one in lines if isinstance(self.source.parent(one), cst.Module)]
            near = next(
                (one for one in tops if "keras" in self.source.code(one)), tops[0] if tops else None
            )
            if near is None:
                raise TooCleverError("the source imports nothing")

            # The two are not the same before TensorFlow 2.16.
            text = (
                "from tensorflow import keras"
                if "tensorflow.keras" in self.source.code(near)
                else "import keras"
            )

            def with_keras(updated: Any) -> Any:
                made = cst.parse_statement(text).with_changes(leading_lines=updated.leading_lines)
                return cst.FlattenSentinel([made, updated.with_changes(leading_lines=())])

            self.source.change(near, with_keras)

    def _import_names(self) -> None:
        """Import the layers that the new lines name, beside those that the file imports."""
        cst = self.cst
        every = [
            one
            for one in self.source.nodes(cst.ImportFrom)
            if one.module is not None and "layers" in self.source.code(one.module).split(".")
        ]
        if any(isinstance(one.names, cst.ImportStar) for one in every):
            return
        importing = [one for one in every if self.source.code(one.module).endswith("layers")]
        if not importing:
            raise TooCleverError("the source does not show where its layers are imported from")
        known = {
            self.source.code(name.name) for one in every for name in one.names if not name.asname
        }
        missing = sorted(self._wanted - known)
        if not missing:
            return

        def extended(updated: Any) -> Any:
            *others, last = updated.names
            plain = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
            between = others[-1].comma if others else plain
            made = [cst.ImportAlias(cst.Name(name), comma=between) for name in missing]
            made[-1] = made[-1].with_changes(comma=last.comma)
            return updated.with_changes(names=[*others, last.with_changes(comma=between), *made])

        self.source.change(importing[0], extended)
