"""Decide to which families the models of a program belong."""

from __future__ import annotations

from mlops_lib.detection import symbols
from mlops_lib.detection import tables as k
from mlops_lib.detection.facts import Call
from mlops_lib.detection.tally import Case, Seen, all_seen
from mlops_lib.detection.words import words
from mlops_lib.lazy_regex import lazy_regex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlops_lib.detection.facts import Shape

ENVIRONMENTS = words("""
    gym gymnasium gym_minigrid pettingzoo vizdoom pybullet_envs stable_baselines3 sb3_contrib
    tianshou gymnax brax dm_control dm_env bsuite minigrid ale_py envpool jumanji
""")
"""Modules of games: what learns to play draws noise and updates several networks, too."""
HANDED = words("apply_fn apply")
"""Calls of a network that was handed in."""
JAX_NETWORKS = words("flax haiku equinox trax jraph e3nn_jax kfac_jax")
"""Libraries of networks on JAX, and of their steps: if one is imported and neither a layer nor a
product is seen, the network is handed in.
"""
MESSAGES = words("update_all prop_nodes_topo apply_edges send_and_recv prop_nodes pull")
"""Methods with which DGL networks pass messages."""
EDGES = lazy_regex(r"\(…, \w+\)$")
"""Suffix of the evidence of a function that receives a graph's edges."""
NOISE = words("normal randn randn_like")
DECODERS = words("""
    Conv2DTranspose UpSampling2D ConvTranspose2d Upsample ConvTranspose ConvTranspose1d
""")
"""Layers that make something large of something small."""
NORMALS = words("Normal MultivariateNormalDiag Independent MultivariateNormal")
ACTIVATIONS = words("""
    MLP Activation relu ReLU relu6 ReLU6 tanh Tanh gelu GELU silu SiLU swish elu ELU selu SELU celu
    CELU leaky_relu LeakyReLU PReLU softplus Softplus mish Mish hardswish Hardswish hard_swish
    hardtanh Hardtanh Embedding EmbeddingBag log1p
""")
"""Layers between others: a single dense layer after one of these is no linear model."""
BACKBONES = words("KerasLayer TorchModuleWrapper JaxLayer FlaxLayer TFSMLayer")
"""Layers that put another network in front of those that are made here."""
LAST = ("linear", "sigmoid", "softmax")
"""Activations of a linear model's result."""
WRITTEN_ONCE = 3
"""As how many layers one counts that is written out: it is put into a network several times."""
STRONG = frozenset(("cnn", "rnn", "transformer", "gnn"))
"""Families beside which dense layers say nothing."""
WEIGHTS = {
    "generative": 6,
    "gnn": 8,
    "transformer": 5,
    "rnn": 2,
    "cnn": 2,
    "dense": 1,
    "linear": 1,
    "other": 0.1,
}
"""Weight of one layer of a family as evidence for the network's family."""

Counted = dict[str, list[Seen]]


class Families:
    """The families of a program's models."""

    __slots__ = ("families", "is_bare", "main", "where")

    def __init__(self) -> None:
        self.families: tuple[str, ...] = ()
        self.main = "other"
        self.is_bare = False
        """True if the program makes no model itself."""
        self.where: dict[str, Seen] = {}


def of(case: Case, framework: str, where: Seen | None) -> Families:
    """Decide on the families of the models of one framework.

    Args:
        case: what the program's files do.
        framework: the framework that trains, or makes the models.
        where: where that was seen.
    """
    result = Families()
    counted: Counted = {}
    for one in _group(case, framework):
        for family, seen in case.get(one).families.items():
            counted.setdefault(family, []).extend(seen)
    is_network = framework in symbols.NETWORKS or (
        framework in symbols.UNSORTED and case.get(framework).layers > 0
    )
    if is_network:
        result.is_bare = _settle_network(case, framework, counted)
    else:
        _settle_estimators(case, framework, counted, where)
    counted = {family: seen for family, seen in counted.items() if family in k.ORDER}
    if not counted and where is not None:
        counted = {"other": [where]}
    result.families = tuple(family for family in k.ORDER if family in counted)
    result.main = _main(
        counted,
        is_network=is_network,
        boosted=framework in symbols.BOOSTERS,
        one_of_many=_is_one_of_many(case),
    )
    result.where = {family: counted[family][0] for family in result.families}
    return result


