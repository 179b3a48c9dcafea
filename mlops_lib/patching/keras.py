"""A Keras winner as changes to the calls that build, compile and train the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlops_lib.patching import best_model_script
from mlops_lib.patching.notebooks import open_source
from mlops_lib.patching.source import Source, called_name, with_arguments, with_elements
from mlops_lib.patching.winner_record import Layer, UnpatchableError, Winner, literal

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
"""Layers of nearly every model, which show the file's way of calling layers."""
SHAPES = ("input_shape", "input_dim", "batch_input_shape")
INPUTS = ("Input", "InputLayer")
NO_LAYERS = (*INPUTS, "Sequential", "Model")
"""Calls that do not show the file's way of calling layers."""


@dataclass
class Change:
    """The change of one layer of the developer's model."""

    layer: Layer
    siblings: tuple[Layer, ...] = ()
    """The layers of the model that contains it, as the developer built it."""
    settings: dict[str, Any] = field(default_factory=dict)
    """New values; `Ellipsis` removes the argument."""
    after: list[Layer] = field(default_factory=list)
    before: list[Layer] = field(default_factory=list)
    make_bidirectional: bool = False
    """Whether to wrap it into a Bidirectional."""
    removed: bool = False

    @property
    def has_effect(self) -> bool:
        """Whether anything changes."""
        return bool(
            self.settings or self.after or self.before or self.make_bidirectional or self.removed
        )


def patched_files(winner: Winner, *, project: Path) -> dict[str, str]:
    """Return the patched files, by their names in the project.

    Raises:
        UnpatchableError: the source does not show exactly one place for each change.
    """
    changes = [change for change in plan_changes(winner) if change.has_effect]
    layers = _flattened(winner.before)
    sites = [
        layer.site for layer in layers if layer.site is not None and layer.kind != "InputLayer"
    ]
    for change in changes:
        if change.layer.site is None:
            raise UnpatchableError(f"it does not show where {change.layer.name} is made")
        if sites.count(change.layer.site) > 1:
            raise UnpatchableError(
                f"line {change.layer.site.line} of {change.layer.site.file} makes several layers"
            )
    names = {
        site.file
        for site in (winner.fit, winner.compile, *(change.layer.site for change in changes))
        if site is not None
    }
    files = {}
    for name in sorted(names):
        editor = _Editor(open_source(project, name), name)
        for change in changes:
            if change.layer.site is not None and change.layer.site.file == name:
                editor.apply(change)
        editor.apply_training(winner)
        files[name] = editor.text()
    return files


