"""Which framework trains, and which families of model: from what one file, and the local modules it
imports, say.
"""

from __future__ import annotations

import re

from mlops_lib.detection import symbols
from mlops_lib.detection import tables as k
from mlops_lib.detection.facts import Call, Facts
from mlops_lib.detection.words import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SERVERS = words("flask fastapi django streamlit gradio bottle tornado aiohttp sanic dash telegram")
FREE_FITS = words(
    "fit fit_generator train_on_batch partial_fit fit_predict fit_one_cycle fine_tune"
)
EPOCHS = words("epochs nb_epoch steps_per_epoch samples_per_epoch validation_data callbacks")
VARIABLES = words("Variable get_variable Parameter requires_grad_ xw_plus_b")
HANDS_ON = frozenset(("apply_gradients", "gradient", "GradientTape"))
HANDED = frozenset(("apply_fn", "apply"))
"""Calls of a network that was handed in."""
ENVIRONMENTS = words("gym gymnasium gym_minigrid pettingzoo vizdoom pybullet_envs")

MESSAGES = words("update_all prop_nodes_topo apply_edges send_and_recv prop_nodes pull")
"""How networks over graphs pass messages in DGL."""
OPTIMIZERS = ("optax.adam", "optax.sgd", "optax.rmsprop", "torch.optim.Adam", "torch.optim.RMSprop")
NOISE = frozenset(("normal", "randn", "randn_like"))
DECODERS = words(
    "Conv2DTranspose UpSampling2D ConvTranspose2d Upsample ConvTranspose ConvTranspose1d"
)
"""Layers that make something large of something small."""
BENT = re.compile(r"\b(mm|matmul|dot)\(\)\.(clamp|clip|relu|tanh|sigmoid)\w*\(\)")
"""An activation of a product."""
WRITTEN_ONCE = 3
"""As how many layers one counts that is written out: it is put into a network several times."""
JAX_STEPS = frozenset(
    ("opt_update", "apply_updates", "apply_gradients", "update_state", "update", "get_params")
)

Seen = tuple[str, str, int]
"""File, what was seen, line."""


class Tally:
    """What one framework is seen to do."""

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
        """Whether models or layers of it are made."""
        return bool(self.models or self.layers or self.loaded)


class Conclusion:
    """Framework, families and where they were seen."""

    __slots__ = ("families", "framework", "is_bare", "main", "trains", "where")

    def __init__(self) -> None:
        self.framework = "none"
        self.trains = False
        self.is_bare = False
        """Whether nothing that is trained is made here: it is handed in."""
        self.families: tuple[str, ...] = ()
        self.main = "none"
        self.where: dict[str, Seen] = {}
        """What was concluded to where it was seen."""


def conclude(own: tuple[str, Facts], local: Sequence[tuple[str, Facts]] = ()) -> Conclusion:
    """Decide about one file.

    Args:
        own: the file's name and facts.
        local: those of the local modules that it makes use of.
    """
    found = _Case([own]).conclude()
    if not local or (found.trains and not set(found.families) <= WEAK):
        return found
    together = _Case([own, *local]).conclude()
    if (
        found.trains
        and found.framework != together.framework
        and found.families
        and not found.is_bare
    ):
        return found
    return together


WEAK = frozenset(("dense", "linear", "other"))
"""Families that a file also shows when the network itself is defined in another one."""


