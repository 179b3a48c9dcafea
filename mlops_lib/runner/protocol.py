"""Rules that host and runner share: file names, exit codes, events and metrics.

The host imports this module of the runner and no other. Standard library only, Python 3.8 grammar.
"""

import math
import re
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
"""The project files that determine the result, and those that cannot affect it."""
ATTEMPTS = "attempts.jsonl"
PACE = "pace.json"
TRAINING = "training.json"
SEARCH_REQUEST = "search.json"
SEARCH_REFUSED = "search-refused.json"
"""Written by the host if there is nothing to search."""
VERDICT = "verdict.json"
VERDICTS = "verdicts.jsonl"
RESULT = "result.json"
"""The result of `mlops run`; the file of the same name in `inside/search` is the search's result.
"""
REGISTERED = "registered.json"
LOG = "log.txt"
REPORT = "report.html"
CURVES = "curves.png"
SEEDS = "seeds.json"
"""The runs that repeat a run with other seeds."""
PATCH = "suggested.patch"
BEST_SCRIPT = "best_model.py"

EVENTS = "events.jsonl"
HEARTBEAT = "heartbeat"
METRICS = "metrics.json"
MISTAKES = "mistakes.json"
LEAKS = "leaks.json"
"""Judged examples, each with the training examples that it duplicates."""
JUDGED = "judged.json"
"""Hashes of the examples on which the judged number was measured, one per example."""
EXAMPLES = "examples"
"""Folder in `inside` that holds the examples behind the saved model's numbers, as arrays."""
EXAMPLES_INDEX = "examples.json"
"""File in `EXAMPLES`: per evaluation, the metric's recipe and its examples, or why they were not
stored.
"""
TRAINED_ON = "trained-on.bin"
"""Concatenated hashes of the examples on which the saved model was trained, as far as they are
known.
"""
TRAINED_ON_BYTES = 24 << 20
REMEASURED = "remeasured.json"
"""Written by the host: the numbers that a process without the script measured."""
CHAMPION_MARK = "champion.loading"
"""Exists in `inside` while the champion is measured.

An attempt that died during the measurement leaves it behind, and the next attempt does not retry.
"""
KERAS_MODEL = "model.keras"
JOBLIB_MODEL = "model.joblib"
TORCH_MODEL = "model.pt"
MODELS = (KERAS_MODEL, JOBLIB_MODEL, TORCH_MODEL)
SEARCH = "search"
"""The search's folder in `inside`."""
WINNER = "winner.json"
CHIEF_SOCKET = "chief.sock"
"""Unix socket in the search's folder at which its chief listens; in a remote worker's, a relay."""
ORACLE_SERVICE = "/keras_tuner.Oracle/"
"""Prefix of the names of the chief's methods."""
METADATA_PREFIX = "mlops-"
"""Prefix of the metadata of calls of the chief, and of its answers."""
METADATA_MACHINE = "mlops-machine"
"""Metadata that a relay adds to a call: the worker's machine."""
LEDGER = "ledger.jsonl"
"""File in the search's folder: requests to its oracle, with the replies."""
SELECTED = "selected.json"
SEARCH_WORKERS = "workers.json"
"""File in the search's folder: the workers as the chief knows them, rewritten every second."""
SEARCH_OVER = "over.json"
"""File in the search's folder: the pass whose search has ended, for workers that missed the
message.
"""

HOME_MARKER = ".mlops-home"
"""File that marks a folder as the home of runs, registry and caches."""