def plan_changes(winner: Winner) -> list[Change]:
    """Return the difference of two architectures as changes to layers of the first.

    Raises:
        UnpatchableError: it cannot be expressed so.
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
            inner += plan_changes(within) if within.before or within.after else []
    for layer in winner.after:
        if layer.name not in changes:
            _insert(layer, changes, after, winner)
    return [*changes.values(), *inner]


def _flattened(layers: Iterable[Layer]) -> list[Layer]:
    """Return the layers, followed by those of nested models."""
    return [nested for layer in layers for nested in (layer, *_flattened(layer.layers))]


def _compare(change: Change, now: Layer) -> None:
    own = change.layer
    new = now.arguments
    old = own.arguments
    if own.kind == "InputLayer":
        return
    if now.kind == "Bidirectional":
        inner = best_model_script.inner_of(now)
        change.make_bidirectional = own.kind != "Bidirectional"
        old = (
            own.arguments
            if change.make_bidirectional
            else best_model_script.inner_of(own).arguments
        )
        new = inner.arguments
    elif own.kind != now.kind:
        raise UnpatchableError(f"{own.name} became another kind of layer")
    change.settings.update(
        {name: value for name, value in new.items() if name not in old or old[name] != value}
    )
    change.settings.update({name: ... for name in old if name not in new})


def _insert(
    layer: Layer, changes: dict[str, Change], after: Mapping[str, Layer], winner: Winner
) -> None:
    if not layer.has_code:
        raise UnpatchableError(f"{layer.name} cannot be written as code")
    place = layer
    while place.name not in changes:
        if len(place.inputs) != 1:
            raise UnpatchableError(f"{layer.name} stands at no single place")
        place = after[place.inputs[0]]
    anchor = changes[place.name]
    if place.kind == "InputLayer":
        readers = [changes[reader.name] for reader in winner.before if place.name in reader.inputs]
        if len(readers) == 1:
            # The input may have no line of its own; with a single reader, "after the input" is
            # "before that reader", which always has one.
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
        """Return the file with all changes made."""
        for list_node, elements in self._lists.values():
            self.source.change(list_node, self._with_list_elements(list_node, elements))
        self._imports()
        return self.source.patched_text()

    @property
    def keras(self) -> str:
        """The name of Keras in this file; an import is added if there is none."""
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
            for alias in node.names:
                name = self.source.code(alias.name)
                local_name = alias.asname.name.value if alias.asname else None
                origin = (
                    self.source.code(node.module)
                    if isinstance(node, self.cst.ImportFrom) and node.module
                    else ""
                )
                if f"{origin}.{name}".lstrip(".") in ("keras", "tensorflow.keras"):
                    return local_name or name
                if name == "tensorflow" and not origin:
                    return f"{local_name or name}.keras"
        return None

    def apply(self, change: Change) -> None:
        """Change the call that builds a layer, and its surroundings."""
        site = change.layer.site
        assert site is not None
        call = self.source.call(site, INPUTS if change.layer.kind == "InputLayer" else ())
        if change.layer.kind == "InputLayer":
            self._after_input(call, change)
            return
        if change.settings:
            self._set(call, change)
        if change.make_bidirectional:
            text = f"{self._prefix(call, 'Bidirectional')}Bidirectional(__it__)"
            self.source.change(call, lambda updated: self._expression(text, updated))
        if change.after or change.before or change.removed:
            self._insert_neighbours(call, change)

    def _after_input(self, call: Any, change: Change) -> None:
        """Insert layers after an input that several layers read.

        The result gets a variable of its own, because the model must still begin at the input.
        """
        cst = self.cst
        line = self.source.around(call, cst.SimpleStatementLine)
        target = self._target(line, call)
        if target is None:
            raise UnpatchableError(f"{self.name} does not give its input a name")
        variable = f"{target}_prepared"
        for layer in change.siblings:
            if change.layer.name in layer.inputs:
                self._redirect_input(layer, target, variable)
        texts = [self._layer_code(call, layer) for layer in change.after]
        first = [f"{variable} = {texts[0]}({target})"] + [
            f"{variable} = {text}({variable})" for text in texts[1:]
        ]
        self._statements(line, change, [], first)

    def _redirect_input(self, layer: Layer, old: str, new: str) -> None:
        cst = self.cst
        if layer.site is None or layer.site.file != self.name:
            raise UnpatchableError(f"{layer.name} is made elsewhere")
        outer = self.source.parent(self.source.call(layer.site, ()))
        names = [
            argument.value
            for argument in getattr(outer, "args", ())
            if isinstance(argument.value, cst.Name) and argument.value.value == old
        ]
        if not isinstance(outer, cst.Call) or len(names) != 1:
            raise UnpatchableError(f"{self.name} passes its input on in a way of its own")
        self.source.change(names[0], lambda updated: cst.Name(new))

    def _set(self, call: Any, change: Change) -> None:
        settings = {
            name: None
            if value is ...
            else literal(value, keras=self.keras if isinstance(value, dict) else "keras")
            for name, value in change.settings.items()
        }
        if called_name(call) == "Bidirectional":
            if not call.args or not isinstance(call.args[0].value, self.cst.Call):
                raise UnpatchableError(f"what {change.layer.name} wraps is made elsewhere")
            call = call.args[0].value
            parameters = best_model_script.inner_of(change.layer).parameters
        else:
            parameters = change.layer.parameters
        self.source.change(
            call, lambda updated: with_arguments(self.source, updated, settings, parameters)
        )

    def _expression(self, text: str, node: Any) -> Any:
        """Parse `text` as an expression in which `__it__` stands for `node`."""
        cst = self.cst

        class Put(cst.CSTTransformer):  # type: ignore[misc, name-defined, unused-ignore]
            def leave_Name(self, original_node: Any, updated_node: Any) -> Any:  # noqa: N802 - LibCST's name
                return node if original_node.value == "__it__" else updated_node

        return cst.parse_expression(text).visit(Put())

    def _prefix(self, call: Any, *kinds: str) -> str:
        """Return the prefix of layer calls: "layers." if the file writes `layers.Dense`.

        It is "" if the file writes `Dense`; the names are then imported.
        """
        if isinstance(call.func, self.cst.Attribute) and called_name(call) not in NO_LAYERS:
            # The experimental module of preprocessing layers holds no other layers.
            return (
                self.source.code(call.func.value).removesuffix(".experimental.preprocessing") + "."
            )
        if called_name(call) in NO_LAYERS:
            others = [
                candidate
                for candidate in self.source.nodes(self.cst.Call)
                if called_name(candidate) in ("Dense", "Conv2D", "Conv1D", "Flatten", "Dropout")
            ]
            if others:
                return self._prefix(others[0], *kinds)
            return f"{self.keras}.layers."
        self._wanted.update(kinds)
        return ""

    def _layer_code(self, call: Any, layer: Layer) -> str:
        kinds = [
            layer.kind,
            *([best_model_script.inner_of(layer).kind] if layer.kind == "Bidirectional" else []),
        ]
        text = best_model_script.constructor(
            layer, prefix=self._prefix(call, *kinds), keras="__keras__"
        )
        return text.replace("__keras__", self.keras) if "__keras__" in text else text

    def _insert_neighbours(self, call: Any, change: Change) -> None:
        before = [self._layer_code(call, layer) for layer in change.before]
        after = [self._layer_code(call, layer) for layer in change.after]
        call = self._list_element(call)
        cst = self.cst
        parent = self.source.parent(call)
        if isinstance(parent, cst.Element) and isinstance(self.source.parent(parent), cst.List):
            self._in_list(call, self.source.parent(parent), change, before, after)
        elif isinstance(parent, cst.Arg) and called_name(self.source.parent(parent)) == "add":
            self._by_add(self.source.parent(parent), call, change, before, after)
        elif isinstance(parent, cst.Call) and parent.func is call and len(parent.args) == 1:
            self._functional(parent, change, before, after)
        else:
            raise UnpatchableError(f"{self.name} uses {change.layer.name} in a way of its own")

    def _list_element(self, call: Any) -> Any:
        """Return the use of a layer's variable in a list of layers, else the call itself."""
        cst = self.cst
        name = self._target(self.source.around(call, cst.SimpleStatementLine), call)
        uses = [
            element
            for element in self.source.nodes(cst.Element)
            if name and getattr(element.value, "value", None) == name
        ]
        return uses[0].value if len(uses) == 1 else call

    def _in_list(
        self, call: Any, list_node: Any, change: Change, before: list[str], after: list[str]
    ) -> None:
        place = next(i for i, element in enumerate(list_node.elements) if element.value is call)
        if before and place == 0:
            before, shape = self._move_input_shape(call, before)
            if shape:
                self.source.change(
                    call, lambda updated: with_arguments(self.source, updated, shape, ())
                )
        own = [] if change.removed else ["__it__"]
        self._lists.setdefault(id(list_node), (list_node, {}))[1][place] = [*before, *own, *after]

    def _move_input_shape(
        self, call: Any, before: list[str]
    ) -> tuple[list[str], dict[str, str | None]]:
        """Move the input shape from the former first layer to the layer now before it."""
        shape_arguments = [
            argument
            for argument in getattr(call, "args", ())
            if argument.keyword and argument.keyword.value in SHAPES
        ]
        if not shape_arguments:
            return before, {}
        text = f"{shape_arguments[0].keyword.value}={self.source.code(shape_arguments[0].value)}"
        head = before[0]
        joined = head[:-1] + (", " if not head.endswith("()") else "") + text + ")"
        return [joined, *before[1:]], {shape_arguments[0].keyword.value: None}

    def _with_list_elements(self, list_node: Any, elements: dict[int, list[str]]) -> Any:
        def make(updated: Any) -> Any:
            parts = []
            for i, element in enumerate(updated.elements):
                texts = elements.get(i, ["__it__"])
                parts.append(
                    [
                        element.value if text == "__it__" else self.cst.parse_expression(text)
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
            raise UnpatchableError(f"{change.layer.name} is added in a line with other things")
        if before and not self._has_input():
            before, shape = self._move_input_shape(call, before)
            if shape:
                self.source.change(
                    call, lambda updated: with_arguments(self.source, updated, shape, ())
                )
        adder = self.source.code(adding.func)
        self._statements(
            line,
            change,
            [f"{adder}({text})" for text in before],
            [f"{adder}({text})" for text in after],
        )

    def _has_input(self) -> bool:
        return any(called_name(call) in INPUTS for call in self.source.nodes(self.cst.Call))

    def _statements(self, line: Any, change: Change, before: list[str], after: list[str]) -> None:
        cst = self.cst

        def make(updated: Any) -> Any:
            original = [] if change.removed else [updated]
            lead = updated.leading_lines if change.removed or before else ()
            new = [cst.parse_statement(text) for text in (*before, *after)]
            if new and (change.removed or before):
                new[0] = new[0].with_changes(leading_lines=lead)
                original = [statement.with_changes(leading_lines=()) for statement in original]
            statements = [*new[: len(before)], *original, *new[len(before) :]]
            return cst.FlattenSentinel(statements) if statements else cst.RemoveFromParent()

        self.source.change(line, make)

    def _functional(self, outer: Any, change: Change, before: list[str], after: list[str]) -> None:
        cst = self.cst
        if before:
            argument = outer.args[0]
            self.source.change(
                argument,
                lambda updated: updated.with_changes(value=self._nested(before, updated.value)),
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
            self.source.change(line, lambda updated: cst.RemoveFromParent())
            return
        if change.removed:
            self.source.change(outer, lambda updated: self._nested(after, updated.args[0].value))
        elif target is not None:
            self._statements(line, change, [], [f"{target} = {text}({target})" for text in after])
        elif after:
            self.source.change(outer, lambda updated: self._nested(after, updated))

    def _nested(self, texts: list[str], node: Any) -> Any:
        for text in texts:
            node = self._expression(f"{text}(__it__)", node)
        return node

    def _target(self, line: Any, outer: Any) -> str | None:
        """Return the variable to which the whole statement assigns the call, or None."""
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

    def apply_training(self, winner: Winner) -> None:
        """Change the arguments of `compile` and `fit`."""
        if winner.compile is not None and winner.compile.file == self.name:
            call = self.source.call(winner.compile, ("compile",))
            if best_model_script.optimizer(winner) is not None:
                text = best_model_script.optimizer(winner, keras=self.keras)
                self.source.change(
                    call,
                    lambda updated: with_arguments(
                        self.source, updated, {"optimizer": text}, COMPILE
                    ),
                )
        if winner.fit is not None and winner.fit.file == self.name:
            self._fit(self.source.call(winner.fit, ("fit",)), winner)

    def _fit(self, call: Any, winner: Winner) -> None:
        arguments: dict[str, str | None] = {}
        epochs = int(winner.recipe.get("epochs") or 0)
        if (
            epochs
            and winner.fit_arguments.get("epochs") != epochs
            and not self._constant(call, "epochs", epochs)
        ):
            arguments["epochs"] = str(epochs)
        batch = int(winner.recipe.get("batch_size") or 0)
        if (
            batch
            and winner.fit_arguments.get("batch_size") != batch
            and not self._constant(call, "batch_size", batch)
        ):
            arguments["batch_size"] = str(batch)
        if winner.class_weight:
            arguments["class_weight"] = repr(dict(winner.class_weight))
        if arguments:
            self.source.change(
                call, lambda updated: with_arguments(self.source, updated, arguments, FIT)
            )

    def _constant(self, call: Any, name: str, value: int) -> bool:
        """Change the module constant that the argument names; return whether there is one.

        The constant is changed rather than the argument, because other lines may use it too.
        """
        cst = self.cst
        argument = next(
            (node for node in call.args if node.keyword and node.keyword.value == name), None
        )
        if argument is None or not isinstance(argument.value, cst.Name):
            return False
        assignments = [
            node
            for node in self.source.nodes(cst.Assign)
            if any(
                isinstance(t.target, cst.Name) and t.target.value == argument.value.value
                for t in node.targets
            )
        ]
        if len(assignments) != 1 or not isinstance(assignments[0].value, cst.Integer):
            return False
        if not isinstance(self.source.parent(self.source.parent(assignments[0])), cst.Module):
            return False
        self.source.change(assignments[0].value, lambda updated: cst.Integer(str(value)))
        return True

    def _imports(self) -> None:
        cst = self.cst
        if self._wanted:
            self._import_names()
        if self._import_keras:
            first = self.source.nodes((cst.Import, cst.ImportFrom))
            lines = [self.source.around(node, cst.SimpleStatementLine) for node in first]
            tops = [node for node in lines if isinstance(self.source.parent(node), cst.Module)]
            near = next(
                (node for node in tops if "keras" in self.source.code(node)),
                tops[0] if tops else None,
            )
            if near is None:
                raise UnpatchableError("the source imports nothing")

            # Before TensorFlow 2.16, `keras` and `tensorflow.keras` are different packages.
            text = (
                "from tensorflow import keras"
                if "tensorflow.keras" in self.source.code(near)
                else "import keras"
            )

            def with_keras(updated: Any) -> Any:
                statement = cst.parse_statement(text).with_changes(
                    leading_lines=updated.leading_lines
                )
                return cst.FlattenSentinel([statement, updated.with_changes(leading_lines=())])

            self.source.change(near, with_keras)

    def _import_names(self) -> None:
        """Import the layers that new lines use, unless they are imported already."""
        cst = self.cst
        imports = [
            node
            for node in self.source.nodes(cst.ImportFrom)
            if node.module is not None and "layers" in self.source.code(node.module).split(".")
        ]
        if any(isinstance(node.names, cst.ImportStar) for node in imports):
            return
        importing = [node for node in imports if self.source.code(node.module).endswith("layers")]
        if not importing:
            raise UnpatchableError("the source does not show where its layers are imported from")
        imported = {
            self.source.code(name.name)
            for node in imports
            for name in node.names
            if not name.asname
        }
        new_names = sorted(self._wanted - imported)
        if not new_names:
            return

        def extended(updated: Any) -> Any:
            *others, last = updated.names
            plain = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
            between = others[-1].comma if others else plain
            aliases = [cst.ImportAlias(cst.Name(name), comma=between) for name in new_names]
            aliases[-1] = aliases[-1].with_changes(comma=last.comma)
            return updated.with_changes(names=[*others, last.with_changes(comma=between), *aliases])

        self.source.change(importing[0], extended)
