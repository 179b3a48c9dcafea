"""From what happened to what people are told: a pure function of the records."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from email.utils import parseaddr
from typing import Literal

from mlops_lib.gate import second_measurement
from mlops_lib.notification.wording import printable
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
"""Every occasion, with how it is shown."""
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
    begun: bool = False,
    links: Sequence[Link] = (),
    pictures: Sequence[str] = (),
    attachments: Sequence[str] = (),
    when: str = "change",
) -> Notification | None:
    """What people should be told about a run that has ended, or None if there is nothing to tell.

    Args:
        spec: what was asked.
        verdict: the gate's answer; None if the run never came so far.
        result: how the training ended.
        search: what the search found, if there was one.
        previous: how this project stood when people were last told (`recall`); None for the first
            time.
        champion: the champion before this run.
        version: what the run was registered as.
        author: who made the commit, as `Name <address>`.
        commits: what came in since the project was accepted last, newest first, one line each.
        begun: whether people were told of a step of this run: they are told its end then, change or
            not.
        links: report, model, patch, build.
        pictures: paths of PNG files.
        attachments: paths of files that mail carries: the report.
        when: "change" tells only what differs from `previous`, a new champion included; "always";
            "never".

    Raises:
        ValueError: there is neither a verdict nor a result.
    """
    occasion = _occasion(verdict, result, previous)
    crowned = (
        version is not None
        and version.champion
        and champion is not None
        and version.version != champion.version
    )
    changed = crowned or _changed(occasion, verdict, result, previous)
    if when == "never" or (when == "change" and not changed and not begun):
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
    """A step of a run under way, for channels that show a run's messages together; None if there is
    nothing to tell.

    On "change" people hear that a project began that they have not heard of, and that one fell
    short that did not before; how a run goes on whose project they know to be rejected or failing
    is no news until it ends otherwise.

    Args:
        what: which step.
        spec: what was asked.
        verdict: the gate's answer that the bar was missed.
        search: what the search found, for "recovered".
        previous: how the project stood when people were last told.
        author: who made the commit.
        commits: what came in since the project was accepted last.
        links: where to look.
        when: as in `compose`.
    """
    news = {"started": "", "fell short": "accepted undecided", "recovered": "accepted undecided"}[
        what
    ]
    if when == "never" or (
        when == "change" and previous is not None and _state(previous) not in news.split()
    ):
        return None
    facts: list[tuple[str, str]] = []
    if what == "started":
        title = "started"
        facts = [("Commit", _commit(spec, None)), ("Author", author), ("Entry", spec.entry)]
        facts += [("Since last accepted", "\n".join(commits))] if commits else []
    elif what == "fell short" and verdict is not None:
        title = f"fell short, tweaking: {_measured(verdict)}"
        facts = _measurement(verdict)
    elif what == "recovered" and search is not None:
        score = f"trial {search.winner}: {search.metric} {_number(search.score)}"
        title = f"recovered, {score} where the search selects; to be judged"
        facts = _search(search)
    else:
        raise ValueError(f"step: {what} without what it tells of")
    return Notification(
        key=f"{spec.digest}:step:{what}:{_number(verdict.target) if verdict else ''}",
        level="warning" if what == "fell short" else "info",
        title=f"{spec.name}: {title}",
        facts=tuple(Fact(label=label, value=value) for label, value in facts if value),
        links=tuple(links),
        thread=_thread(spec),
        progress=True,
    )


def _thread(spec: RunSpec) -> str:
    return f"{spec.name}/{spec.digest}"


def sample(key: str) -> Notification:
    """What `mlops notify --test` sends; another key each time, for the same one is told only once."""
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
        fell = _state(previous) in ("rejected", "failed")
        return "recovered" if verdict.verdict == "accepted" and fell else verdict.verdict
    if result is None:
        raise ValueError("compose: neither a verdict nor a result")
    if result.state == "stopped":
        return "stopped"
    return "gave up" if result.restarts else "failed"


def _changed(
    occasion: str,
    verdict: Verdict | None,
    result: RunResult | None,
    previous: Verdict | RunResult | None,
) -> bool:
    if occasion == "stopped":
        return False  # whoever stopped it knows
    if verdict is not None or not isinstance(previous, RunResult):
        return _state(verdict or result) != _state(previous)
    return _cause(result) != _cause(previous)


def _cause(result: RunResult | None) -> tuple[str, str, str]:
    failure = result.failure if result else None
    return (failure.kind, failure.message, failure.where) if failure else ("", "", "")


def _key(spec: RunSpec, verdict: Verdict | None, result: RunResult | None) -> str:
    """Names the outcome, not the wording: "recovered" and "accepted" are one outcome, told once for
    a run.
    """
    if verdict is not None:
        return f"{spec.digest}:{verdict.verdict}"
    cause = hashlib.sha256("\0".join(_cause(result)).encode("utf-8", "surrogatepass")).hexdigest()[
        :16
    ]
    return f"{spec.digest}:{_state(result)}:{cause}"


def _headline(occasion: str, verdict: Verdict | None, result: RunResult | None) -> str:
    if verdict is not None:
        return f"{occasion}, {_measured(verdict)}" if verdict.value is not None else occasion
    failure = result.failure if result is not None else None
    if failure is not None and failure.kind == "stage":
        return f"{failure.where} failed"
    if occasion == "gave up" and result is not None:
        return f"gave up after {_count(result.restarts, 'restart')}"
    return f"training {occasion}"


def _measured(verdict: Verdict) -> str:
    several = "" if verdict.seeds is None else f"; mean {verdict.seeds.in_words}"
    return f"{verdict.metric} {_number(verdict.value)}{several} (bar {_number(verdict.target)})"


def _reasons(
    verdict: Verdict | None, result: RunResult | None, version: ModelVersion | None
) -> list[str]:
    reasons = list(verdict.reasons) if verdict else []
    if version is not None and version.note and not version.champion:
        reasons.append(version.note)
    failure = result.failure if result is not None and verdict is None else None
    if failure is not None:
        is_told = not failure.where or failure.kind == "stage"  # a stage is in the title
        reasons.append(failure.message if is_told else f"{failure.where}: {failure.message}")
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
    rows: list[tuple[str, str]] = [
        ("State", " → ".join(filter(None, (_state(previous), _state(verdict or result)))))
    ]
    rows += _measurement(verdict) if verdict else []
    rows += [("Champion before", _champion(champion, verdict))] if champion else []
    rows += (
        [
            (
                "Registered as",
                f"version {version.version}{', the champion' if version.champion else ''}",
            )
        ]
        if version
        else []
    )
    rows += _search(search) if search else []
    rows += _training(result) if result else []
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
        value += f" on {_count(verdict.examples, 'example')}"
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
    """The champion with its number on the same examples, or else, which is said, the one it was
    registered with.
    """
    against = None if verdict is None else verdict.against
    if against is None or against.version != champion.version:
        return _version(champion)
    if against.value is None:
        return f"{_version(champion)} when it was registered; not measured on the same examples: {against.why}"
    told = f"version {champion.version}, {verdict.metric if verdict else ''} {_number(against.value)} on the same examples"
    if against.p_value is None:
        return f"{told}; not compared: {against.why}"
    beaten = "beaten" if against.better else "not beaten"
    return f"{told}; {beaten} (p {against.p_value:.2g})"


def _search(search: SearchResult) -> list[tuple[str, str]]:
    seconds = sum(trial.seconds for trial in search.trials)
    tried = _count(sum(trial.number > 0 for trial in search.trials), "trial")
    trials = f"{tried} in {_duration(seconds)}; {_STOPPED_BY[search.stopped]}"
    return [
        ("Tweaks", "; ".join(_edits(search)) or "none: the script as written was the best"),
        ("Search", trials),
    ]


def _edits(search: SearchResult) -> list[str]:
    """The winner's edits, its ancestors' first, each once."""
    trials = {trial.number: trial for trial in search.trials}
    line: list[Trial] = []
    at: int | None = search.winner
    while at is not None and (trial := trials.pop(at, None)) is not None:
        line.append(trial)
        at = trial.parent
    return list(dict.fromkeys(edit for trial in reversed(line) for edit in trial.edits))


def _training(result: RunResult) -> list[tuple[str, str]]:
    rows = [("Training time", _duration(result.seconds) if result.seconds else "")]
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
    return "\n".join(printable(log).rstrip().split("\n")[-_LOG_LINES:])[-_LOG_CHARACTERS:]


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