def _group(case: Case, framework: str) -> Iterable[str]:
    """Return the frameworks whose models count as one's."""
    if framework in ("keras", "tensorflow"):
        wrapped = case.leaves & {"TorchModuleWrapper"}
        return ("keras", "tensorflow", "pytorch") if wrapped else ("keras", "tensorflow")
    if framework in ("sklearn", *symbols.BOOSTERS):
        return ("sklearn", *symbols.BOOSTERS)
    return (framework,)


def _is_one_of_many(case: Case) -> bool:
    """Return whether one of a package's networks is chosen by its name."""
    return any(name.endswith(".*") for _, facts in case.files for name, *_ in facts.dynamic)


def _main(counted: Counted, *, is_network: bool, boosted: bool, one_of_many: bool) -> str:
    if not counted:
        return "other"
    if is_network:
        scores = {one: len(seen) * WEIGHTS.get(one, 1) for one, seen in counted.items()}
        if "generative" in scores and not one_of_many:
            return "generative"
        return max(scores, key=lambda f: (scores[f], -k.ORDER.index(f)))
    if boosted:
        return "tree"
    # Among classical models the one that is used most; of equals the more specific.
    return max(counted, key=lambda f: (len(counted[f]) if f != "other" else 0, -k.ORDER.index(f)))


# Estimators


def _settle_estimators(case: Case, framework: str, counted: Counted, where: Seen | None) -> None:
    if framework == "other" and case.products and not set(counted) - {"other"}:
        several = len({seen[2] for seen in case.products}) >= 2
        counted["dense" if several else "linear"] = case.products
    if set(counted) - {"reduce", "other"}:
        counted.pop("reduce", None)
    elif "reduce" in counted:
        counted.setdefault("other", []).extend(counted.pop("reduce"))
    if framework in symbols.BOOSTERS and where is not None:
        counted.setdefault("tree", [where])
    if "mlp" in counted:
        counted.setdefault("dense", []).extend(counted.pop("mlp"))


# Networks


def _settle_network(case: Case, framework: str, counted: Counted) -> bool:
    """Add the families that structures tell of, and drop those that others make meaningless.

    Returns:
        Whether nothing that is trained is made here.
    """
    playing = bool(case.roots & ENVIRONMENTS)
    for file, facts in case.files:
        for shape in facts.shapes:
            _add_shape(case, counted, shape, (file, shape.saw, shape.line), playing=playing)
    if not playing and _is_generative(case):
        counted.setdefault("generative", []).append(_first(case, counted))
    if "dgl" in case.roots and case.leaves & MESSAGES:
        counted.setdefault("gnn", (case.backward or all_seen(counted.values()))[:1])
    tally = case.get(framework)
    only_sums = set(counted) == {"gnn"} and all(_only_adds_up(seen) for seen in counted["gnn"])
    if only_sums and not tally.models and tally.layers <= len(counted["gnn"]):
        del counted["gnn"]  # sums over edges without a layer: a simulation, a kernel, a loss
    layered = STRONG | {"dense", "mlp", "embedding"}
    if case.products and not layered & set(counted):
        several = framework == "keras" or _is_stacked(case)
        counted.setdefault("dense" if several else "linear", []).extend(case.products)
    for family in ("product", "variable"):
        counted.pop(family, None)
    _settle_dense(case, counted)
    hints = {family: counted.pop(family) for family in list(counted) if family.startswith("~")}
    if not set(counted) - {"embedding"}:
        counted.update({family[1:]: seen for family, seen in hints.items()})
    embedded = counted.pop("embedding", None)
    if embedded and not counted:
        counted["other"] = embedded
    if not counted and framework == "keras":
        counted.update(_imported_layers(case))
    if not counted and framework in symbols.NETWORKS and framework != "keras":
        return _settle_unseen(case, framework, counted)
    return False


def _only_adds_up(seen: Seen) -> bool:
    """Return whether a sign of a network over graphs makes no layer: `segment_sum(…)`."""
    return "segment_" in seen[1] or EDGES.search(seen[1]) is not None