def is_own_folder(names: Collection[str]) -> bool:
    """Return whether a folder with these entries is a home or a run directory.

    Neither is part of a project.
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
"""Exit code: the runner cannot start."""
RECYCLE = 75
"""Exit code: the runner asks to be continued in a fresh process."""
RECLAIMED = 76
"""Exit code: a signal ended the runner after it saved its state; the next attempt continues there.
"""

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
"""Kinds of the lines in `events.jsonl`."""

EVENT_ATTEMPT: Final = "attempt"
EVENT_EXIT: Final = "exit"
EVENT_DECISION: Final = "decision"
HOST_EVENTS = (EVENT_ATTEMPT, EVENT_EXIT, EVENT_DECISION)
"""Kinds of the lines in `attempts.jsonl`."""

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
"""Actions (`do`) of a decision event."""

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
"""Further event kinds, sent only to observers of a running command."""

# --- Metrics

ACCURACIES = ("accuracy", "balanced_accuracy")
"""Metrics to which a bar such as 0.8 applies if no metric is named."""
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
"""Alternative names of metrics, mapped to the usual name."""
EXACT_SHARES = ("accuracy", "top_k_accuracy", "error_rate", "zero_one_loss", "merror")
"""Metrics that are a number of hits divided by the number of examples."""
PROPORTIONS = (
    *EXACT_SHARES,
    "balanced_accuracy",
    "precision",
    "recall",
    "sensitivity",
    "specificity",
    "f1",
)
"""Metrics whose uncertainty is about that of a proportion; exact for `EXACT_SHARES` only."""
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

# Texts, compiled when first used (`re` keeps them): most programs that import this judge no metric.
_LOW_STEMS = (
    r"loss|error|entropy|hinge|deviance|divergence|kullback|leibler|perplexity|distance|nloglik"
    r"|inertia|distortion|regret|wasserstein|hausdorff|discrepancy|misclassif|mistake"
    r"|(?:rms|ms|ma|map)e$|msle$|^smape"
)
"""Parts of words in the names of metrics that should be small."""
_LOW_WORDS = (
    "mae mse rmse mape msle rmsle smape wape mase medae mphe nll bce cce ce kl kld kldiv jsd emd"
    " brier huber poisson tweedie quantile pinball cosh logcosh wer cer ter eer fid kid lpips ece"
    " mce fpr fnr fdr fp fn far frr ppl bpc bpd aic bic crps false miss chamfer residual l1 l2"
    " davies"
)
"""Whole words in the names of metrics that should be small."""
_HIGH_FIRST = frozenset(("d2", "r2", "explained"))
"""First words of names that are a share of explained variance, whatever follows."""
_ANY_WORD = r"[^a-z0-9]+"
_CAMEL = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
_HELD_OUT_PREFIX = r"^(?:val|valid|validation|test|eval|holdout|heldout|held_out)_(?=.)"
_NUMBERED = r"_\d+$"
_TOP_K = r"top_?(?:k|\d+)(?:_|$)"


def metric_name(name: str) -> str:
    """Return a metric's usual name, such as `accuracy` for `val_acc`.

    >>> metric_name("val_sparse_categorical_accuracy"), metric_name("MeanSquaredError")
    ('accuracy', 'mse')
    >>> metric_name("my_score")
    'my_score'
    """
    plain = (
        re.sub(_ANY_WORD, "_", re.sub(_CAMEL, "_", name.strip()).lower()).strip("_")
        or name.strip().lower()
    )
    plain = re.sub(_HELD_OUT_PREFIX, "", plain)
    if plain in ALIASES:
        return ALIASES[plain]
    if re.search(_TOP_K, plain):  # a hit among several guesses is another measure
        return plain
    return "accuracy" if plain.endswith(("categorical_accuracy", "binary_accuracy")) else plain


def find_metric(metric: str, names: Sequence[str]) -> Optional[str]:
    """Return the name among `names` that means `metric`, or None.

    None is returned if no name or several names match. Keras numbers the metrics of a second model
    (`auc_1`) and prefixes an output's name (`out_accuracy`). Such a name matches if it is the only
    one of its kind.

    >>> find_metric("accuracy", ["loss", "out_acc"]), find_metric("accuracy", ["balanced_accuracy"])
    ('out_acc', None)
    """
    usual_name = metric_name(metric)
    candidates = [(name, metric_name(name)) for name in names]
    for name, usual_of_name in candidates:
        if usual_of_name == usual_name:
            return name
    for alike in (
        [
            name
            for name, usual_of_name in candidates
            if metric_name(re.sub(_NUMBERED, "", usual_of_name)) == usual_name
        ],
        [name for name, usual_of_name in candidates if _is_of_an_output(usual_of_name, usual_name)],
    ):
        if len(alike) == 1:
            return alike[0]
    return None


def _is_of_an_output(name: str, usual: str) -> bool:
    """Return whether `name` is the metric `usual` with an output's name as prefix."""
    if (
        name in UNIT_RANGE
        or name in ALIASES.values()
        or re.search(_TOP_K, name)
        or name.startswith("train")
    ):
        return False
    return any(
        name.endswith(f"_{ending}")
        for ending in (usual, *(alias for alias, alias_of in ALIASES.items() if alias_of == usual))
    )


