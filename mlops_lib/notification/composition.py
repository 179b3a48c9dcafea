"""Compose notifications from records: pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from email.utils import parseaddr
from typing import Literal

from mlops_lib.formatting import counted, duration, terminal_text
from mlops_lib.gate import second_measurement
from mlops_lib.records import (
    Fact,
    Link,
    ModelVersion,
    Notification,
    RunResult,
    RunSpec,
    SearchResult,
    Trial,
    Verdict,
)

_LOG_LINES = 15
_LOG_CHARACTERS = 2000
_LEVELS: dict[str, Literal["good", "warning", "bad", "info"]] = {
    "accepted": "good",
    "recovered": "good",
    "rejected": "warning",
    "undecided": "warning",
    "failed": "bad",
    "gave up": "bad",
    "stopped": "info",
}
"""The level of each occasion."""
_STOPPED_BY = {
    "bar": "the bar was reached",
    "trials": "the trials were used up",
    "minutes": "the time was used up",
    "interrupted": "it was interrupted",
    "exhausted": "there was nothing left to try",
    "failed": "every trial failed for the same reason",
    "refused": "it was refused",
}


def compose(
    *,
    spec: RunSpec,
    verdict: Verdict | None = None,
    result: RunResult | None = None,
    search: SearchResult | None = None,
    previous: Verdict | RunResult | None = None,
    champion: ModelVersion | None = None,
    version: ModelVersion | None = None,
    author: str = "",
    commits: Sequence[str] = (),
    is_announced: bool = False,
    links: Sequence[Link] = (),
    pictures: Sequence[str] = (),
    attachments: Sequence[str] = (),
    when: str = "change",
) -> Notification | None:
    """Return the notification about a run that has ended, or None if there is no news.

    Args:
        spec: the run's specification.
        verdict: the gate's verdict; None if the run did not get that far.
        result: the training's result.
        search: the search's result, if there was one.
        previous: the outcome of the project's last notification (`recall`); None for the first one.
        champion: the champion before this run.
        version: the version registered from the run.
        author: the commit's author, as `Name <address>`.
        commits: subjects of the commits since the project was last accepted, newest first.
        is_announced: whether a step of this run was notified before; its end is then news in any
            case.
        links: report, model, patch, build.
        pictures: paths of PNG files.
        attachments: paths of files to attach to mail: the report.
        when: "change" sends only differences from `previous`, a new champion included; "always";
            "never".

    Raises:
        ValueError: there is neither a verdict nor a result.
    """
    occasion = _occasion(verdict, result, previous)
    is_new_champion = (
        version is not None
        and version.champion
        and champion is not None
        and version.version != champion.version
    )
    is_change = is_new_champion or _is_change(occasion, verdict, result, previous)
    if when == "never" or (when == "change" and not is_change and not is_announced):
        return None
    failure = result.failure if result is not None and verdict is None else None
    return Notification(
        key=_key(spec, verdict, result),
        level=_LEVELS[occasion],
        title=f"{spec.name}: {_headline(occasion, verdict, result)}",
        text="\n".join(_reasons(verdict, result, version)),
        log=_tail(failure.log) if failure else "",
        facts=tuple(
            _facts(spec, verdict, result, search, previous, champion, version, author, commits)
        ),
        pictures=tuple(pictures),
        attachments=tuple(attachments),
        links=tuple(links),
        thread=_thread(spec),
        author=parseaddr(author)[1],
    )


Step = Literal["started", "fell short", "recovered"]


def step(
    what: Step,
    *,
    spec: RunSpec,
    verdict: Verdict | None = None,
    search: SearchResult | None = None,
    previous: Verdict | RunResult | None = None,
    author: str = "",
    commits: Sequence[str] = (),
    links: Sequence[Link] = (),
    when: str = "change",
) -> Notification | None:
    """Return the notification about a step of a run, or None if there is no news.

    Such messages go to channels with threads only. On "change", the start of a project without a
    previous outcome is news, and so is the first time a project falls short. Steps of a project
    that is known to be rejected or failing are not, until its outcome changes.

    Args:
        what: the step.
        spec: the run's specification.
        verdict: the verdict by which the bar was missed.
        search: the search's result, for "recovered".
        previous: the outcome of the project's last notification.
        author: the commit's author.
        commits: subjects of the commits since the project was last accepted.
        links: report, model, patch, build.
        when: as in `compose`.
    """
    if when == "never" or (when == "change" and not _is_news(what, previous)):
        return None
    facts: list[tuple[str, str]] = []
    if what == "started":
        title = "started"
        facts = [("Commit", _commit(spec, None)), ("Author", author), ("Entry", spec.entry)]
        facts += [("Since last accepted", "\n".join(commits))] if commits else []
    elif what == "fell short" and verdict is not None:
        title = f"fell short, tweaking: {_value_and_bar(verdict)}"
        facts = _measurement(verdict)
    elif what == "recovered" and search is not None:
        score = f"trial {search.winner}: {search.metric} {_number(search.score)}"
        title = f"recovered, {score} where the search selects; to be judged"
        facts = _search(search)
    else:
        raise ValueError(f"step: {what!r} needs its verdict or search")
    return Notification(
        key=f"{spec.digest}:step:{what}:{_number(verdict.target) if verdict else ''}",
        level="warning" if what == "fell short" else "info",
        title=f"{spec.name}: {title}",
        facts=tuple(Fact(label=label, value=value) for label, value in facts if value),
        links=tuple(links),
        thread=_thread(spec),
        progress=True,
    )


def _is_news(what: Step, previous: Verdict | RunResult | None) -> bool:
    """Return whether a step is news after the project's previous outcome."""
    if previous is None:
        return True
    return what != "started" and _state(previous) in ("accepted", "undecided")