class _Case:
    def __init__(self, files: Sequence[tuple[str, Facts]]) -> None:
        self.files = files
        self.tallies: dict[str, Tally] = {}
        self.free: list[Seen] = []
        self.leaves: set[str] = set()
        self.products: list[Seen] = []
        self.variables = False
        """Whether it makes numbers that are trained."""
        self.scopes: dict[str, set[str]] = {"product": set(), "variable": set()}
        """The functions in which these parts of a network are written out."""
        self.bent = False
        """Whether a product is taken of another's activation in one expression."""
        self.plain: list[Call] = []
        """Calls of plain names."""
        self.epochs: list[Seen] = []
        """Fits on something unknown that are told what Keras's are told."""
        self.tape: list[Seen] = []
        self.minimised: list[Seen] = []
        self.backward: list[Seen] = []
        self.optimizers: list[Seen] = []
        self.symbolic: list[Seen] = []
        """Gradients taken of a graph."""
        self.grads: list[Seen] = []
        self.roots = {i.module.partition(".")[0] for _, facts in files for i in facts.imports}
        self.descends = any(facts.descends for _, facts in files)
        self.is_bare = False
        for name, facts in files:
            self._count(name, facts)

    def tally(self, framework: str) -> Tally:
        return self.tallies.setdefault(framework, Tally())

    def _count(self, file: str, facts: Facts) -> None:
        for call in facts.calls:
            self.leaves.add(call.leaf)
            if not call.receiver:
                self.plain.append(call)
            self._called(file, call)
        if self.roots & {"keras", "tensorflow"} or not self.roots & k.FRAMEWORK_OF.keys():
            # The tail of a script whose imports somebody puts in front of it, or that were
            # forgotten.
            for call in facts.undefined:
                if call.name in k.KERAS_LAYERS or call.name in k.KERAS_MODELS:
                    self._called(
                        file,
                        Call(
                            f"keras.layers.{call.name}",
                            call.line,
                            call.keywords,
                            call.first,
                            call.scope,
                        ),
                    )
        self.products += [
            (file, shape.saw, shape.line) for shape in facts.shapes if shape.kind == "product"
        ]
        for base in facts.bases:
            means = symbols.of(base)
            if means.part in (symbols.MODEL, symbols.LAYER) or means.family == "gnn":
                self._built(file, base, means)
            elif means.part == symbols.TRANSFORM:
                self.tally(means.framework).transforms += 1
        for mention in facts.mentions:
            means = symbols.of(mention)
            if (
                means.part in (symbols.MODEL, symbols.LAYER)
                and means.family
                and mention.leaf[:1].isupper()
            ):
                self._built(file, mention, means)

    def _called(self, file: str, call: Call) -> None:
        seen = (
            file,
            call.name.replace("?.", "….") + ("" if call.name.endswith(")") else "(…)"),
            call.line,
        )
        leaf = call.leaf
        means = symbols.of(call)
        if means.part in (symbols.MODEL, symbols.LAYER, symbols.CONTAINER, symbols.LOADED):
            self._built(file, call, means)
        elif means.part == symbols.FIT:
            tally = self.tally(means.framework)
            tally.fits.append(seen)
            tally.first = tally.first or seen
            if means.family and "()" not in call.name:
                self._family(tally, means.family, seen)
                tally.models += 1
        elif means.part == symbols.CONTAINER + symbols.FIT:
            self.free.append(seen)
        elif means.part == symbols.TRANSFORM:
            self.tally(means.framework).transforms += 1
        elif means.part == symbols.TRAINS:
            self.grads.append(seen)
            if means.framework == "other":
                self.tally("other").fits.append(seen)
        elif means.family == "product" or (leaf == "dot" and "theano" in self.roots):
            self.products.append(seen)
            self.scopes["product"].add(call.scope)
            self.bent = self.bent or BENT.search(call.receiver) is not None
        elif means.family == "gnn":
            self._family(self.tally(means.framework), "gnn", seen)
        elif leaf in FREE_FITS and not means.framework and self._is_free(call):
            self.free.append(seen)
            if EPOCHS & set(call.keywords):
                self.epochs.append(seen)
        if (
            symbols.normal(call.name).startswith(OPTIMIZERS)
            and leaf[:1].isalpha()
            and "()" not in call.name
        ):
            self.optimizers.append(seen)
        if "requires_grad" in call.keywords or (
            leaf in VARIABLES and not call.name.startswith("torch.autograd.")
        ):
            self.variables = True
            self.scopes["variable"].add(call.scope)
        if leaf in HANDS_ON:
            self.tape.append(seen)
        elif leaf == "gradients" and symbols.framework_of(symbols.normal(call.name)) in (
            "keras",
            "tensorflow",
        ):
            self.symbolic.append(seen)
        elif leaf in ("minimize", "optimize_loss") and not call.name.startswith("scipy"):
            self.minimised.append(seen)
        elif leaf == "backward":
            self.backward.append(seen)

    @staticmethod
    def _is_free(call: Call) -> bool:
        """Whether a `.fit` is on something unknown, and not on a tool that is known to be no model."""
        if not call.receiver:
            return False
        made = call.receiver.partition("()")[0]
        root = symbols.normal(made).partition(".")[0]
        if "()" in call.receiver and symbols.framework_of(symbols.normal(made)):
            part = symbols.of(Call(made, call.line)).part
            return part in (symbols.MODEL, symbols.CONTAINER, symbols.LOADED)
        return root not in ("numpy", "scipy", "pandas", "matplotlib", "seaborn")

    def _built(self, file: str, call: Call, means: symbols.Meaning) -> None:
        tally = self.tally(means.framework)
        seen = (file, call.name.removesuffix("()") + "(…)", call.line)
        if means.part == symbols.LAYER:
            tally.layers += 1
        elif means.part == symbols.LOADED:
            tally.loaded += 1
        elif means.part != symbols.CONTAINER:
            tally.models += 1
        tally.first = tally.first or seen
        if means.family:
            self._family(tally, means.family, seen)

    @staticmethod
    def _family(tally: Tally, family: str, seen: Seen) -> None:
        tally.families.setdefault(family, []).append(seen)

    # the decision

    def conclude(self) -> Conclusion:
        found = Conclusion()
        trained = self._trained()
        if trained:
            found.framework = self._choose(trained)
            found.trains = True
            found.where["framework"] = trained[found.framework]
        elif not self.roots & SERVERS:
            found.framework = self._only_built()
            if found.framework != "none":
                first = self.tally(found.framework).first or next(iter(self.products), None)
                if first is not None:
                    found.where["framework"] = first
        if found.framework != "none":
            self._families(found)
        return found

    def _trained(self) -> dict[str, Seen]:
        """The frameworks that train here, each with where."""
        found: dict[str, Seen] = {}
        keras, tensorflow = self.tallies.get("keras"), self.tallies.get("tensorflow")
        for framework, tally in self.tallies.items():
            if tally.fits and (tally.builds or framework in ("other", "sklearn")):
                found[framework] = tally.fits[0]
        if keras and keras.builds:
            hands = [
                *self.tape,
                *self.symbolic,
                *(self.backward if self._smaller("pytorch", keras) else []),
                *(self.grads if self._smaller("jax", keras) else []),
            ]
            fits = [*keras.fits, *self._free_for("keras"), *hands]
            if fits:
                found["keras"] = fits[0]
            elif self.minimised and keras.layers > (tensorflow.layers if tensorflow else 0):
                found["keras"] = self.minimised[0]
        elif (
            self.epochs and self._imports_keras()
        ):  # its network is made in a module that is not here
            found["keras"] = self.epochs[0]
        has_tensorflow = bool(self.roots & {"tensorflow", "tflearn", "tf_slim"})
        steps = self.descends or self.leaves & {
            "apply_gradients",
            "assign_sub",
            "assign_add",
            "assign",
        }
        hands = [*self.minimised, *(self.tape if "keras" not in found and steps else [])]
        if has_tensorflow and hands and ("keras" not in found or self._more_tensorflow()):
            found["tensorflow"] = hands[0]
            if keras and not keras.fits and self._more_tensorflow():
                found.pop("keras", None)
        if tensorflow and tensorflow.models and "tensorflow" not in found:
            called = tensorflow.fits or (
                self._free_for("tensorflow") if "keras" not in found else []
            )
            trains = self.leaves & {"train", "train_and_evaluate", "fit", "train_evaluate"}
            if called or (trains and tensorflow.first and "keras" not in found):
                found["tensorflow"] = called[0] if called else tensorflow.first  # type: ignore[assignment]
        if (
            "torch" in self.roots
            and self.backward
            and not ("keras" in found and keras and self._smaller("pytorch", keras))
        ):
            found["pytorch"] = self.backward[0]
        torch = self.tallies.get("pytorch")
        if torch and torch.models and "pytorch" not in found and "keras" not in found:
            fits = [*torch.fits, *self._free_for("pytorch")]
            if fits and (torch.families or "skorch" in self.roots or torch.fits):
                found["pytorch"] = fits[0]
        jax_roots = self.roots & {"jax", "flax", "haiku", "optax", "trax", "numpyro"}
        descends = (
            self.descends or jax_roots - {"jax"} or self.leaves & JAX_STEPS or "jax" in self.tallies
        )
        if (
            jax_roots
            and self.grads
            and descends
            and not (keras and "keras" in found and self._smaller("jax", keras))
        ):
            found["jax"] = self.grads[0]
        for framework in (*k.BOOSTERS, "sklearn", "statsmodels", "other"):
            made = self.tallies.get(framework)
            free = (
                self._free_for(framework) if made and made.models and framework not in found else []
            )
            if free:
                found[framework] = free[0]
        if (
            "other" in self.tallies
            and "mxnet" in self.roots
            and self.backward
            and self.tallies["other"].builds
        ):
            found["other"] = self.backward[0]
        return found

    def _imports_keras(self) -> bool:
        modules = (imported.module for _, facts in self.files for imported in facts.imports)
        return any(symbols.normal(module + ".").startswith("keras.") for module in modules)

    def _free_for(self, framework: str) -> list[Seen]:
        """Fits on something unknown, for a framework whose models are made here and that has no
        fits of its own.
        """
        tally = self.tallies.get(framework)
        if tally is None or not tally.builds or tally.fits:
            return []
        return self.free

    def _smaller(self, framework: str, keras: Tally) -> bool:
        other = self.tallies.get(framework)
        return other is None or other.layers + other.models < keras.layers + keras.models

    def _more_tensorflow(self) -> bool:
        keras, tensorflow = self.tallies.get("keras"), self.tallies.get("tensorflow")
        count = (tensorflow.layers + tensorflow.models if tensorflow else 0) + len(self.products)
        return bool(self.minimised) and count > (keras.layers + keras.models if keras else 0)

    def _choose(self, trained: dict[str, Seen]) -> str:
        deep = [f for f in k.DEEP if f in trained]
        classical = [f for f in k.CLASSICAL if f in trained]
        if deep and classical:
            estimators = sum(self.tallies[f].models for f in classical)
            built = sum(t.models + t.layers for f in deep if (t := self.tallies.get(f)))
            if estimators >= 3 and estimators > built:
                deep = []
        if deep:
            return max(deep, key=lambda f: (self._weight(f), -k.DEEP.index(f)))
        if (
            "other" in trained
            and set(classical) == {"statsmodels"}
            and self._only_looks_at_a_series()
        ):
            return "other"
        if classical:
            boosters = [f for f in classical if f in k.BOOSTERS]
            others = sum(self.tallies[f].models for f in classical if f not in k.BOOSTERS)
            if boosters and others <= 2 * sum(self.tallies[f].models for f in boosters):
                return max(
                    boosters, key=lambda f: self.tallies[f].models + len(self.tallies[f].fits)
                )
            rest = [f for f in classical if f not in k.BOOSTERS] or boosters
            return max(rest, key=lambda f: self.tallies[f].models)
        return "other"

    def _only_looks_at_a_series(self) -> bool:
        """Whether all that statsmodels does is to take a series apart."""
        seen = [saw for _, saw, _ in self.tallies["statsmodels"].fits]
        return all(saw.endswith(("seasonal_decompose(…)", "lowess(…)")) for saw in seen)

    def _weight(self, framework: str) -> int:
        tally = self.tallies.get(framework)
        return tally.layers + tally.models if tally else 0

    def _only_built(self) -> str:
        """The framework of a model that is made but not trained here (a definition, a
        demonstration).
        """
        deep = self._network_built()
        if deep != "none":
            return deep
        made = {f: t.models for f, t in self.tallies.items() if f in k.CLASSICAL and t.models}
        return max(made, key=lambda f: made[f]) if made else "none"

    def _network_built(self) -> str:
        shaped = any(shape.kind != "product" for _, facts in self.files for shape in facts.shapes)
        built = {
            f: t.layers + t.models
            for f, t in self.tallies.items()
            if f in k.DEEP
            and (
                t.layers
                or (
                    t.models
                    and (t.families or shaped or f == "keras" or (f == "jax" and self.products))
                )
            )
            and not (
                f == "tensorflow"
                and not (_layers_only(t) and (self._has_weights() or _layers_of_their_own(t)))
            )
        }
        if (
            not built
            and "tensorflow" in self.roots
            and all(scopes - {""} for scopes in self.scopes.values())
        ):
            return "tensorflow"
        return max(built, key=lambda f: built[f]) if built else "none"

    def _has_weights(self) -> bool:
        return self.variables or bool(self.leaves & {"relu", "max_pool", "avg_pool", "bias_add"})

    # families

    def _families(self, found: Conclusion) -> None:
        group = _group(found.framework)
        counted: dict[str, list[Seen]] = {}
        for framework in group:
            tally = self.tallies.get(framework)
            for family, seen in (tally.families if tally else {}).items():
                counted.setdefault(family, []).extend(seen)
        if found.framework in k.DEEP:
            self._deepen(found.framework, counted)
            found.is_bare = self.is_bare
        else:
            if found.framework == "other" and self.products and not set(counted) - {"other"}:
                counted["dense" if len({s[2] for s in self.products}) >= 2 else "linear"] = (
                    self.products
                )
            single = (
                found.framework == "other"
                and self.tally("other").layers
                and len(counted.get("dense", ())) == 1
            )
            if single and self._is_affine():
                counted["linear"] = counted.pop("dense")
            if set(counted) - {"reduce", "other"}:
                counted.pop("reduce", None)
            elif "reduce" in counted:
                counted.setdefault("other", []).extend(counted.pop("reduce"))
            if found.framework in k.BOOSTERS:
                counted.setdefault("tree", [found.where["framework"]])
        counted = {family: seen for family, seen in counted.items() if family in k.ORDER}
        if not counted:
            counted = {"other": [found.where["framework"]]} if "framework" in found.where else {}
        found.families = tuple(family for family in k.ORDER if family in counted)
        found.main = self._main(found.framework, counted)
        for family in found.families:
            found.where[family] = counted[family][0]

    def _deepen(self, framework: str, counted: dict[str, list[Seen]]) -> None:
        shapes = [(file, shape) for file, facts in self.files for shape in facts.shapes]
        playing = bool(self.roots & ENVIRONMENTS)
        for file, shape in shapes:
            seen = (file, shape.saw, shape.line)
            if shape.kind == "attention":
                if not {"rnn", "gnn"} & set(counted):
                    counted.setdefault("transformer", []).extend([seen] * WRITTEN_ONCE)
            elif shape.kind == "backbone":
                counted.setdefault("cnn", []).append(seen)
            elif shape.kind == "message passing":
                counted.setdefault("gnn", []).extend([seen] * WRITTEN_ONCE)
            elif shape.kind == "recurrent":
                if not {"transformer", "gnn", "rnn", "cnn"} & set(counted) and not playing:
                    counted.setdefault("rnn", []).append(seen)
            elif shape.kind in ("product", "stacked"):
                continue
            elif not playing and (shape.kind != "quantised" or self.leaves & DECODERS):
                counted.setdefault("generative", []).insert(0, seen)
        if (
            len(self.optimizers) >= 2
            and not playing
            and self.leaves & DECODERS
            and self.leaves & NOISE
        ):
            counted.setdefault("generative", []).append(self.optimizers[0])
        if "dgl" in self.roots and self.leaves & MESSAGES:
            where = self.backward or [seen for seens in counted.values() for seen in seens]
            counted.setdefault("gnn", where[:1])
        if self.products and not {"cnn", "rnn", "transformer", "gnn", "dense", "embedding"} & set(
            counted
        ):
            several = len({s[2] for s in self.products}) >= 2 or self._is_stacked()
            counted.setdefault("dense" if several or framework == "keras" else "linear", []).extend(
                self.products
            )
        for family in ("product", "variable"):
            counted.pop(family, None)
        strong = {"cnn", "rnn", "transformer", "gnn"} & set(counted)
        if strong:
            counted.pop("dense", None)
        elif (
            len(counted.get("dense", ())) == 1
            and not self.products
            and framework in ("pytorch", "keras", "jax", "tensorflow")
            and self._is_affine()
        ):
            counted["linear"] = counted.pop("dense")
        embedded = counted.pop("embedding", None)
        if embedded and not counted:
            counted["other"] = embedded
        if not counted and framework == "keras":
            counted.update(self._imported_layers())
        if not counted and framework in ("tensorflow", "pytorch", "jax"):
            where = self.tape or self.minimised or self.backward or self.grads
            if where:  # on variables of its own, or it trains whatever network it is handed
                own = self.variables or (framework == "jax" and not self.leaves & HANDED)
                self.is_bare = not own
                counted["linear" if own else "other"] = where

    def _is_stacked(self) -> bool:
        """Whether layers follow each other: in one expression, by turns of a loop, or where a
        function that multiplies by weights it makes itself is called several times.
        """
        if self.bent or any(
            shape.kind == "stacked" for _, facts in self.files for shape in facts.shapes
        ):
            return True
        makes = self.scopes["variable"] - {""}
        makes |= {call.scope for call in self.plain if call.name in makes}
        layers = self.scopes["product"] & makes
        return any(
            len({call.line for call in self.plain if call.name == layer}) >= 2 for layer in layers
        )

    def _imported_layers(self) -> dict[str, list[Seen]]:
        """The layers a script imports, where all it does is to change a model that it loads."""
        found: dict[str, list[Seen]] = {}
        for file, facts in self.files:
            for imported in facts.imports:
                for name in (
                    imported.names
                    if symbols.normal(imported.module + ".").startswith("keras.layers")
                    else ()
                ):
                    family = k.KERAS_LAYERS.get(name)
                    if family:
                        found.setdefault(family, []).append((file, f"import {name}", imported.line))
        if len(found) > 1:
            found.pop("dense", None)
        return found

    def _is_affine(self) -> bool:
        """Whether a single dense layer is all there is: no activation between layers, nothing
        before it.
        """
        last = ("linear", "sigmoid", "softmax")
        shaped = {
            call.leaf
            for _, facts in self.files
            for call in facts.calls
            if not (call.leaf == "Activation" and call.first in last)
        }
        return not shaped & {
            "MLP",
            "relu",
            "tanh",
            "ReLU",
            "Activation",
            "Embedding",
            "EmbeddingBag",
            "LeakyReLU",
        }

    def _main(self, framework: str, counted: dict[str, list[Seen]]) -> str:
        if not counted:
            return "other"
        if framework in k.DEEP:
            return _main_deep(counted)
        if framework in k.BOOSTERS:
            return "tree"
        # Among classical models the one that is used most; of equals the more specific.
        return max(
            counted, key=lambda f: (len(counted[f]) if f != "other" else 0, -k.ORDER.index(f))
        )


def _main_deep(counted: dict[str, list[Seen]]) -> str:
    weights = {
        "generative": 6,
        "gnn": 8,
        "transformer": 5,
        "rnn": 2,
        "cnn": 2,
        "dense": 1,
        "linear": 1,
        "other": 0.1,
    }
    scores = {family: len(seen) * weights.get(family, 1) for family, seen in counted.items()}
    if "generative" in scores:
        return "generative"
    return max(scores, key=lambda f: (scores[f], -k.ORDER.index(f)))


def _layers_of_their_own(tally: Tally) -> bool:
    """Whether any layer makes its own weights: `tf.nn.conv2d` is handed them, and may be a filter
    of pictures.
    """
    own = tally.families.keys() - {"cnn", "product", "embedding", "gnn"}
    return bool(own) or any(".nn." not in saw for _, saw, _ in tally.families.get("cnn", ()))


def _layers_only(tally: Tally) -> bool:
    return bool(tally.families.keys() - {"product", "embedding", "gnn"})


def _group(framework: str) -> Iterable[str]:
    if framework in ("keras", "tensorflow"):
        return ("keras", "tensorflow")
    if framework in ("sklearn", *k.BOOSTERS):
        return ("sklearn", *k.BOOSTERS)
    return (framework,)
