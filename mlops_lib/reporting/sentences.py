"""A run's results as sentences and short lists, for the page and the summary."""

from __future__ import annotations

import shlex

from mlops_lib.formatting import (
    counted,
    difference,
    duration,
    is_share,
    metric_name,
    metric_value,
    size,
    whole,
)
from mlops_lib.gate import second_measurement
from mlops_lib.records import SearchResult, Trial, Verdict
from mlops_lib.reporting import tables
from mlops_lib.reporting.view import Points, RunView

BADGES = {
    "accepted": "Accepted",
    "rejected": "Rejected",
    "undecided": "Undecided",
    "failed": "Failed",
    "stopped": "Stopped",
    "unjudged": "Not judged yet",
    "unfinished": "Not finished",
}

_FAILURES = {
    "crash": "The training failed",
    "oom": "The training ran out of memory",
    "hang": "The training stopped making progress",
    "disk": "The training could not write its files",
    "nan": "The training's loss is no number any more",
    "import": "The training could not import what it needs",
    "bug": "The script has an error",
    "stopped": "The training was stopped",
    "engine": "The container engine failed",
}

_SELECTION = {
    "disjoint": "examples that the gate does not judge on",
    "half": "one half of the validation examples; the gate judges on the other",
    "split": "training examples set apart before the first trial",
    "contaminated": "examples that the gate judges on too, so the verdict cannot be trusted",
}


def headline(view: RunView) -> str:
    """Return the outcome as a sentence that needs no background."""
    verdict = view.verdict
    if verdict is None:
        return _without_verdict(view)
    if verdict.value is None:
        return (
            "It could not be decided whether the model is good enough: there is no number to judge."
        )
    reached = f"{metric_value(verdict.metric, verdict.value)} {metric_name(verdict.metric)}"
    on = f" on {counted(verdict.examples, 'example')}" if verdict.examples else ""
    if verdict.seeds is not None:
        # The bar applies to the mean; the registered file's own number follows in brackets.
        count = len(verdict.seeds.values)
        mean = metric_value(verdict.metric, verdict.seeds.mean)
        reached = f"{mean} {metric_name(verdict.metric)} on average of {counted(count, 'seed')}"
        on += (
            f" (the file of seed {verdict.seeds.registered}: "
            f"{metric_value(verdict.metric, verdict.value)})"
        )
    bar = bar_in_words(verdict)
    if verdict.verdict == "accepted":
        return f"The model is good enough: it reaches {reached}{on}; {bar} was asked."
    if verdict.verdict == "rejected":
        return f"The model is not good enough: it reaches {reached}{on}; {bar} was asked."
    return (
        f"It could not be decided whether the model is good enough: it reaches {reached}{on}; "
        f"{bar} was asked."
    )


def bar_in_words(verdict: Verdict) -> str:
    """Return the bar with its direction, such as "at least 80 %"."""
    return (
        f"at {'least' if verdict.mode == 'max' else 'most'} "
        f"{metric_value(verdict.metric, verdict.target)}"
    )


def _without_verdict(view: RunView) -> str:
    if view.failure is not None:
        what = _FAILURES.get(view.failure.kind, "The training failed")
        where = f" ({view.failure.where})" if view.failure.where else ""
        message = view.failure.message.rstrip(".")
        return f"{what}: {message}{where}." if message else f"{what}{where}."
    if view.state == "unjudged":
        return "The training has ended; its result has not been judged yet."
    if not view.attempts:
        return "Nothing has been recorded of this run yet."
    return (
        f"The training has not ended, or was killed and not started again; {progress(view)} so far."
    )


def progress(view: RunView) -> str:
    """Return the amount of training, such as "1 fit, 12 epochs"."""
    return f"{counted(len(view.fits), 'fit')}, {counted(sum(f.epochs for f in view.fits), 'epoch')}"


def facts(view: RunView) -> list[tuple[str, str]]:
    """Return the run's key numbers as (label, value)."""
    epochs = sum(fit.epochs for fit in view.fits)
    rows: list[tuple[str, str]] = []
    if view.attempts:
        rows.append(("Training time", duration(view.seconds)))
    if epochs:
        rows.append(("Epochs", whole(epochs)))
    rows.append(("Restarts", whole(view.restarts)))
    if view.search:
        # Trial 0 is the script's own model.
        rows.append(("Trials", whole(sum(trial.number > 0 for trial in view.search.trials))))
    if view.model is not None and view.model.parameters:
        rows.append(("Parameters", whole(view.model.parameters)))
    if view.model is not None and view.model.size_bytes:
        rows.append(("Model file", size(view.model.size_bytes)))
    rows += _against_target(view)
    source = view.registered or view.result
    version = None if source is None else source.version
    if version is not None:
        rows.append(("Registered as", f"version {version}"))
    return rows