def _first(case: Case, counted: Counted) -> Seen:
    groups = (case.optimizers, case.grads, case.backward, case.tape, *counted.values())
    return next((group[0] for group in groups if group), ("", "", 0))


def _add_shape(case: Case, counted: Counted, shape: Shape, seen: Seen, *, playing: bool) -> None:
    """Add the evidence of one structure."""
    if shape.kind == "attention":
        if not {"rnn", "gnn"} & set(counted):
            counted.setdefault("transformer", []).extend([seen] * WRITTEN_ONCE)
    elif shape.kind == "backbone":
        counted.setdefault("cnn", []).append(seen)
    elif shape.kind == "message passing":
        counted.setdefault("gnn", []).extend([seen] * WRITTEN_ONCE)
    elif shape.kind == "recurrent":
        if not STRONG & set(counted) and not playing:
            counted.setdefault("rnn", []).append(seen)
    elif shape.kind in ("product", "stacked"):
        return
    elif not playing and (shape.kind != "quantised" or case.leaves & DECODERS):
        counted.setdefault("generative", []).insert(0, seen)


def _is_generative(case: Case) -> bool:
    """Return whether noise feeds a decoder with two optimizers, or a draw stays near a prior."""
    if len(case.optimizers) >= 2 and case.leaves & DECODERS and case.leaves & NOISE:
        return True
    draws = "sample" in case.leaves or "sample_and_log_prob" in case.leaves
    return "kl_divergence" in case.leaves and draws and bool(case.leaves & NORMALS)


def _settle_dense(case: Case, counted: Counted) -> None:
    """Drop dense layers beside stronger families; a single bare one is linear."""
    whole = counted.pop("mlp", [])
    if STRONG & set(counted):
        counted.pop("dense", None)
    elif whole:
        counted.setdefault("dense", []).extend(whole)
    elif len(counted.get("dense", ())) == 1 and not case.products and _is_affine(case):
        counted["linear"] = counted.pop("dense")


def _settle_unseen(case: Case, framework: str, counted: Counted) -> bool:
    """Name the family of a network without visible layers."""
    where = case.tape or case.minimised or case.backward or case.grads
    if not where:
        return False
    by_hand = framework == "jax" and not (case.leaves & HANDED or case.roots & JAX_NETWORKS)
    own = case.variables or by_hand
    counted["linear" if own else "other"] = where
    return not own


def _is_stacked(case: Case) -> bool:
    """Return whether products follow each other: in one expression, in turns of a loop, on several
    lines, or where a function that multiplies by weights it makes itself is called several times.
    """
    if (
        case.bent
        or case.repeated
        or case.parts >= 2
        or len({seen[2] for seen in case.products}) >= 2
    ):
        return True
    if any(shape.kind == "stacked" for _, facts in case.files for shape in facts.shapes):
        return True
    makes = case.scopes["variable"] - {""}
    makes |= {call.scope for call in case.plain if call.name in makes}
    layers = case.scopes["product"] & makes
    calls = (call for _, facts in case.files for call in facts.calls)
    if any(call.leaf in layers and call.repeated for call in calls):
        return True
    return any(
        len({call.line for call in case.plain if call.name == layer}) >= 2 for layer in layers
    )


def _imported_layers(case: Case) -> Counted:
    """Return the layers that a script imports, if it only changes a loaded model."""
    layers: Counted = {}
    for file, facts in case.files:
        for imported in facts.imports:
            if not symbols.normal(imported.module + ".").startswith("keras.layers"):
                continue
            for name in imported.names:
                family = symbols.of(Call(f"keras.layers.{name}", 0)).family
                if family:
                    layers.setdefault(family, []).append((file, f"import {name}", imported.line))
    if len(layers) > 1:
        layers.pop("dense", None)
    return layers


def _is_affine(case: Case) -> bool:
    """Return whether the network is one dense layer, neither preceded nor repeated."""
    if case.repeated or case.parts >= 2 or case.leaves & BACKBONES:
        return False
    between = {
        call.leaf
        for _, facts in case.files
        for call in (*facts.calls, *facts.mentions)
        if not (call.leaf == "Activation" and call.first in LAST)
    }
    return not between & ACTIVATIONS
