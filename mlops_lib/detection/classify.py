"""Decide which framework trains in a program, by an ordered list of rules."""

from __future__ import annotations

from mlops_lib.detection import families
from mlops_lib.detection.symbols import BOOSTERS, CLASSICAL, NETWORKS, UNSORTED
from mlops_lib.detection.tally import Case, Seen, Tally
from mlops_lib.detection.words import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlops_lib.detection.facts import Facts

SERVERS = words("""
    flask fastapi django streamlit gradio bottle tornado aiohttp sanic dash telegram litestar
    bentoml chainlit taipy nicegui
""")
JAX_STEPS = words("opt_update apply_updates apply_gradients update_state update get_params")
STEPS = words("apply_gradients assign_sub assign_add assign")
RUNS = words("train train_and_evaluate fit train_evaluate")
WEAK = frozenset(("dense", "linear", "other"))
"""Families that a file also shows when the network itself is defined in another one."""
OUTLIERS = ("IsolationForest(…)", "LocalOutlierFactor(…)", "OneClassSVM(…)", "EllipticEnvelope(…)")
"""Estimators that only clean data if another model is trained."""
FEATURES = words("gensim spacy nltk textblob flair")
"""Libraries whose models mostly make features for another one."""

WITH_RULES = ("keras", "tensorflow", "pytorch", "jax")
"""Networks' frameworks whose training loops have rules of their own, because they mix."""

Trained = dict[str, Seen]
"""The frameworks that train, each with its evidence."""


class Conclusion:
    """Framework and families, with their evidence."""

    __slots__ = ("families", "framework", "is_bare", "main", "trains", "where")

    def __init__(self) -> None:
        self.framework = "none"
        self.trains = False
        self.is_bare = False
        """True if the trained object is not made here but passed in."""
        self.families: tuple[str, ...] = ()
        self.main = "none"
        self.where: dict[str, Seen] = {}
        """Maps each conclusion to its evidence."""


def conclude(own: tuple[str, Facts], local: Sequence[tuple[str, Facts]] = ()) -> Conclusion:
    """Decide about one file.

    Args:
        own: the file's name and facts.
        local: those of the local modules that it makes use of.
    """
    alone = _conclude(Case([own]))
    if not local or (alone.trains and not set(alone.families) <= WEAK):
        return alone
    together = _conclude(Case([own, *local]))
    if not together.trains and alone.framework == "none" and _only_reads_data(own[1]):
        return alone
    differs = alone.framework != together.framework
    if alone.trains and differs and alone.families and not alone.is_bare:
        return alone
    return together


def _only_reads_data(facts: Facts) -> bool:
    """Return whether all that a file defines gives data to a training: what its package also holds
    says nothing about it.
    """
    bases = [base.leaf for base in facts.bases]
    return bool(bases) and all(
        leaf.endswith(("DataModule", "Dataset", "Sampler")) for leaf in bases
    )


def _conclude(case: Case) -> Conclusion:
    conclusion = Conclusion()
    trained = frameworks_trained(case)
    if trained:
        conclusion.framework = _choose(case, trained)
        conclusion.trains = True
        conclusion.where["framework"] = trained[conclusion.framework]
    elif not case.roots & SERVERS:
        conclusion.framework = _only_built(case)
        if conclusion.framework != "none":
            first = case.tally(conclusion.framework).first or next(iter(case.products), None)
            if first is not None:
                conclusion.where["framework"] = first
    if conclusion.framework != "none":
        where = conclusion.where.get("framework")
        result = families.of(case, conclusion.framework, where)
        conclusion.families = result.families
        conclusion.main = result.main
        conclusion.is_bare = result.is_bare
        conclusion.where.update(result.where)
    return conclusion


# Which frameworks train


def frameworks_trained(case: Case) -> Trained:
    """Return the frameworks that train, each with where: every rule adds to what those before
    found.
    """
    trained: Trained = {}
    for rule in _RULES:
        rule(case, trained)
    return trained


def _models_fitted(case: Case, trained: Trained) -> None:
    for framework, tally in case.tallies.items():
        if tally.fits and (tally.builds or framework in ("other", "sklearn")):
            trained[framework] = tally.fits[0]


def _keras_fitted(case: Case, trained: Trained) -> None:
    """Accept any fit, and steps written by hand, if Keras makes the network."""
    keras = case.get("keras")
    if not keras.builds:
        return
    by_hand = [
        *case.tape,
        *case.symbolic,
        *(case.backward if _is_smaller(case, "pytorch", keras) else []),
        *(case.grads if _is_smaller(case, "jax", keras) else []),
    ]
    fits = [*keras.fits, *case.free_for("keras"), *by_hand]
    if fits:
        trained["keras"] = fits[0]
    elif case.minimised and keras.layers > case.get("tensorflow").layers:
        trained["keras"] = case.minimised[0]