def _against_target(view: RunView) -> list[tuple[str, str]]:
    """Return the number of the pull request's target branch, and the difference to it."""
    branch = view.against
    verdict = view.verdict
    if branch is None or branch.value is None or verdict is None or verdict.value is None:
        return []
    gap = difference(verdict.metric, verdict.value - branch.value)
    return [
        (
            "Against target branch",
            f"{branch.branch} {metric_value(verdict.metric, branch.value)}, {gap}",
        )
    ]


def selection_gap(view: RunView) -> str:
    """Describe the search's selection score against the gate's measurement."""
    search = view.search
    verdict = view.verdict
    if search is None or not search.trials:
        return ""
    sentence = f"The search compared its trials on {_SELECTION[search.selection]}."
    if search.score is None:
        return sentence
    score = metric_value(search.metric, search.score)
    sentence += (
        f" The winner, trial {search.winner}, scored {score} {metric_name(search.metric)} there"
    )
    same = verdict is not None and search.metric.removeprefix("val_") == verdict.metric
    if verdict is None or verdict.value is None or not same:
        return f"{sentence}."
    gap = difference(verdict.metric, verdict.value - search.score)
    better = _gap_in_words(verdict, search.score)
    return (
        f"{sentence}; the gate measured {metric_value(verdict.metric, verdict.value)}: a gap of "
        f"{gap}, {better}."
    )


def _gap_in_words(verdict: Verdict, score: float) -> str:
    """Describe the gap's likely cause; within the interval it may be pure chance."""
    if verdict.interval is not None and verdict.interval[0] <= score <= verdict.interval[1]:
        return "no more than the judged examples leave uncertain"
    return (
        "what a choice among several trials usually costs"
        if _worse(verdict, score)
        else "no sign of a lucky pick"
    )


def _worse(verdict: Verdict, score: float) -> bool:
    value = verdict.value or 0.0
    return value < score if verdict.mode == "max" else value > score


_DIAGNOSES = {
    "unstable": "its loss jumped instead of falling",
    "not_learning": "its loss hardly fell at all",
    "overfitting": "it did much better on the examples it trained on than on others",
    "underfitting": "even on the examples it trained on it hardly reached the bar",
    "unfinished": "its loss was still falling when the training ended",
}


def search_account(view: RunView) -> str:
    """Describe in one paragraph the diagnosis, the changes, and the gain of each change.

    "" if there was no search, or nothing was tried.
    """
    search = view.search
    if search is None or len(search.trials) < 2:
        return ""
    by_number = {trial.number: trial for trial in search.trials}
    parts = _findings(search)
    if not search.winner or search.winner not in by_number:
        count = sum(trial.number > 0 for trial in search.trials)
        parts.append(f"None of {counted(count, 'trial')} did better than the script's own model.")
        return " ".join(parts)
    chain = [by_number[search.winner]]
    while chain[0].parent in by_number and chain[0].parent:
        chain.insert(0, by_number[chain[0].parent])
    parts.append(f"The winner came about in {counted(len(chain), 'step')}.")
    parts += [_step(trial, by_number.get(trial.parent or 0), search) for trial in chain]
    return " ".join(parts)


def _findings(search: SearchResult) -> list[str]:
    reasons = [_DIAGNOSES[name] for name in search.diagnosis if name in _DIAGNOSES]
    if not reasons:
        return []
    *others, last = reasons
    listed = f"{', '.join(others)}, and {last}" if others else last
    return [f"The script's own training missed the bar, and its curves show why: {listed}."]


def _step(trial: Trial, parent: Trial | None, search: SearchResult) -> str:
    """Describe a trial on the way to the winner, with its gain over the one it builds on."""
    changes = "; ".join(trial.edits[:12])
    text = f"Trial {trial.number} ({changes})" if changes else f"Trial {trial.number}"
    if trial.score is None:
        return f"{text} has no score."
    score = metric_value(search.metric, trial.score)
    gain = tables.gain_over(parent, trial, search)
    if gain is None or parent is None or parent.score is None:
        return f"{text} scored {score}; the model before it has no score to compare with."
    before = metric_value(search.metric, parent.score)
    change = difference(search.metric, gain.difference)
    if gain.margin is None:
        known = "how much of it is chance is not known"
    else:
        size_of_chance = difference(search.metric, gain.margin).lstrip("+")
        known = f"chance alone explains up to {size_of_chance}"
        if gain.is_clear:
            known += ", so the change helped"
        elif abs(gain.difference) > gain.margin:
            known += ", so the change did harm"
        else:
            known += ", so it may be chance"
    return f"{text} scored {score} after {before}: {change}; {known}."


