"""Count the models, layers and fits of each framework, with their places."""

from __future__ import annotations

from mlops_lib.detection import symbols
from mlops_lib.detection.facts import Call, Facts
from mlops_lib.detection.tables import PREPARES
from mlops_lib.detection.words import words
from mlops_lib.lazy_regex import lazy_regex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Seen = tuple[str, str, int]
"""File, evidence, line."""

FREE_FITS = words("""
    fit fit_generator train_on_batch partial_fit fit_predict fit_one_cycle fine_tune learn_one
    learn_many
""")
"""Methods that train, whatever they are called on."""
EPOCHS = words("epochs nb_epoch steps_per_epoch samples_per_epoch validation_data callbacks")
VARIABLES = words("Variable get_variable Parameter requires_grad_ xw_plus_b")
TAPES = words("apply_gradients gradient GradientTape")
OPTIMIZERS = ("optax.adam", "optax.sgd", "optax.rmsprop", "torch.optim.Adam", "torch.optim.RMSprop")
NO_MODELS = words("numpy scipy pandas matplotlib seaborn")
"""Modules with methods of such names that train nothing."""
BENT = lazy_regex(r"\b(mm|matmul|dot)\(\)\.(clamp|clip|relu|tanh|sigmoid)\w*\(\)")
"""An activation of a product."""
ARRAYS = words("jax tensorflow torch")
"""Modules whose arrays `@` multiplies."""


class Tally:
    """Counts of one framework's models, layers and fits."""

    __slots__ = ("families", "first", "fits", "layers", "loaded", "models", "transforms")

    def __init__(self) -> None:
        self.models = 0
        self.loaded = 0
        self.layers = 0
        self.transforms = 0
        self.fits: list[Seen] = []
        self.first: Seen | None = None
        self.families: dict[str, list[Seen]] = {}

    @property
    def builds(self) -> bool:
        """True if the program makes models or layers of the framework."""
        return bool(self.models or self.layers or self.loaded)

    @property
    def size(self) -> int:
        """Number of layers and models."""
        return self.layers + self.models

    def add(self, family: str, seen: Seen) -> None:
        """Note that something of a family was seen."""
        self.families.setdefault(family, []).append(seen)


NO_TALLY = Tally()