def _thread(spec: RunSpec) -> str:
    return f"{spec.name}/{spec.digest}"


def sample(key: str) -> Notification:
    """Return the test message of `mlops notify --test`.

    Args:
        key: different each time, for a key is sent only once.
    """
    return Notification(
        key=f"test:{key}",
        level="info",
        title="mlops: a test of the notifications",
        text="If you can read this, this channel works. Nothing was trained.",
        facts=(Fact(label="State", value="rejected → accepted (an example)"),),
    )


def _state(outcome: Verdict | RunResult | None) -> str:
    if outcome is None:
        return ""
    return outcome.verdict if isinstance(outcome, Verdict) else outcome.state


def _occasion(
    verdict: Verdict | None, result: RunResult | None, previous: Verdict | RunResult | None
) -> str:
    if verdict is not None:
        was_failing = _state(previous) in ("rejected", "failed")
        return "recovered" if verdict.verdict == "accepted" and was_failing else verdict.verdict
    if result is None:
        raise ValueError("compose: neither a verdict nor a result")
    if result.state == "stopped":
        return "stopped"
    return "gave up" if result.restarts else "failed"


def _is_change(
    occasion: str,
    verdict: Verdict | None,
    result: RunResult | None,
    previous: Verdict | RunResult | None,
) -> bool:
    if occasion == "stopped":
        return False  # the person who stopped it knows
    # Two failures differ by their cause, two verdicts by their answer.
    if verdict is not None or not isinstance(previous, RunResult):
        return _state(verdict or result) != _state(previous)
    return _cause(result) != _cause(previous)


def _cause(result: RunResult | None) -> tuple[str, str, str]:
    failure = result.failure if result else None
    return (failure.kind, failure.message, failure.where) if failure else ("", "", "")


def _key(spec: RunSpec, verdict: Verdict | None, result: RunResult | None) -> str:
    """Return the key of an outcome, which is sent once.

    It names the outcome, not its wording: "recovered" and "accepted" are one outcome of a run.
    """
    if verdict is not None:
        return f"{spec.digest}:{verdict.verdict}"
    cause = "\0".join(_cause(result)).encode("utf-8", "surrogatepass")
    return f"{spec.digest}:{_state(result)}:{hashlib.sha256(cause).hexdigest()[:16]}"


def _headline(occasion: str, verdict: Verdict | None, result: RunResult | None) -> str:
    if verdict is not None:
        return f"{occasion}, {_value_and_bar(verdict)}" if verdict.value is not None else occasion
    failure = result.failure if result is not None else None
    if failure is not None and failure.kind == "stage":
        return f"{failure.where} failed"
    if occasion == "gave up" and result is not None:
        return f"gave up after {counted(result.restarts, 'restart')}"
    return f"training {occasion}"


def _value_and_bar(verdict: Verdict) -> str:
    mean = "" if verdict.seeds is None else f"; mean {verdict.seeds.in_words}"
    return f"{verdict.metric} {_number(verdict.value)}{mean} (bar {_number(verdict.target)})"


def _reasons(
    verdict: Verdict | None, result: RunResult | None, version: ModelVersion | None
) -> list[str]:
    reasons = list(verdict.reasons) if verdict else []
    if version is not None and version.note and not version.champion:
        reasons.append(version.note)
    failure = result.failure if result is not None and verdict is None else None
    if failure is not None:
        is_in_title = failure.kind == "stage"
        needs_place = bool(failure.where) and not is_in_title
        reasons.append(f"{failure.where}: {failure.message}" if needs_place else failure.message)
    return reasons