def higher_is_better(metric: str) -> bool:
    """Return whether larger values of a metric of this name are better.

    >>> [higher_is_better(name) for name in ("accuracy", "kl_divergence", "neg_log_loss")]
    [True, False, True]
    >>> higher_is_better("recall_at_fpr")
    True
    """
    words = [word for word in re.split(_ANY_WORD, re.sub(_CAMEL, "_", metric).lower()) if word]
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
    return (
        word in low or word.rstrip("0123456789") in low or re.search(_LOW_STEMS, word) is not None
    )


def direction(metric: str, mode: str = "auto") -> str:
    """Return "max" or "min": `mode` if it is one of them, else by the metric's name."""
    return mode if mode in ("max", "min") else "max" if higher_is_better(metric) else "min"


def reaches(value: float, target: float, mode: str) -> bool:
    """Return whether `value` is at least as good as `target`."""
    return value >= target if mode == "max" else value <= target


def is_better(value: float, reference: float, mode: str) -> bool:
    """Return whether `value` is better than `reference`."""
    return value > reference if mode == "max" else value < reference


def is_proportion(metric: str) -> bool:
    """Return whether the metric is, or behaves like, a share of the examples.

    These metrics are listed in `PROPORTIONS`.
    """
    name = metric_name(
        re.sub(r"_(?:macro|micro|weighted|samples|binary)$", "", metric_name(metric))
    )
    return name in PROPORTIONS or re.search(_TOP_K, name) is not None


def is_in_unit_range(metric: str) -> bool:
    """Return whether the metric lies between 0 and 1."""
    return metric_name(metric) in UNIT_RANGE


# --- What is chance ---

CHANCE = 0.05
"""Probability, over a whole search, of reporting a gain that is noise."""
SEED_SPREAD = 0.03
"""Least standard deviation of a proportion between seeds; one training cannot show it."""


class Gain(NamedTuple):
    """The difference between two trials' scores, and the part due to chance."""

    difference: float
    """Score minus reference score; a gain if its sign is that of the metric's direction."""
    margin: Optional[float]
    """Bound on the difference due to chance alone; None if unknown."""
    mode: str

    @property
    def is_clear(self) -> bool:
        """Return whether the difference is a gain that exceeds the margin of chance."""
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
    """Return the gain of a trial over a reference, with a margin for chance.

    Two sources of chance are counted. One is the sample of examples that selects: two proportions,
    taken as independent, which errs on the safe side because both are of the same examples. The
    other is the epoch at which a training happens to end, estimated from the movement of the score
    between epochs in all trials. Of many scores the best is the luckiest. The margin is therefore
    that of the best of all scores the search could choose from, one per epoch and trial
    (Bonferroni, one-sided). On other examples the winner keeps the luck of its seed, which the
    margin includes.

    Args:
        score: the trial's score.
        before: the score of the reference.
        metric: name of the scores' metric; the spread is known for proportions only.
        mode: "max" or "min".
        examples: number of examples behind each score; None if unknown.
        trials: all trials of the search, as records with `number` and `curve` (the score after each
            epoch).
        is_chosen: whether the search selected by this score; False for the winner's score on other
            examples.

    >>> few = [{"number": 1, "curve": [0.5, 0.8, 0.85]}, {"number": 2, "curve": [0.4, 0.83, 0.84]}]
    >>> gain(0.9, 0.6, metric="accuracy", mode="max", examples=200, trials=few).is_clear
    True
    >>> gain(0.85, 0.83, metric="accuracy", mode="max", examples=200, trials=few).words()
    '+0.020 ± 0.135'
    """
    difference = score - before
    if not examples or not is_proportion(metric) or not (0 <= score <= 1 and 0 <= before <= 1):
        return Gain(difference, None, mode)
    import statistics  # loads eight modules, which most users of the protocol never need

    variance = 0.0
    for share in (score, before):
        share = (share * examples + 1) / (examples + 2)  # Laplace: no share is surely 0 or 1
        variance += share * (1 - share) / examples
    curves = [trial.get("curve") or () for trial in trials if trial.get("number")]
    compared = sum(max(len(curve), 1) for curve in curves) if is_chosen else 1
    z = statistics.NormalDist().inv_cdf(1 - CHANCE / max(compared, 1))
    seeds = max(SEED_SPREAD**2, _movement(curves))
    luck = 0.0 if is_chosen else expected_maximum(len(curves)) * math.sqrt(seeds)
    return Gain(difference, luck + z * math.sqrt(variance + 2 * seeds), mode)