_INHERITED = {"exact": "kept, same function", "approximate": "kept where they fit", "fresh": "new"}


def inherited(trial: Trial) -> str:
    """Describe the developer's weights in a trial: kept, partly kept, or new."""
    if trial.number == 0 and not trial.inherited:
        return "the script's own"
    return _INHERITED.get(trial.inherited, trial.inherited[:40] or "–")


def reproduce(view: RunView) -> str:
    """Return the command that repeats this run; "" without a run specification."""
    spec = view.spec
    if spec is None:
        return ""
    command = [
        "mlops",
        "run",
        spec.project,
        "--entry",
        spec.entry,
        "--backend",
        spec.backend,
        "--seed",
        str(spec.seed),
    ]
    if spec.args:
        command += ["--args", shlex.join(spec.args)]
    if view.verdict is not None:
        command += ["--target", repr(view.verdict.target)]
        command += ["--metric", view.verdict.metric] if view.verdict.metric else []
    if view.trials is not None and view.minutes is not None:
        command += ["--trials", str(view.trials), "--minutes", f"{view.minutes:g}"]
    if view.verdict is not None and view.verdict.seeds is not None:
        command += ["--seeds", str(len(view.verdict.seeds.values))]
    for mount in spec.mounts:
        command += ["--mount", f"{mount.source}:{mount.target}"]
    line = shlex.join(command)
    return (
        f"git -C {shlex.quote(spec.project)} checkout {shlex.quote(spec.commit)} && {line}"
        if spec.commit
        else line
    )


def lineage(view: RunView) -> list[tuple[str, str]]:
    """Return the model's origin as (label, value)."""
    spec = view.spec
    rows: list[tuple[str, str]] = []
    if spec is not None:
        rows += [
            ("Project", spec.project),
            ("Entry", " ".join([spec.entry, *spec.args])),
            ("Commit", spec.commit or "not under version control"),
            ("Run", spec.digest),
            ("Image", spec.image.tag),
            ("Base image", spec.image.base_image),
            ("Data", spec.data_digest or "no data files found"),
            ("Seed", str(spec.seed)),
            ("Engine", spec.backend),
        ]
    if view.judged is not None and view.judged.source:
        rows.append(("Measure", view.judged.source))
    if view.verdict is not None and second_measurement.measured_by(view.verdict):
        rows.append(("Measured", second_measurement.measured_by(view.verdict)))
    model = view.registered.model if view.registered else view.result.model if view.result else None
    if model:
        rows.append(("Model", model))
    return rows


def environment(view: RunView) -> list[tuple[str, str]]:
    """Return the script's environment as (label, value)."""
    if view.spec is None:
        return [("Python", view.python)] if view.python else []
    image_environment = view.spec.image.environment
    rows = [
        ("Environment", image_environment.name),
        (
            "Framework",
            f"{image_environment.framework}, {image_environment.family}"
            if image_environment.family != "none"
            else image_environment.framework,
        ),
        ("Python", view.python or image_environment.python),
        ("Requirements", ", ".join(image_environment.requirements)),
        ("System packages", ", ".join(image_environment.system)),
        (
            "Variables",
            ", ".join(
                f"{name}={value}" for name, value in sorted(image_environment.variables.items())
            ),
        ),
    ]
    return [(label, value) for label, value in rows if value]


def winner_curves(view: RunView) -> tuple[Points, Points] | None:
    """Return the metric per epoch, of the script as written and of the winner.

    None if one of them is missing.
    """
    search = view.search
    if search is None or search.winner == 0:
        return None
    curves: dict[int, Points] = {
        trial.number: tuple(enumerate(trial.curve)) for trial in search.trials
    }
    first = curves.get(0, ())
    best = curves.get(search.winner, ())
    if not first and search.selection == "disjoint":
        # The search then selects on the fit's own validation examples, so the curves compare.
        name = search.metric.removeprefix("val_")
        first = next(
            (fit.series.get(f"val_{name}", ()) for fit in view.fits if fit.number == search.fit), ()
        )
    return (first, best) if first and best else None


def share_metric(view: RunView) -> bool:
    """Return whether the judged metric is a share of the examples."""
    return view.verdict is not None and is_share(view.verdict.metric)