def _facts(
    spec: RunSpec,
    verdict: Verdict | None,
    result: RunResult | None,
    search: SearchResult | None,
    previous: Verdict | RunResult | None,
    champion: ModelVersion | None,
    version: ModelVersion | None,
    author: str,
    commits: Sequence[str],
) -> list[Fact]:
    states = filter(None, (_state(previous), _state(verdict or result)))
    rows: list[tuple[str, str]] = [("State", " → ".join(states))]
    if verdict:
        rows += _measurement(verdict)
    if champion:
        rows.append(("Champion before", _champion(champion, verdict)))
    if version:
        title = ", the champion" if version.champion else ""
        rows.append(("Registered as", f"version {version.version}{title}"))
    if search:
        rows += _search(search)
    if result:
        rows += _training(result)
    rows.append(("Commit", _commit(spec, champion)))
    rows.append(("Author", author))
    rows.append(("Since last accepted", "\n".join(commits)))
    rows.append(("Entry", spec.entry))
    return [Fact(label=label, value=value) for label, value in rows if value]


def _measurement(verdict: Verdict) -> list[tuple[str, str]]:
    if verdict.value is None:
        return [("Bar", _bar(verdict))]
    value = f"{verdict.metric} {_number(verdict.value)}"
    if verdict.interval is not None:
        value += (
            f" (95 % interval {_number(verdict.interval[0])} to {_number(verdict.interval[1])})"
        )
    if verdict.examples is not None:
        value += f" on {counted(verdict.examples, 'example')}"
    rows = [
        ("Measured", value),
        ("Measured by", second_measurement.measured_by(verdict)),
        ("Bar", _bar(verdict)),
    ]
    if verdict.baseline is not None:
        rows.append(("Baseline", f"{verdict.baseline.name}: {_number(verdict.baseline.value)}"))
    return rows


def _bar(verdict: Verdict) -> str:
    return f"{'at least' if verdict.mode == 'max' else 'at most'} {_number(verdict.target)}"


def _version(model: ModelVersion) -> str:
    return f"version {model.version}, {model.metric} {_number(model.value)}"


def _champion(champion: ModelVersion, verdict: Verdict | None) -> str:
    """Return the champion with its number on the same examples, in words.

    If there is no such number, its number at registration is given, and named as such.
    """
    against = None if verdict is None else verdict.against
    if against is None or against.version != champion.version:
        return _version(champion)
    if against.value is None:
        return (
            f"{_version(champion)} when it was registered; not measured on the same examples: "
            f"{against.why}"
        )
    metric = verdict.metric if verdict else ""
    number = f"{metric} {_number(against.value)} on the same examples"
    text = f"version {champion.version}, {number}"
    if against.p_value is None:
        return f"{text}; not compared: {against.why}"
    result = "beaten" if against.better else "not beaten"
    return f"{text}; {result} (p {against.p_value:.2g})"


def _search(search: SearchResult) -> list[tuple[str, str]]:
    seconds = sum(trial.seconds for trial in search.trials)
    # Trial 0 is the script's own model, not one of the search.
    count = counted(sum(trial.number > 0 for trial in search.trials), "trial")
    summary = f"{count} in {duration(seconds)}; {_STOPPED_BY[search.stopped]}"
    return [
        ("Tweaks", "; ".join(_edits(search)) or "none: the script as written was the best"),
        ("Search", summary),
    ]


def _edits(search: SearchResult) -> list[str]:
    """Return the winner's edits, its ancestors' first, without repetitions."""
    trials = {trial.number: trial for trial in search.trials}
    line: list[Trial] = []
    at: int | None = search.winner
    # Each trial is taken out once, so that a forged cycle of parents ends.
    while at is not None and (trial := trials.pop(at, None)) is not None:
        line.append(trial)
        at = trial.parent
    return list(dict.fromkeys(edit for trial in reversed(line) for edit in trial.edits))


def _training(result: RunResult) -> list[tuple[str, str]]:
    rows = [("Training time", duration(result.seconds) if result.seconds else "")]
    if result.restarts:
        survived = "survived " if result.state == "finished" else ""
        rows.append(("Restarts", f"{survived}{result.restarts}"))
    return rows


def _commit(spec: RunSpec, champion: ModelVersion | None) -> str:
    if not spec.commit:
        return ""
    since = f" (champion: {champion.commit[:12]})" if champion and champion.commit else ""
    return f"{spec.commit[:12]}{since}"


def _tail(log: str) -> str:
    return "\n".join(terminal_text(log).rstrip().split("\n")[-_LOG_LINES:])[-_LOG_CHARACTERS:]


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