def _keras_made_elsewhere(case: Case, trained: Trained) -> None:
    """Accept a fit with Keras's arguments if the network's module is missing."""
    if not case.get("keras").builds and case.epochs and case.imports("keras."):
        trained["keras"] = case.epochs[0]


def _tensorflow_steps(case: Case, trained: Trained) -> None:
    """Steps by hand on variables and operations of TensorFlow."""
    steps = case.descends or case.leaves & STEPS
    by_hand = [*case.minimised, *(case.tape if "keras" not in trained and steps else [])]
    has_tensorflow = bool(case.roots & {"tensorflow", "tflearn", "tf_slim"})
    if has_tensorflow and by_hand and ("keras" not in trained or _is_mostly_tensorflow(case)):
        trained["tensorflow"] = by_hand[0]
        if not case.get("keras").fits and _is_mostly_tensorflow(case):
            trained.pop("keras", None)


def _tensorflow_estimators(case: Case, trained: Trained) -> None:
    tensorflow = case.get("tensorflow")
    if not tensorflow.models or "tensorflow" in trained:
        return
    fits = tensorflow.fits or ([] if "keras" in trained else case.free_for("tensorflow"))
    if fits:
        trained["tensorflow"] = fits[0]
    elif case.leaves & RUNS and tensorflow.first and "keras" not in trained:
        trained["tensorflow"] = tensorflow.first


def _pytorch_steps(case: Case, trained: Trained) -> None:
    """Losses whose gradients are taken backwards."""
    keras = case.get("keras")
    drives_keras = "keras" in trained and _is_smaller(case, "pytorch", keras)
    has_torch = "torch" in case.roots or (
        case.has_framework("pytorch") and "mxnet" not in case.roots
    )
    if has_torch and case.backward and not drives_keras:
        trained["pytorch"] = case.backward[0]


def _pytorch_fitted(case: Case, trained: Trained) -> None:
    """Accept any fit if a framework on PyTorch makes the model."""
    torch = case.get("pytorch")
    if not torch.models or "pytorch" in trained or "keras" in trained:
        return
    fits = [*torch.fits, *case.free_for("pytorch")]
    if fits and (torch.families or torch.fits or case.roots & {"skorch", "pycox", "hydra"}):
        trained["pytorch"] = fits[0]


def _trainer_fitted(case: Case, trained: Trained) -> None:
    """Accept a fit by a PyTorch trainer whose model is handed in: `trainer: Trainer`."""
    fits = [one for one in case.get("pytorch").fits if "Trainer()." in one[1]]
    if fits and trained.keys().isdisjoint(NETWORKS):
        trained["pytorch"] = fits[0]


def _jax_steps(case: Case, trained: Trained) -> None:
    """Gradients taken of functions, and steps along them."""
    roots = case.roots & {"jax", "flax", "haiku", "optax", "trax", "numpyro", "equinox"}
    steps = case.descends or roots - {"jax"} or case.leaves & JAX_STEPS or "jax" in case.tallies
    drives_keras = "keras" in trained and _is_smaller(case, "jax", case.get("keras"))
    if roots and case.grads and steps and not drives_keras:
        trained["jax"] = case.grads[0]


def _anything_fitted(case: Case, trained: Trained) -> None:
    """Accept fits of unknown objects if a classical library makes the models."""
    for framework in (*CLASSICAL, *UNSORTED):
        tally = case.get(framework)
        if framework not in trained and tally.models > len(tally.families.get("reduce", ())):
            fits = case.free_for(framework)
            if fits:
                trained[framework] = fits[0]


def _any_network_trained(case: Case, trained: Trained) -> None:
    """Accept any training of a network if no other framework trains one."""
    if not trained.keys().isdisjoint(NETWORKS):
        return
    steps = [*case.backward, *case.grads, *case.minimised, *case.tape]
    for framework in NETWORKS:
        fits = [*case.free_for(framework), *steps]
        if framework not in WITH_RULES and case.get(framework).builds and fits:
            trained[framework] = fits[0]


def _mxnet_steps(case: Case, trained: Trained) -> None:
    if "mxnet" in case.roots and case.backward and case.get("other").builds:
        trained["other"] = case.backward[0]


_RULES: tuple[Callable[[Case, Trained], None], ...] = (
    _models_fitted,
    _keras_fitted,
    _keras_made_elsewhere,
    _tensorflow_steps,
    _tensorflow_estimators,
    _pytorch_steps,
    _pytorch_fitted,
    _trainer_fitted,
    _jax_steps,
    _anything_fitted,
    _any_network_trained,
    _mxnet_steps,
)


