"""Rules that host and runner share: file names, exit codes, event kinds, metrics, and which number
is judged.

The host imports this module of the runner and no other. Standard library only, Python 3.8 grammar.
"""

import math
import re
import statistics
from typing import (
    Any,
    Collection,
    Dict,
    Final,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

# --- The run directory (docs/run-directory.md)

INSIDE = "inside"
"""The only folder of a run directory that a container can write."""
SPEC = "spec.json"
ASKED = "asked.json"
DETECTION = "detection.json"
FILES = "files.json"
"""Which files of the project decide the run, and which cannot."""
ATTEMPTS = "attempts.jsonl"
PACE = "pace.json"
TRAINING = "training.json"
SEARCH_REQUEST = "search.json"
SEARCH_REFUSED = "search-refused.json"
"""The host's own answer if there is nothing to search in."""
SEARCH_CERTIFICATES = "search-certificates.json"
"""What chief and workers of a search on several machines show each other."""
VERDICT = "verdict.json"
VERDICTS = "verdicts.jsonl"
RESULT = "result.json"
"""Of `mlops run`; the same name below `inside/search` holds what the search found."""
REGISTERED = "registered.json"
LOG = "log.txt"
REPORT = "report.html"
CURVES = "curves.png"
SEEDS = "seeds.json"
"""Which runs repeat a run with other seeds."""
PATCH = "suggested.patch"
BEST_SCRIPT = "best_model.py"

EVENTS = "events.jsonl"
HEARTBEAT = "heartbeat"
METRICS = "metrics.json"
MISTAKES = "mistakes.json"
LEAKS = "leaks.json"
"""Judged examples beside the training examples that they are copies of."""
JUDGED = "judged.json"
"""The names of the examples, one by one, that the judged number was measured on."""
EXAMPLES = "examples"
"""Folder, below `inside`, with the examples of the saved model's numbers, as arrays."""
EXAMPLES_INDEX = "examples.json"
"""In it: by evaluation, how the number is made and of which examples, or why these are not kept."""
TRAINED_ON = "trained-on.bin"
"""The names of the examples that the saved model was trained on, as far as they are known, one
after the other.
"""
TRAINED_ON_BYTES = 24 << 20
REMEASURED = "remeasured.json"
"""The host's: what a process without the script measured."""
CHAMPION_MARK = "champion.loading"
"""Below `inside`, while the champion is measured: an attempt that died meanwhile does not try
again.
"""
KERAS_MODEL = "model.keras"
JOBLIB_MODEL = "model.joblib"
TORCH_MODEL = "model.pt"
MODELS = (KERAS_MODEL, JOBLIB_MODEL, TORCH_MODEL)
SEARCH = "search"
"""The search's folder, below `inside`."""
WINNER = "winner.json"
LEDGER = "ledger.jsonl"
"""In the search's folder: what its oracle was asked and answered."""
SELECTED = "selected.json"
SEARCH_WORKERS = "workers.json"
"""In the search's folder: its workers as the chief knows them, written every second."""
SEARCH_OVER = "over.json"
"""In the search's folder: the pass whose search is over, for a worker that could not be told."""

HOME_MARKER = ".mlops-home"
"""File that marks a folder as the home of runs, registry and caches."""


def is_own_folder(names: Collection[str]) -> bool:
    """Return whether a folder with these entries is a home or a run directory; neither is part of a
    project.
    """
    return HOME_MARKER in names or (SPEC in names and INSIDE in names)


# --- Exit codes

EXIT_ACCEPTED = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_DETECTION = 3
EXIT_IMAGE = 4
EXIT_TRAINING = 5
EXIT_REJECTED = 6
EXIT_ENGINE = 7
EXIT_SEARCH = 8
EXIT_NOTIFICATION = 9
EXIT_UNDECIDED = 10

BAD_START = 64
"""The runner cannot begin."""
RECYCLE = 75
"""The runner wants to go on in a fresh process."""
RECLAIMED = 76
"""The runner was asked to end by a signal, and kept what it could: it goes on where it was."""

# --- Events

EVENT_START: Final = "start"
EVENT_FIT: Final = "fit"
EVENT_EPOCH: Final = "epoch"
EVENT_CHECKPOINT: Final = "checkpoint"
EVENT_FIT_END: Final = "fit_end"
EVENT_METRIC: Final = "metric"
EVENT_MEASURED: Final = "measured"
EVENT_TRIAL: Final = "trial"
EVENT_NOTE: Final = "note"
EVENT_WARNING: Final = "warning"
EVENT_HOOK_ERROR: Final = "hook_error"
EVENT_OUTPUT: Final = "output"
EVENT_END: Final = "end"
RUNNER_EVENTS = (
    EVENT_START,
    EVENT_FIT,
    EVENT_EPOCH,
    EVENT_CHECKPOINT,
    EVENT_FIT_END,
    EVENT_METRIC,
    EVENT_MEASURED,
    EVENT_TRIAL,
    EVENT_NOTE,
    EVENT_WARNING,
    EVENT_HOOK_ERROR,
    EVENT_OUTPUT,
    EVENT_END,
)
"""The kinds of the lines in `events.jsonl`."""

EVENT_ATTEMPT: Final = "attempt"
EVENT_EXIT: Final = "exit"
EVENT_DECISION: Final = "decision"
HOST_EVENTS = (EVENT_ATTEMPT, EVENT_EXIT, EVENT_DECISION)
"""The kinds of the lines in `attempts.jsonl`."""

DO_FINISH: Final = "finish"
DO_RESTART: Final = "restart"
DO_GIVE_UP: Final = "give up"
DO_STAY_STOPPED: Final = "stay stopped"
DO_ADOPT: Final = "adopt"
DO_WAIT: Final = "wait"
DO_WAIT_FOR_ENGINE: Final = "wait for the engine"
DO_KILL: Final = "kill"
DO_RECOVERED: Final = "recovered"
DO_REPAIR: Final = "repair"
DO_TAKE_OVER: Final = "take over"
DO_WARN: Final = "warn"
DECISIONS = (
    DO_FINISH,
    DO_RESTART,
    DO_GIVE_UP,
    DO_STAY_STOPPED,
    DO_ADOPT,
    DO_WAIT,
    DO_WAIT_FOR_ENGINE,
    DO_KILL,
    DO_RECOVERED,
    DO_REPAIR,
    DO_TAKE_OVER,
    DO_WARN,
)
"""The `do` of a decision."""

EVENT_STAGE: Final = "stage"
EVENT_BUILD: Final = "build"
EVENT_VERDICT: Final = "verdict"
EVENT_IMPROVE: Final = "improve"
EVENT_HEARTBEAT: Final = "heartbeat"
EVENT_PROGRESS: Final = "progress"
EVENT_LOOK: Final = "look"
OBSERVED_EVENTS = (
    EVENT_STAGE,
    EVENT_BUILD,
    EVENT_VERDICT,
    EVENT_IMPROVE,
    EVENT_HEARTBEAT,
    EVENT_PROGRESS,
    EVENT_LOOK,
)
"""Further kinds that only an observer of a running command sees."""

# --- Metrics

ACCURACIES = ("accuracy", "balanced_accuracy")
"""What a bar such as 0.8 is about if no metric is named."""
ALIASES = {
    "acc": "accuracy",
    "accuracy_score": "accuracy",
    "binary_accuracy": "accuracy",
    "categorical_accuracy": "accuracy",
    "sparse_categorical_accuracy": "accuracy",
    "balanced_accuracy_score": "balanced_accuracy",
    "top_k_categorical_accuracy": "top_k_accuracy",
    "sparse_top_k_categorical_accuracy": "top_k_accuracy",
    "top_k_accuracy_score": "top_k_accuracy",
    "f1_score": "f1",
    "precision_score": "precision",
    "recall_score": "recall",
    "roc_auc_score": "roc_auc",
    "average_precision_score": "average_precision",
    "matthews_corrcoef": "mcc",
    "cohen_kappa_score": "kappa",
    "mean_absolute_error": "mae",
    "mean_squared_error": "mse",
    "root_mean_squared_error": "rmse",
    "mean_absolute_percentage_error": "mape",
    "mean_squared_logarithmic_error": "msle",
    "mean_squared_log_error": "msle",
    "r2_score": "r2",
    "kullback_leibler_divergence": "kl_divergence",
    "kld": "kl_divergence",
    "log_cosh": "logcosh",
}
"""Names that mean the same as another one."""
EXACT_SHARES = ("accuracy", "top_k_accuracy", "error_rate", "zero_one_loss", "merror")
"""Metrics that are a share of the examples: a number of hits divided by how many there are."""
PROPORTIONS = (
    *EXACT_SHARES,
    "balanced_accuracy",
    "precision",
    "recall",
    "sensitivity",
    "specificity",
    "f1",
)
"""Metrics whose uncertainty is about that of a share of the examples; exact for `EXACT_SHARES`
only.
"""
UNIT_RANGE = (
    *PROPORTIONS,
    "roc_auc",
    "auc",
    "pr_auc",
    "average_precision",
    "hamming_loss",
    "jaccard",
    "iou",
    "dice",
    "ndcg",
)
"""Metrics that lie between 0 and 1."""

_LOW_STEMS = re.compile(
    r"loss|error|entropy|hinge|deviance|divergence|kullback|leibler|perplexity|distance|nloglik|inertia|distortion"
    r"|regret|wasserstein|hausdorff|discrepancy|misclassif|mistake|(?:rms|ms|ma|map)e$|msle$|^smape"
)
"""Parts of a word that stand for something to be small."""
_LOW_WORDS = (
    "mae mse rmse mape msle rmsle smape wape mase medae mphe nll bce cce ce kl kld kldiv jsd emd brier"
    " huber poisson tweedie quantile pinball cosh logcosh wer cer ter eer fid kid lpips ece mce fpr fnr"
    " fdr fp fn far frr ppl bpc bpd aic bic crps false miss chamfer residual l1 l2 davies"
)
"""Whole words that do."""
_HIGH_FIRST = frozenset(("d2", "r2", "explained"))
"""A name that begins so is a share of what is explained, whatever it is a share of."""
_ANY_WORD = re.compile(r"[^a-z0-9]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_HELD_OUT_PREFIX = re.compile(r"^(?:val|valid|validation|test|eval|holdout|heldout|held_out)_(?=.)")
_NUMBERED = re.compile(r"_\d+$")
_TOP_K = re.compile(r"top_?(?:k|\d+)(?:_|$)")


def metric_name(name: str) -> str:
    """Return a metric's usual name: `val_acc` and `SparseCategoricalAccuracy` are `accuracy`.

    >>> metric_name("val_sparse_categorical_accuracy"), metric_name("MeanSquaredError"), metric_name("my_score")
    ('accuracy', 'mse', 'my_score')
    """
    plain = (
        _ANY_WORD.sub("_", _CAMEL.sub("_", name.strip()).lower()).strip("_") or name.strip().lower()
    )
    plain = _HELD_OUT_PREFIX.sub("", plain)
    if plain in ALIASES:
        return ALIASES[plain]
    if _TOP_K.search(plain):  # a hit among several guesses is another measure
        return plain
    return "accuracy" if plain.endswith(("categorical_accuracy", "binary_accuracy")) else plain


def find_metric(wanted: str, names: Sequence[str]) -> Optional[str]:
    """Return which of `names` is the metric `wanted`, or None if none is, or several might be.

    Keras numbers the metrics of a second model (`auc_1`) and puts an output's name before them
    (`out_accuracy`): such a name counts if it is the only one of its kind.

    >>> find_metric("accuracy", ["loss", "out_acc"]), find_metric("accuracy", ["balanced_accuracy"])
    ('out_acc', None)
    """
    asked = metric_name(wanted)
    usual = [(name, metric_name(name)) for name in names]
    for name, known in usual:
        if known == asked:
            return name
    for alike in (
        [name for name, known in usual if metric_name(_NUMBERED.sub("", known)) == asked],
        [name for name, known in usual if _is_of_an_output(known, asked)],
    ):
        if len(alike) == 1:
            return alike[0]
    return None


def _is_of_an_output(name: str, asked: str) -> bool:
    """Return whether `name` is the metric `asked` with an output's name before it."""
    if (
        name in UNIT_RANGE
        or name in ALIASES.values()
        or _TOP_K.search(name)
        or name.startswith("train")
    ):
        return False
    return any(
        name.endswith(f"_{other}")
        for other in (asked, *(alias for alias, known in ALIASES.items() if known == asked))
    )


def higher_is_better(metric: str) -> bool:
    """Return whether a metric of this name should grow.

    >>> [higher_is_better(name) for name in ("accuracy", "kl_divergence", "neg_log_loss", "recall_at_fpr")]
    [True, False, True, True]
    """
    words = [word for word in _ANY_WORD.split(_CAMEL.sub("_", metric).lower()) if word]
    if "at" in words[1:]:  # sensitivity at a specificity: the first one is measured
        words = words[: words.index("at", 1)]
    while words and (
        words[0] in ("val", "valid", "validation", "test", "eval", "train", "training", "mean")
    ):
        words = words[1:]
    if words and words[0] in _HIGH_FIRST:
        return True
    if words and (
        words[0] == "neg" or words[:2] in (["negative", "log"], ["negative", "likelihood"])
    ):
        return not higher_is_better("_".join(words[1:]))
    return not any(_should_shrink(word) for word in words)


def _should_shrink(word: str) -> bool:
    low = _LOW_WORDS.split()
    return word in low or word.rstrip("0123456789") in low or _LOW_STEMS.search(word) is not None


def direction(metric: str, mode: str = "auto") -> str:
    """Return "max" or "min": `mode` if it is one of these, else by the metric's name."""
    return mode if mode in ("max", "min") else "max" if higher_is_better(metric) else "min"


def reaches(value: float, target: float, mode: str) -> bool:
    """Return whether `value` is as good as `target`."""
    return value >= target if mode == "max" else value <= target


def is_better(one: float, other: float, mode: str) -> bool:
    """Return whether `one` beats `other`."""
    return one > other if mode == "max" else one < other


def is_proportion(metric: str) -> bool:
    """Return whether the metric is a share of the examples, or behaves like one (PROPORTIONS)."""
    name = metric_name(
        re.sub(r"_(?:macro|micro|weighted|samples|binary)$", "", metric_name(metric))
    )
    return name in PROPORTIONS or _TOP_K.search(name) is not None


def is_in_unit_range(metric: str) -> bool:
    """Return whether the metric lies between 0 and 1."""
    return metric_name(metric) in UNIT_RANGE


# --- What is chance ---

CHANCE = 0.05
"""How often a difference that means nothing may be called one, in a whole search."""
SEED_SPREAD = 0.03
"""What another seed is taken to change in a proportion at least (a standard deviation), as one
training cannot show it.
"""


class Gain(NamedTuple):
    """By how much a trial is better than another one, and how much of that chance alone would
    explain.
    """

    difference: float
    """Score minus score; a gain if its sign is the metric's."""
    margin: Optional[float]
    """What chance alone stays below; None if that is not known."""
    mode: str

    @property
    def is_clear(self) -> bool:
        """Return whether it is a gain, and more than chance explains."""
        better = self.difference if self.mode == "max" else -self.difference
        return self.margin is not None and better > self.margin

    def words(self) -> str:
        """Return the difference with its uncertainty."""
        if self.margin is None:
            return f"{self.difference:+.3f}, of which chance may be any part"
        return f"{self.difference:+.3f} \u00b1 {self.margin:.3f}"


def gain(
    score: float,
    before: float,
    *,
    metric: str,
    mode: str,
    examples: Optional[int],
    trials: Sequence[Mapping[str, Any]],
    is_chosen: bool = True,
) -> Gain:
    """Return what a trial gained over another one, as far as one training of each tells.

    Two things differ by chance: which examples select (two proportions, taken as independent, which
    errs on the safe side as both are of the same examples), and where a training happens to end,
    judged by how much the score moves from epoch to epoch in all trials. Of many scores the best is
    the luckiest: the margin is that of the best of all that the search could choose from, one for
    each epoch of each trial (Bonferroni, one-sided). On other examples the winner keeps the luck of
    its seed, which is allowed for.

    Args:
        score: of the trial.
        before: of the one it is compared with.
        metric: what they measure; the spread is known of proportions only.
        mode: "max" or "min".
        examples: how many select; None if not known.
        trials: all of the search, as records with `number` and `curve` (the score after each
            epoch).
        is_chosen: whether the score is the one that the search chose by; False for the winner's on
            other examples.

    >>> few = [{"number": 1, "curve": [0.5, 0.8, 0.85]}, {"number": 2, "curve": [0.4, 0.83, 0.84]}]
    >>> gain(0.9, 0.6, metric="accuracy", mode="max", examples=200, trials=few).is_clear
    True
    >>> gain(0.85, 0.83, metric="accuracy", mode="max", examples=200, trials=few).words()
    '+0.020 \u00b1 0.135'
    """
    difference = score - before
    if not examples or not is_proportion(metric) or not (0 <= score <= 1 and 0 <= before <= 1):
        return Gain(difference, None, mode)
    variance = 0.0
    for share in (score, before):
        share = (share * examples + 1) / (examples + 2)  # none right or all right is no certainty
        variance += share * (1 - share) / examples
    curves = [one.get("curve") or () for one in trials if one.get("number")]
    compared = sum(max(len(curve), 1) for curve in curves) if is_chosen else 1
    z = statistics.NormalDist().inv_cdf(1 - CHANCE / max(compared, 1))
    seeds = max(SEED_SPREAD**2, _movement(curves))
    luck = 0.0 if is_chosen else expected_maximum(len(curves)) * math.sqrt(seeds)
    return Gain(difference, luck + z * math.sqrt(variance + 2 * seeds), mode)


def expected_maximum(count: int) -> float:
    """Return how many standard deviations the best of so many equal candidates is above their mean,
    as expected.

    A winner keeps this luck on examples that did not select it: its seed was a good one, whatever
    its trial changed (Blom, Statistical Estimates and Transformed Beta-Variables, 1958).

    >>> round(expected_maximum(8), 2), expected_maximum(1)
    (1.43, 0.0)
    """
    return statistics.NormalDist().inv_cdf((count - 0.375) / (count + 0.25)) if count > 1 else 0.0


def _movement(curves: Sequence[Sequence[float]]) -> float:
    """Return the variance of a score over the later half of its training, over all trainings."""
    squares = 0.0
    freedom = 0
    for curve in curves:
        later = [float(value) for value in curve[len(curve) // 2 :]]
        if len(later) > 1:
            squares += statistics.variance(later) * (len(later) - 1)
            freedom += len(later) - 1
    return squares / freedom if freedom else 0.0


# --- Which number is judged


MOST_LOOKS = 3
"""How many models a run's gate judges by the point: as written, the winner, and the winner after a
rejection.
"""


class Choice(NamedTuple):
    """The evaluation that a bar is about, or why there is none."""

    evaluation: Optional[Mapping[str, Any]]
    """With `metric` and `value` of the metric wanted, if it is one of several numbers of the same
    call.
    """
    problem: str = ""
    """"" or why there is none: "nothing measured", "not measured" (the metric wanted), "no
    accuracy".
    """
    standing: str = ""
    """"held out", "validation" (the fit's own) or "training": what is known of the examples."""
    among: Tuple[Mapping[str, Any], ...] = ()
    """The evaluations that it was chosen from."""

    @property
    def subject(self) -> Optional[Mapping[str, Any]]:
        """The evaluation whose model is kept: the one chosen, or the one that would be if its
        metric were wanted.
        """
        if self.evaluation is not None or not self.among:
            return self.evaluation
        if self.problem == "not measured":
            return choose_judged(self.among).subject
        return _last(self.among)


def choose_judged(evaluations: Sequence[Any], metric: str = "", *, mode: str = "auto") -> Choice:
    """Choose the evaluation that the bar is about.

    The order: what the script measured itself on examples that were not trained on; else what the
    fit measured on its validation data; else what was measured on training examples. The first of
    these that has any number decides. In it counts the metric wanted, else an accuracy: the last
    one, or the last one of the model that the script saved.

    Args:
        evaluations: those of `metrics.json`, in the order in which they happened; anything else is
            ignored.
        metric: which metric is wanted; "" for an accuracy.
        mode: "max", "min", or "auto" by the metric's name; written into the evaluation chosen.
    """
    listed = [one for one in evaluations if isinstance(one, dict)]
    found = [_measuring(one, metric, mode) for one in listed] if metric else list(listed)
    usable = [one for one in found if one is not None and _is_claim(one.get("value"))]
    if not usable:
        return Choice(
            None, "not measured" if listed and metric else "nothing measured", among=tuple(listed)
        )
    for standing, group in _by_standing(usable):
        candidates = group if metric else [one for one in group if _metric_of(one) in ACCURACIES]
        if candidates:
            return Choice(_settled(_last(candidates), mode), "", standing, tuple(candidates))
        if group:
            return Choice(None, "no accuracy", standing, tuple(group))
    raise AssertionError("usable is not empty")


def _by_standing(evaluations: List[Dict[str, Any]]) -> List[Tuple[str, List[Dict[str, Any]]]]:
    own = [one for one in evaluations if not str(one.get("source", "")).startswith("fit.")]
    return [
        ("held out", [one for one in own if one.get("held_out") is not False]),
        ("validation", [one for one in evaluations if one.get("source") == "fit.validation"]),
        ("training", own or evaluations),
    ]


def _last(evaluations: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the last one; of a model that the script saved, if any was measured."""
    return next((one for one in reversed(evaluations) if one.get("saved")), evaluations[-1])


def _settled(chosen: Mapping[str, Any], mode: str) -> Mapping[str, Any]:
    """Return the chosen evaluation with its metric's usual name, if it is a known one, and its
    direction.
    """
    name = _metric_of(chosen)
    is_known = name in UNIT_RANGE or name in ALIASES.values()
    return {
        **chosen,
        "metric": name if is_known else chosen.get("metric"),
        "higher_is_better": direction(name, mode) == "max",
    }


def _metric_of(evaluation: Mapping[str, Any]) -> str:
    return metric_name(str(evaluation.get("metric") or ""))


def metric_values(evaluation: Mapping[str, Any]) -> Dict[str, Any]:
    """Return all numbers of an evaluation's call by name, the one it is about first."""
    every = evaluation.get("all")
    found = {
        evaluation.get("metric"): evaluation.get("value"),
        **(every if isinstance(every, dict) else {}),
    }
    return {name: value for name, value in found.items() if isinstance(name, str) and name}


def _measuring(evaluation: Dict[str, Any], wanted: str, mode: str) -> Optional[Dict[str, Any]]:
    """Return the evaluation as one of `wanted`: its own number, another of the same call, or its
    square or root.
    """
    if _metric_of(evaluation) == metric_name(wanted):
        return evaluation
    value = metric_value(metric_values(evaluation), wanted)
    if value is None:
        return None
    again = evaluation.get("all_recomputed")
    return {
        **evaluation,
        "metric": metric_name(wanted),
        "value": value,
        "baseline": None,
        "recomputed": metric_value(again, wanted) if isinstance(again, dict) else None,
        "higher_is_better": direction(wanted, mode) == "max",
    }


_SQUARES = {"rmse": "mse", "mse": "rmse"}
"""Of these each is the root or the square of the other."""


def metric_value(measured: Mapping[str, Any], wanted: str) -> Any:
    """Return the number of the metric wanted, also as the square or root of one that was measured;
    else None.
    """
    name = find_metric(wanted, list(measured))
    if name is not None:
        return measured[name]
    asked = metric_name(wanted)
    other = (
        find_metric({"rmse": "mse", "mse": "rmse"}.get(asked, ""), list(measured))
        if asked in ("rmse", "mse")
        else None
    )
    value = None if other is None else as_number(measured[other])
    if value is None or value < 0:
        return None
    return math.sqrt(value) if asked == "rmse" else value * value


def _is_claim(value: Any) -> bool:
    """Return whether it can stand for a number; "nan" and "inf" are written as text."""
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


NOT_FINITE = ("nan", "inf", "-inf")
"""How JSON of ours holds numbers that are none."""


def as_number(value: Any) -> Optional[float]:
    """Return a finite number as a float, None for anything else."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON knows integers of any length
        return None
    return number if math.isfinite(number) else None
