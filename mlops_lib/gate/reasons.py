"""The reasons of a verdict: a finding, and a setting or step that changes it.

A reason is made from this table only, so that none lacks a remedy. Words in backquotes are settings
(`mlops config` lists them), commands, or calls in the script.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Template(NamedTuple):
    """A reason with placeholders for its values."""

    what: str
    remedy: str


REASONS: Mapping[str, Template] = {
    # No number.
    "no number": Template(
        "no number was found",
        "let the script evaluate its model on held-out data (`model.evaluate`, `score`), or name "
        "its number with the settings `metric`, `metric_pattern` or `metrics_file`",
    ),
    "not measured": Template(
        "the metric {wanted!r} was not measured; measured: {names}",
        "name one of these in the setting `metric`",
    ),
    "no accuracy": Template(
        "the script measures {shown}, not an accuracy",
        "define the bar with the settings `metric`, `target` and, if smaller is better, `mode`",
    ),
    "not finite": Template(
        "{metric} is not a finite number ({value}): the training diverged",
        "lower the learning rate in the script, or clip its gradients (`clipnorm`)",
    ),
    "predictions not finite": Template(
        "{count} of {examples} predictions are not finite: rows {rows}",
        "fill missing values in these rows or leave them out (`dropna`), or keep the training "
        "from diverging (`clipnorm`)",
    ),
    "measures not finite": Template(
        "beside it, {names} is not a finite number",
        "fill missing values in the data or leave them out (`dropna`), or clip gradients "
        "(`clipnorm`)",
    ),
    "out of range": Template(
        "{metric} cannot be {value:.4g}: the claim is not valid",
        "correct how the script computes it, or name another number with `metric`, "
        "`metric_pattern` or `metrics_file`",
    ),
    # The bar.
    "reaches": Template(
        "{metric} {value:.4g}{on} reaches the bar of {target:g}", "`target` sets the bar"
    ),
    "misses": Template(
        "{metric} {value:.4g}{on} misses the bar of {target:g}",
        "raise `trials` or `minutes` for a longer search, improve the script, or set another "
        "`target`",
    ),
    "worse end reaches": Template(
        "the worse end of the interval of {metric}, {value:.4g}{on}, reaches the bar of {target:g}",
        "`target` sets the bar, `strict` makes the interval decide",
    ),
    "worse end misses": Template(
        "the worse end of the interval of {metric}, {value:.4g}{on}, misses the bar of {target:g}",
        "judge on more examples, raise `trials` or `minutes` for a longer search, or leave out "
        "`strict`",
    ),
    "no interval": Template(
        "strict needs an interval, and {metric} has none: the point decides",
        "name a share of the examples in `metric`, such as accuracy",
    ),
    "not above the champion": Template(
        "it does not beat the champion; {comparison}",
        "judge on more examples, raise `trials` or `minutes` for a longer search, or leave "
        "`beats` empty",
    ),
    "champion unknown": Template(
        "whether it beats the champion is not known; {comparison}",
        "leave `beats` empty so that the bar alone decides, or name another champion (`mlops "
        "registry champion`)",
    ),
    "beside the champion": Template("{comparison}", '`beats` = "champion" makes that a condition'),
    # Which examples.
    "validation": Template(
        "the script evaluates on no held-out examples of its own: the fit's validation metric is "
        "judged",
        "call `model.evaluate` on a test set at the script's end",
    ),
    "own metric object": Template(
        "the script's own metric object says so; on which examples is not known",
        "call `model.evaluate` on a test set at the script's end",
    ),
    "training": Template(
        "measured on examples the model was trained on: it says little about new ones",
        "split off a test set (`train_test_split`) and evaluate on it",
    ),
    "several models": Template(
        "the script measured {count} models, {which} is judged (all: {least:.4g} to {most:.4g}, "
        "mean {mean:.4g})",
        "save the one that is meant (`model.save`, `joblib.dump`), or measure it last",
    ),
    "baseline": Template(
        "the {name} alone gives {value:.4g}: the model is not clearly better",
        "judge on more examples, or by a metric that the classes' shares do not raise (`metric`: "
        "balanced_accuracy)",
    ),
    # What leaks.
    "trained on too": Template(
        "{count} of {all} judged examples are known from the training ({kinds}) and are left out: "
        "the verdict is about the other {rest}{whole}",
        "remove duplicates (`drop_duplicates`) and split before anything is copied, augmented or "
        "resampled; split by the group if a person or group has several examples "
        "(`GroupShuffleSplit`)",
    ),
    "clean rest too small": Template(
        "{count} of {all} judged examples are known from the training ({kinds}), and the other "
        "{rest} are too few to judge by",
        "remove duplicates (`drop_duplicates`) before the split, or split by the group "
        "(`GroupShuffleSplit`)",
    ),
    "clean rest not measured": Template(
        "{count} of {all} judged examples are known from the training ({kinds}), and the number "
        "cannot be measured without them{note}",
        "remove duplicates (`drop_duplicates`) before the split, or split by the group "
        "(`GroupShuffleSplit`)",
    ),
    "repeats": Template(
        "{count} of {all} judged examples are equal to training examples, which are equal to each "
        "other as often: the data repeats itself, and they count{apart}",
        "`drop_duplicates` before the split if they should not count",
    ),
    "repeats decide": Template(
        "{count} of {all} judged examples are equal to training examples, as such data is, and "
        "only with them the bar is reached{apart}",
        "`drop_duplicates` before the split, or judge on more examples",
    ),
    "target among inputs": Template(
        "the inputs hold the target, or a one-to-one function of it: {columns}",
        "`drop` these columns before `fit`",
    ),
    "fitted on judged": Template(
        "{name} was fitted on {share:.0%} of the judged examples too",
        "split first, then `fit` it on the training part and `transform` the test part, or put it "
        "into a `Pipeline`",
    ),
    "learned from judged": Template(
        "{name} was fitted on {share:.0%} of the judged examples too, with their targets: the "
        "model knows of the answers",
        "split first, then fit it on the training part alone, or put it into a `Pipeline`",
    ),
    # The file.
    "file differs": Template(
        "the script measured {claimed:.6g}, the saved model gives {again:.6g}",
        "let the script evaluate the model it saves, after the last change to it "
        "(`model.evaluate` after `fit`)",
    ),
    "last epoch differs": Template(
        "the fit's last epoch had {claimed:.6g}, the model it left gives {again:.6g}, which is "
        "judged",
        "call `model.evaluate` at the script's end to see the same number",
    ),
    "not reloaded": Template(
        "the model cannot be loaded again: {note}",
        "give its own classes a `get_config`, or make it of what can be saved (`model.save`, "
        "`joblib.dump`)",
    ),
    # Who measured it.
    "by the script: needs code": Template(
        "the number was measured by the script's own process only: without running code the model "
        "file cannot be loaded ({note})",
        "make it of layers, losses and estimators of the libraries' own (`model.save`, "
        "`joblib.dump`)",
    ),
    "by the script: unkept": Template(
        "the number was measured by the script's own process only: its examples are not kept for "
        "another one ({note})",
        "evaluate on arrays, data frames or a data set of at most 256 MB that can be read twice "
        "(`model.evaluate`, `score`)",
    ),
    "by the script: not run": Template(
        "the number was measured by the script's own process only: the second measurement failed "
        "({note})",
        "judge again (`mlops judge`)",
    ),
    "in a process": Template(
        "measured independently, by a process without the script, but on a machine where the "
        "script could write files",
        "`backend` docker measures where it could not",
    ),
    "measured otherwise": Template(
        "the script's process claims {claimed:.6g}, a process without the script measures "
        "{again:.6g} with the saved file on the same examples",
        "let the script evaluate the model it saves, and change neither file nor numbers "
        "(`model.evaluate` after `fit`)",
    ),
    "not by itself": Template(
        "a process without the script cannot measure the saved file: {note}",
        "make it of what can be saved (`model.save`, `joblib.dump`), and leave the file as the "
        "runner wrote it",
    ),
    "no examples left": Template(
        "the examples behind the claimed number are missing, and the runner recorded no reason",
        "train again (`mlops train` in a new `run_dir`), and leave to the runner what it writes",
    ),
    "other count": Template(
        "{kept} examples are kept, but the number is claimed on {claimed}",
        "train again (`mlops train` in a new `run_dir`), and leave to the runner what it writes",
    ),
    "file changed": Template(
        "the model file is not the one that the runner saved and measured",
        "train again (`mlops train` in a new `run_dir`), and leave the file as the runner wrote it",
    ),
    # The law.
    "not shown: measured": Template(
        "not shown: that the registered file gives this number{note}",
        "measure it by `model.evaluate`, `score`, or a metric of what `predict` returned, on "
        "arrays or on a data set that can be read twice",
    ),
    "not shown: trained": Template(
        "not shown: that none of these examples was trained on",
        "evaluate on examples split off before the training (`train_test_split`), as arrays or as "
        "a data set that can be read twice",
    ),
    "not shown: selected": Template(
        "not shown: that none of these examples was selected on ({why})",
        "evaluate on a test set of its own (`model.evaluate`) that is not the fit's validation "
        "data",
    ),
    "winner not shown": Template(
        "the search's winner is not accepted while that is not shown",
        "do that, or set `trials` to 0 for no search",
    ),
    "left out": Template(
        "{count} more of these examples selected the search's winner: they are left out of the "
        "number",
        "evaluate on a test set of its own (`model.evaluate`) for a number on all of it",
    ),
    "contaminated": Template(
        "the search selected on examples that the gate judges on",
        "evaluate on a test set of its own (`model.evaluate`) that no `fit` sees",
    ),
    "looks": Template(
        "the gate has judged {looks} models on these examples: the interval is widened so that it "
        "holds for all of them",
        "set `trials` to 0 for a single look, or judge on more examples",
    ),
    "looked too often": Template(
        "the gate has judged {looks} models on these examples: after {most} only the worse end of "
        "the interval decides",
        "give other held-out examples, judge on more of them, or begin a run of its own "
        "(`run_dir`)",
    ),
    # Several seeds.
    "mean reaches": Template(
        "{what} of {count} seeds, {metric} {decisive:.4g} (spread {spread:.2g}), reaches the bar "
        "of {target:g}; registered is the file of seed {seed}, which gives {value:.4g}",
        "`seeds` sets the number of trainings, `seed` the one that is registered",
    ),
    "mean misses": Template(
        "{what} of {count} seeds, {metric} {decisive:.4g} (spread {spread:.2g}), misses the bar "
        "of {target:g}; the file of seed {seed} gives {value:.4g}",
        "raise `trials` or `minutes` for a longer search, improve the script, or set another "
        "`target`",
    ),
    "seed failed": Template(
        "seed {seed} has no number: {why}", "set `seeds` to 1 to judge one training alone"
    ),
    "seed doubted": Template(
        "the number of seed {seed} is in doubt: {why}",
        "see that run's verdict, or set `seeds` to 1",
    ),
    "seeds missing": Template(
        "{missing} of {count} seeds are not trained", "`mlops run` trains them, or set `seeds` to 1"
    ),
    "seeds' examples differ": Template(
        "each seed is judged on other examples, some of which may have selected the search's "
        "winner",
        "give the split a fixed random state (`train_test_split`), or set `seeds` to 1",
    ),
    # What the pipeline adds.
    "not searched": Template(
        "not searched: {note}", "change that in the script, or give another `entry`"
    ),
    "not registered": Template(
        "nothing is registered: the script's model could not be saved, its outputs are kept",
        "save it in the script (`model.save`, `joblib.dump`)",
    ),
    "best of arguments": Template(
        "trained with the argument {argument}: the best of {count} on the judged examples",
        "`args` gives another one, `retrain` says how many are tried",
    ),
}
"""Reasons by kind."""


def reason(kind: str, **values: Any) -> str:
    """Return a reason with its remedy, in one sentence.

    >>> reason("reaches", metric="accuracy", value=0.81, on=" on 500 examples", target=0.8)
    'accuracy 0.81 on 500 examples reaches the bar of 0.8: `target` sets the bar'
    """
    template = REASONS[kind]
    return f"{template.what.format(**values)}: {template.remedy}"