def expected_maximum(count: int) -> float:
    """Return the expected maximum of `count` standard normal values.

    A winner keeps this luck on examples that did not select it: its seed was a good one, whatever
    its trial changed (Blom, Statistical Estimates and Transformed Beta-Variables, 1958).

    >>> round(expected_maximum(8), 2), expected_maximum(1)
    (1.43, 0.0)
    """
    import statistics

    return statistics.NormalDist().inv_cdf((count - 0.375) / (count + 0.25)) if count > 1 else 0.0


def _movement(curves: Sequence[Sequence[float]]) -> float:
    """Return the pooled variance of the score over the later half of each training."""
    import statistics

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
"""Number of models that a run's gate judges by the point estimate.

They are the model as written, the winner, and the winner after a rejection.
"""


class Choice(NamedTuple):
    """The evaluation to which a bar applies, or the reason why there is none."""

    evaluation: Optional[Mapping[str, Any]]
    """With `metric` and `value` of the requested metric if the call measured several."""
    problem: str = ""
    """"", or why there is no evaluation: "nothing measured", "not measured" (the requested metric),
    "no accuracy".
    """
    standing: str = ""
    """Relation of the examples to training: "held out", "validation" (the fit's own) or "training".
    """
    among: Tuple[Mapping[str, Any], ...] = ()
    """The candidates of the choice."""

    @property
    def subject(self) -> Optional[Mapping[str, Any]]:
        """The evaluation whose model is saved.

        It is the chosen evaluation, or the one that would be chosen if its metric were requested.
        """
        if self.evaluation is not None or not self.among:
            return self.evaluation
        if self.problem == "not measured":
            return choose_judged(self.among).subject
        return _last(self.among)


def choose_judged(evaluations: Sequence[Any], metric: str = "", *, mode: str = "auto") -> Choice:
    """Choose the evaluation to which the bar applies.

    Candidates in order of preference: measurements by the script on examples that were not trained
    on; the fit's own measurements on its validation data; measurements on training examples. The
    first group with any number decides. In it the requested metric counts, else an accuracy: the
    last one, or the last one of the model that the script saved.

    Args:
        evaluations: the list in `metrics.json`, in chronological order; other values are ignored.
        metric: name of the requested metric; "" for an accuracy.
        mode: "max", "min", or "auto" (by the metric's name); written into the chosen evaluation.
    """
    records = [item for item in evaluations if isinstance(item, dict)]
    measurements = [_as_metric(item, metric, mode) for item in records] if metric else list(records)
    usable = [item for item in measurements if item is not None and _is_claim(item.get("value"))]
    if not usable:
        return Choice(
            None, "not measured" if records and metric else "nothing measured", among=tuple(records)
        )
    for standing, group in _by_standing(usable):
        candidates = group if metric else [item for item in group if _metric_of(item) in ACCURACIES]
        if candidates:
            return Choice(_completed(_last(candidates), mode), "", standing, tuple(candidates))
        if group:
            return Choice(None, "no accuracy", standing, tuple(group))
    raise AssertionError("usable is not empty")