class Case:
    """Counts over the files of one program.

    Args:
        files: each file's name and facts.
    """

    def __init__(self, files: Sequence[tuple[str, Facts]]) -> None:
        self.files = files
        self.tallies: dict[str, Tally] = {}
        self.free: list[Seen] = []
        """Fits of something whose framework is not seen."""
        self.epochs: list[Seen] = []
        """Those of them with the arguments of Keras's fit."""
        self.leaves: set[str] = set()
        """The last names of everything that is called."""
        self.products: list[Seen] = []
        """Products of matrices, which make layers by hand."""
        self.variables = False
        """True if it makes trainable numbers."""
        self.scopes: dict[str, set[str]] = {"product": set(), "variable": set()}
        """The functions in which these parts of a network are written out."""
        self.bent = False
        """True if one expression has a product of another product's activation."""
        self.plain: list[Call] = []
        """Calls of plain names."""
        self.repeated = False
        """True if dense layers are made in a loop."""
        self.parts = 0
        """Number of networks made within networks."""
        self.tape: list[Seen] = []
        self.minimised: list[Seen] = []
        self.backward: list[Seen] = []
        self.optimizers: list[Seen] = []
        self.symbolic: list[Seen] = []
        """Gradients taken of a graph."""
        self.grads: list[Seen] = []
        self.roots = {i.module.partition(".")[0] for _, facts in files for i in facts.imports}
        self.descends = any(facts.descends for _, facts in files)
        for name, facts in files:
            self._count(name, facts)

    def tally(self, framework: str) -> Tally:
        """Return a framework's tally, which is created if it is missing."""
        return self.tallies.setdefault(framework, Tally())

    def get(self, framework: str) -> Tally:
        """Return a framework's tally, or an empty one."""
        return self.tallies.get(framework, NO_TALLY)

    def free_for(self, framework: str) -> list[Seen]:
        """Return fits of unknown objects, if the framework makes models without own fits."""
        tally = self.get(framework)
        return self.free if tally.builds and not tally.fits else []

    def imports(self, *beginnings: str) -> bool:
        """Return whether a module with one of these beginnings, normalised, is imported."""
        modules = (imported.module for _, facts in self.files for imported in facts.imports)
        return any(symbols.normal(module + ".").startswith(beginnings) for module in modules)

    def has_framework(self, framework: str) -> bool:
        """Return whether a module of the framework is imported."""
        return any(symbols.FRAMEWORK_OF.get(root) == framework for root in self.roots)

    def _count(self, file: str, facts: Facts) -> None:
        for call in facts.calls:
            self.leaves.add(call.leaf)
            if not call.receiver:
                self.plain.append(call)
            self._called(file, call)
        if self.roots & {"keras", "tensorflow"} or not self.roots & symbols.FRAMEWORK_OF.keys():
            # Imports may be missing: forgotten, or in a part that is put in front of this one.
            for call in facts.undefined:
                if symbols.is_keras(call.name):
                    self._called(file, call.renamed(f"keras.layers.{call.name}"))
        self.products += [
            (file, one.saw, one.line) for one in facts.shapes if one.kind == "product"
        ]
        self._multiplied(file, facts)
        for base in facts.bases:
            means = symbols.of(base)
            if means.part in (symbols.MODEL, symbols.LAYER) or means.family == "gnn":
                self._built(file, base, means)
            elif means.part == symbols.TRANSFORM:
                self.tally(means.framework).transforms += 1
        for mention in facts.mentions:
            self._mentioned(file, mention)

    def _multiplied(self, file: str, facts: Facts) -> None:
        """Count `x @ w` in functions that multiply several times: one product alone may be
        anything.
        """
        if not self.roots & ARRAYS:
            return
        by_scope: dict[str, list[int]] = {}
        for scope, line in facts.multiplied:
            by_scope.setdefault(scope, []).append(line)
        for lines in by_scope.values():
            if len(lines) >= 2:
                self.products += [(file, "… @ …", line) for line in lines]

    def _mentioned(self, file: str, mention: Call) -> None:
        means = symbols.of(mention)
        if means.part == symbols.TRAINS:
            self._trains(file, mention, means)
        elif (
            means.part in (symbols.MODEL, symbols.LAYER)
            and means.family
            and (mention.leaf[:1].isupper() or mention.name.startswith("torchvision.models."))
        ):
            self._built(file, mention, means)

    def _called(self, file: str, call: Call) -> None:
        seen = _seen(file, call)
        means = symbols.of(call)
        if means.part in (symbols.MODEL, symbols.LAYER, symbols.CONTAINER, symbols.LOADED):
            self._built(file, call, means)
        elif means.part == symbols.FIT:
            self._fitted(call, means, seen)
        elif means.part == symbols.CONTAINER_FIT:
            self.free.append(seen)
        elif means.part == symbols.TRANSFORM:
            self.tally(means.framework).transforms += 1
        elif means.part == symbols.TRAINS:
            self._trains(file, call, means)
        elif means.family == "product" or (call.leaf == "dot" and "theano" in self.roots):
            self.products.append(seen)
            self.scopes["product"].add(call.scope)
            self.bent = self.bent or BENT.search(call.receiver) is not None
        elif means.family == "gnn":
            self.tally(means.framework).add("gnn", seen)
        elif _is_fit(call) and not means.framework and _is_free(call):
            self.free.append(seen)
            if EPOCHS & set(call.keywords):
                self.epochs.append(seen)
        self._note_step(call, seen)

    def _fitted(self, call: Call, means: symbols.Meaning, seen: Seen) -> None:
        tally = self.tally(means.framework)
        tally.fits.append(seen)
        tally.first = tally.first or seen
        if "()" not in call.name or call.name.startswith("pycaret."):
            tally.models += 1
            if means.family:
                tally.add(means.family, seen)

    def _trains(self, file: str, call: Call, means: symbols.Meaning) -> None:
        self.grads.append(_seen(file, call))
        if means.framework == "other":
            self.tally("other").fits.append(_seen(file, call))

    def _note_step(self, call: Call, seen: Seen) -> None:
        """Note the parts of a training step written by hand."""
        leaf = call.leaf
        name = symbols.normal(call.name)
        if name.startswith(OPTIMIZERS) and leaf[:1].isalpha() and "()" not in call.name:
            self.optimizers.append(seen)
        if "requires_grad" in call.keywords or (
            leaf in VARIABLES and not call.name.startswith("torch.autograd.")
        ):
            self.variables = True
            self.scopes["variable"].add(call.scope)
        if leaf in TAPES:
            self.tape.append(seen)
        elif leaf == "gradients" and symbols.framework_of(name) in ("keras", "tensorflow"):
            self.symbolic.append(seen)
        elif leaf in ("minimize", "optimize_loss") and not call.name.startswith("scipy"):
            self.minimised.append(seen)
        elif leaf == "backward":
            self.backward.append(seen)

    def _built(self, file: str, call: Call, means: symbols.Meaning) -> None:
        tally = self.tally(means.framework)
        seen = (file, call.name.removesuffix("()") + "(…)", call.line)
        if means.part == symbols.LAYER:
            tally.layers += 1
            self.repeated = self.repeated or (call.repeated and means.family in ("dense", ""))
        elif means.part == symbols.LOADED:
            tally.loaded += 1
        elif means.part != symbols.CONTAINER:
            tally.models += 1
            self.parts += (1 + call.repeated) * (call.within != "" and not means.family)
        tally.first = tally.first or seen
        if means.family:
            tally.add(means.family, seen)


def _seen(file: str, call: Call) -> Seen:
    name = call.name.replace("?.", "….")
    return file, name if call.name.endswith(")") else name + "(…)", call.line


def _is_fit(call: Call) -> bool:
    """Return whether a method trains any object; `learn` only with an agent's arguments."""
    return call.leaf in FREE_FITS or (call.leaf == "learn" and "total_timesteps" in call.keywords)


def _is_free(call: Call) -> bool:
    """Return whether a fit's object is unknown, and not known to be no model."""
    if not call.receiver or PREPARES.search(call.receiver.rpartition(".")[2].removesuffix("()")):
        return False
    constructor = symbols.normal(call.receiver.partition("()")[0])
    if "()" in call.receiver and symbols.framework_of(constructor):
        part = symbols.of(Call(call.receiver.partition("()")[0], call.line)).part
        return part in (symbols.MODEL, symbols.CONTAINER, symbols.LOADED)
    return constructor.partition(".")[0] not in NO_MODELS


def all_seen(groups: Iterable[list[Seen]]) -> list[Seen]:
    """Return everything seen in several groups."""
    return [seen for group in groups for seen in group]