def _is_smaller(case: Case, framework: str, keras: Tally) -> bool:
    return framework not in case.tallies or case.get(framework).size < keras.size


def _is_mostly_tensorflow(case: Case) -> bool:
    count = case.get("tensorflow").size + len(case.products)
    return bool(case.minimised) and count > case.get("keras").size


# Which of them is the one


def _choose(case: Case, trained: Trained) -> str:
    deep = [] if _is_mostly_classical(case, trained) else [f for f in NETWORKS if f in trained]
    classical = [f for f in CLASSICAL if f in trained]
    if deep:
        return max(deep, key=lambda f: (case.get(f).size, -NETWORKS.index(f)))
    unsorted = [f for f in UNSORTED if f in trained]
    if classical and not (unsorted and _is_by_the_way(case, classical)):
        return _choose_classical(case, classical)
    return max(unsorted, key=lambda f: case.get(f).size)


def _is_mostly_classical(case: Case, trained: Trained) -> bool:
    """Return whether a small network is compared with several classical models."""
    classical = [f for f in CLASSICAL if f in trained]
    estimators = sum(case.get(f).models for f in classical)
    built = sum(case.get(f).size for f in NETWORKS if f in trained)
    return estimators >= 3 and estimators > built


def _choose_classical(case: Case, classical: list[str]) -> str:
    boosters = [f for f in classical if f in BOOSTERS]
    others = [f for f in classical if f not in BOOSTERS]
    boosted = sum(case.get(f).models for f in boosters)
    if boosters and sum(_predictors(case, f) for f in others) <= 2 * boosted:
        return max(boosters, key=lambda f: case.get(f).models + len(case.get(f).fits))
    return max(others or boosters, key=lambda f: case.get(f).models)


def _predictors(case: Case, framework: str) -> int:
    """Return the number of predicting models; clusters and components make features."""
    tally = case.get(framework)
    return tally.models - sum(len(tally.families.get(one, ())) for one in ("cluster", "reduce"))


def _is_by_the_way(case: Case, classical: list[str]) -> bool:
    """Return whether classical models only prepare the data of another model."""
    if classical == ["statsmodels"]:
        seen = [saw for _, saw, _ in case.get("statsmodels").fits]
        return all(saw.endswith(("seasonal_decompose(…)", "lowess(…)")) for saw in seen)
    if classical == ["sklearn"] and not case.roots & FEATURES:
        models = [saw for one in case.get("sklearn").families.values() for _, saw, _ in one]
        return bool(models) and all(saw.endswith(OUTLIERS) for saw in models)
    return False


# Where nothing trains


def _only_built(case: Case) -> str:
    """Return the framework of a model that is made but not trained here: a definition, a
    demonstration.
    """
    network = _network_built(case)
    if network != "none":
        return network
    models = {f: t.models for f, t in case.tallies.items() if f in CLASSICAL and t.models}
    return max(models, key=lambda f: models[f]) if models else "none"


def _network_built(case: Case) -> str:
    shaped = any(shape.kind != "product" for _, facts in case.files for shape in facts.shapes)
    built = {}
    for framework, tally in case.tallies.items():
        if framework not in NETWORKS and not (framework in UNSORTED and tally.layers):
            continue
        named = tally.families or shaped or framework == "keras" or _defines_steps(case, framework)
        by_hand = framework == "jax" and case.products
        weightless = framework == "tensorflow" and not (
            _has_layers(tally) and (_has_weights(case) or _has_own_weights(tally))
        )
        if (tally.layers or (tally.models and (named or by_hand))) and not weightless:
            built[framework] = tally.size
    scopes = all(scopes - {""} for scopes in case.scopes.values())
    if not built and "tensorflow" in case.roots and scopes:
        return "tensorflow"
    return max(built, key=lambda f: built[f]) if built else "none"


def _defines_steps(case: Case, framework: str) -> bool:
    """Return whether a class defines the training steps of any network."""
    bases = (base.leaf for _, facts in case.files for base in facts.bases)
    return framework == "pytorch" and "LightningModule" in bases


def _has_weights(case: Case) -> bool:
    return case.variables or bool(case.leaves & {"relu", "max_pool", "avg_pool", "bias_add"})


def _has_own_weights(tally: Tally) -> bool:
    """Return whether a layer makes its own weights; `tf.nn.conv2d` takes them."""
    own = tally.families.keys() - {"cnn", "product", "embedding", "gnn"}
    return bool(own) or any(".nn." not in saw for _, saw, _ in tally.families.get("cnn", ()))


def _has_layers(tally: Tally) -> bool:
    return bool(tally.families.keys() - {"product", "embedding", "gnn"})