def _by_standing(evaluations: List[Dict[str, Any]]) -> List[Tuple[str, List[Dict[str, Any]]]]:
    # The validation numbers of `fit` come once per epoch, and callbacks may have selected by them.
    # A measurement of the script's own is the better evidence, so it is preferred.
    own = [
        evaluation
        for evaluation in evaluations
        if not str(evaluation.get("source", "")).startswith("fit.")
    ]
    return [
        ("held out", [evaluation for evaluation in own if evaluation.get("held_out") is not False]),
        (
            "validation",
            [
                evaluation
                for evaluation in evaluations
                if evaluation.get("source") == "fit.validation"
            ],
        ),
        ("training", own or evaluations),
    ]


def _last(evaluations: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the last evaluation, preferably of a model that the script saved."""
    return next(
        (evaluation for evaluation in reversed(evaluations) if evaluation.get("saved")),
        evaluations[-1],
    )


def _completed(evaluation: Mapping[str, Any], mode: str) -> Mapping[str, Any]:
    """Return the chosen evaluation with its metric's usual name and direction."""
    name = _metric_of(evaluation)
    is_known = name in UNIT_RANGE or name in ALIASES.values()
    return {
        **evaluation,
        "metric": name if is_known else evaluation.get("metric"),
        "higher_is_better": direction(name, mode) == "max",
    }


def _metric_of(evaluation: Mapping[str, Any]) -> str:
    return metric_name(str(evaluation.get("metric") or ""))


def metric_values(evaluation: Mapping[str, Any]) -> Dict[str, Any]:
    """Return all numbers of an evaluation's call by name, its own metric first."""
    all_values = evaluation.get("all")
    values = {
        evaluation.get("metric"): evaluation.get("value"),
        **(all_values if isinstance(all_values, dict) else {}),
    }
    return {name: value for name, value in values.items() if isinstance(name, str) and name}


def _as_metric(evaluation: Dict[str, Any], metric: str, mode: str) -> Optional[Dict[str, Any]]:
    """Return the evaluation as one of `metric`, or None if it has no such number.

    The number is its own, another one of the same call, or the square or root of one.
    """
    if _metric_of(evaluation) == metric_name(metric):
        return evaluation
    value = metric_value(metric_values(evaluation), metric)
    if value is None:
        return None
    again = evaluation.get("all_recomputed")
    return {
        **evaluation,
        "metric": metric_name(metric),
        "value": value,
        # The baseline was computed for the evaluation's own metric and does not apply to this one.
        "baseline": None,
        "recomputed": metric_value(again, metric) if isinstance(again, dict) else None,
        "higher_is_better": direction(metric, mode) == "max",
    }


_SQUARES = {"rmse": "mse", "mse": "rmse"}
"""Metrics that are each other's root and square."""


def metric_value(values: Mapping[str, Any], metric: str) -> Any:
    """Return the number of a metric in `values`, or None.

    The root or the square of another number is used if the metric itself is missing.
    """
    name = find_metric(metric, list(values))
    if name is not None:
        return values[name]
    usual = metric_name(metric)
    counterpart = find_metric(_SQUARES[usual], list(values)) if usual in _SQUARES else None
    value = None if counterpart is None else as_number(values[counterpart])
    if value is None or value < 0:
        return None
    return math.sqrt(value) if usual == "rmse" else value * value


def _is_claim(value: Any) -> bool:
    """Return whether the value can stand for a number.

    "nan" and "inf" are written as text.
    """
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


NOT_FINITE = ("nan", "inf", "-inf")
"""Text in JSON files for numbers that are not finite."""


def as_number(value: Any) -> Optional[float]:
    """Return a finite number as a float; None for any other value."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON knows integers of any length
        return None
    return number if math.isfinite(number) else None
