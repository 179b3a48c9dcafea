"""What people are told: the occasion and its facts, and that no channel's form can be broken by a
script's words.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mlops_lib.formatting import terminal_text
from mlops_lib.notification import (
    compose,
    email_body,
    last_accepted,
    recall,
    remember,
    sample,
    step,
)
from mlops_lib.notification.http_post import retry_after_s
from mlops_lib.notification.redaction import masker
from mlops_lib.notification.slack import payload
from mlops_lib.project import git_history
from mlops_lib.records import (
    Baseline,
    Comparison,
    Environment,
    Fact,
    Failure,
    Image,
    Link,
    ModelVersion,
    Notification,
    RunResult,
    RunSpec,
    SearchResult,
    Trial,
    Verdict,
)

SPEC = RunSpec(
    digest="d" * 64,
    name="digits",
    project="/p",
    entry="train.py",
    backend="docker",
    commit="c0ffee" * 6,
    image=Image(tag="t", environment=Environment(name="keras", framework="keras", family="cnn")),
)
ACCEPTED = Verdict(
    verdict="accepted",
    metric="accuracy",
    value=0.93127,
    target=0.9,
    interval=(0.91, 0.95),
    examples=2000,
    baseline=Baseline(name="majority class", value=0.1),
)
REJECTED = replace(ACCEPTED, verdict="rejected", value=0.7, reasons=("0.7 is below the bar",))
UNDECIDED = replace(ACCEPTED, verdict="undecided", metric=None, value=None, interval=None)
FINISHED = RunResult(run_dir="/r", state="finished", restarts=2, seconds=3700)
CRASHED = RunResult(
    run_dir="/r",
    state="failed",
    seconds=3,
    failure=Failure(
        kind="crash",
        message="ValueError: no",
        where="train.py:3",
        log="\n".join(map(str, range(100))),
    ),
)
CHAMPION = ModelVersion(
    name="digits",
    version=3,
    path="/v",
    model="/v/m",
    metric="accuracy",
    value=0.92,
    champion=True,
    commit="f00d" * 10,
)
SEARCH = SearchResult(
    metric="accuracy",
    selection="disjoint",
    fit=1,
    winner=2,
    stopped="bar",
    trials=(
        Trial(number=0, seconds=60),
        Trial(number=1, parent=0, edits=("widen layer 2",), seconds=120),
        Trial(number=2, parent=1, edits=("widen layer 2", "add dropout"), seconds=120),
        Trial(number=3, parent=0),
    ),
)


def facts(**given: Any) -> dict[str, str]:
    notification = compose(spec=SPEC, **{"when": "always", **given})
    assert notification is not None
    return {fact.label: fact.value for fact in notification.facts}


@pytest.mark.parametrize(
    ("outcome", "previous", "level", "words"),
    [
        (ACCEPTED, None, "good", "digits: accepted, accuracy 0.9313 (bar 0.9)"),
        (ACCEPTED, REJECTED, "good", "digits: recovered, accuracy 0.9313 (bar 0.9)"),
        (ACCEPTED, CRASHED, "good", "digits: recovered, accuracy 0.9313 (bar 0.9)"),
        (ACCEPTED, UNDECIDED, "good", "digits: accepted, accuracy 0.9313 (bar 0.9)"),
        (ACCEPTED, ACCEPTED, None, ""),
        (REJECTED, ACCEPTED, "warning", "digits: rejected, accuracy 0.7 (bar 0.9)"),
        (REJECTED, REJECTED, None, ""),
        (UNDECIDED, ACCEPTED, "warning", "digits: undecided"),
        (CRASHED, ACCEPTED, "bad", "digits: training failed"),
        (CRASHED, None, "bad", "digits: training failed"),
        (CRASHED, CRASHED, None, ""),
        (CRASHED, replace(CRASHED, failure=None), "bad", "digits: training failed"),
        (replace(CRASHED, restarts=1), ACCEPTED, "bad", "digits: gave up after 1 restart"),
        (replace(CRASHED, restarts=5), ACCEPTED, "bad", "digits: gave up after 5 restarts"),
        (replace(CRASHED, state="stopped"), ACCEPTED, None, ""),
    ],
)
def test_a_change_is_told_and_nothing_else(
    outcome: Verdict | RunResult,
    previous: Verdict | RunResult | None,
    level: str | None,
    words: str,
) -> None:
    given: dict[str, Any] = (
        {"verdict": outcome} if isinstance(outcome, Verdict) else {"result": outcome}
    )
    told = compose(spec=SPEC, previous=previous, **given)
    assert (told and told.level, told.title if told else "") == (level, words)
    assert compose(spec=SPEC, previous=previous, when="always", **given) is not None
    assert compose(spec=SPEC, previous=previous, when="never", **given) is None


def test_a_new_champion_is_a_change() -> None:
    better = replace(CHAMPION, version=4)
    assert (
        compose(spec=SPEC, verdict=ACCEPTED, previous=ACCEPTED, champion=CHAMPION, version=better)
        is not None
    )
    worse = replace(better, champion=False)
    assert (
        compose(spec=SPEC, verdict=ACCEPTED, previous=ACCEPTED, champion=CHAMPION, version=worse)
        is None
    )


def test_one_outcome_of_one_run_has_one_key() -> None:
    def key(spec: RunSpec = SPEC, **given: Any) -> str:
        told = compose(spec=spec, when="always", **given)
        assert told is not None
        return told.key

    assert key(verdict=ACCEPTED) == key(verdict=ACCEPTED, previous=REJECTED, search=SEARCH)
    assert key(result=CRASHED) == key(result=replace(CRASHED, restarts=3, seconds=9))
    others = {
        key(verdict=ACCEPTED),
        key(verdict=REJECTED),
        key(result=CRASHED),
        key(result=FINISHED),
    }
    others.add(key(replace(SPEC, digest="e" * 64), verdict=ACCEPTED))
    assert len(others) == 5


@pytest.mark.parametrize(
    ("what", "previous", "is_told"),
    [
        ("started", None, True),
        ("started", ACCEPTED, False),
        ("started", REJECTED, False),
        ("fell short", None, True),
        ("fell short", ACCEPTED, True),
        ("fell short", REJECTED, False),
        ("recovered", CRASHED, False),
    ],
)
def test_steps_are_told_where_they_are_news(what: Any, previous: Any, is_told: bool) -> None:
    given: dict[str, Any] = {
        "spec": SPEC,
        "verdict": REJECTED,
        "search": SEARCH,
        "previous": previous,
    }
    told = step(what, **given)
    assert (told is not None) == is_told
    assert step(what, **given, when="never") is None
    always = step(what, **given, when="always")
    assert always is not None
    end = compose(spec=SPEC, verdict=ACCEPTED, when="always")
    assert end is not None
    assert always.progress
    assert (always.thread, end.progress) == (end.thread, False)


def test_whoever_heard_of_a_step_hears_the_end() -> None:
    assert compose(spec=SPEC, verdict=ACCEPTED, previous=ACCEPTED) is None
    assert compose(spec=SPEC, verdict=ACCEPTED, previous=ACCEPTED, is_announced=True) is not None


def test_who_and_what_since_it_was_accepted_last(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=Ann <script>", "-c", "user.email=ann@example.com"]
        subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True
        )

    def commit(path: str, subject: str) -> None:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(subject)
        git("add", path)
        git("commit", "-m", subject)

    home, project = tmp_path / "home", tmp_path / "digits"
    git("init")
    commit("digits/train.py", "good")
    remember("digits", ACCEPTED, home=home, commit=git_history.commit(project))
    remember("digits", REJECTED, home=home, commit="f" * 40)
    commit("wine/train.py", "elsewhere")
    commit("digits/train.py", "worse")
    commits = git_history.commits_since(project, last_accepted("digits", home=home))
    assert [line.partition(" ")[2] for line in commits] == ["Ann script: worse"], (
        "only what touched the project"
    )
    assert git_history.commits_since(project, "--output=/tmp/x") == []
    author = git_history.author(project)
    shown = facts(verdict=ACCEPTED, author=author, commits=commits)
    assert (shown["Author"], shown["Since last accepted"]) == (author, commits[0])
    told = compose(spec=SPEC, verdict=ACCEPTED, author=author)
    assert told is not None
    assert told.author == "ann@example.com"


def test_every_test_message_is_a_message_of_its_own() -> None:
    assert sample("1").key != sample("2").key


def test_the_facts_people_ask_for_are_there() -> None:
    told = facts(
        verdict=ACCEPTED,
        result=FINISHED,
        search=SEARCH,
        previous=REJECTED,
        champion=CHAMPION,
        version=replace(CHAMPION, version=4),
        author="Ann",
    )
    assert told == {
        "State": "rejected → accepted",
        "Measured": "accuracy 0.9313 (95 % interval 0.91 to 0.95) on 2,000 examples",
        "Bar": "at least 0.9",
        "Baseline": "majority class: 0.1",
        "Champion before": "version 3, accuracy 0.92",
        "Registered as": "version 4, the champion",
        "Tweaks": "widen layer 2; add dropout",
        "Search": "3 trials in 5\u202fmin; the bar was reached",
        "Training time": "1\u202fh 1\u202fmin",
        "Restarts": "survived 2",
        "Commit": "c0ffeec0ffee (champion: f00df00df00d)",
        "Author": "Ann",
        "Entry": "train.py",
    }


def test_who_measured_is_said_and_the_champion_on_the_same_examples() -> None:
    measured = replace(ACCEPTED, measured="independently", recomputed=True)
    assert (
        facts(verdict=measured)["Measured by"] == "independently, by a process without the script"
    )
    own = replace(ACCEPTED, measured="by the script's process", recomputed=True)
    assert facts(verdict=own)["Measured by"] == "by the script's process, on the saved file"
    against = Comparison(
        version=3, value=0.9, difference=0.03, interval=(0.01, 0.05), p_value=0.004, better=True
    )
    told = facts(verdict=replace(ACCEPTED, against=against), champion=CHAMPION)
    assert (
        told["Champion before"] == "version 3, accuracy 0.9 on the same examples; beaten (p 0.004)"
    )
    unknown = Comparison(version=3, why="it knows other classes: 8, not 10")
    told = facts(verdict=replace(ACCEPTED, against=unknown), champion=CHAMPION)
    assert told["Champion before"].endswith(
        "not measured on the same examples: it knows other classes: 8, not 10"
    )


def test_a_failure_shows_where_and_the_last_lines() -> None:
    told = compose(spec=SPEC, result=CRASHED)
    assert told is not None
    assert told.text == "train.py:3: ValueError: no"
    assert told.log.splitlines() == [str(number) for number in range(85, 100)]


def test_a_search_tree_with_a_circle_in_it_ends() -> None:
    circle = (Trial(number=1, parent=2, edits=("a",)), Trial(number=2, parent=1, edits=("b",)))
    assert facts(verdict=REJECTED, search=replace(SEARCH, trials=circle))["Tweaks"] == "a; b"


def test_how_a_project_stood_is_remembered(tmp_path: Path) -> None:
    assert recall("../x", home=tmp_path) is None
    for outcome in (ACCEPTED, CRASHED):
        remember("../x", outcome, home=tmp_path)
        assert recall("../x", home=tmp_path) == outcome
    assert all(tmp_path in path.parents for path in tmp_path.rglob("*"))


HOSTILE = "<!channel> <http://evil.example.com|ok> & <script>alert(1)</script> ``` ``````` \x00\x1b[31m\u202e \udcff"


def hostile(size: int = 1) -> Notification:
    text = HOSTILE * size
    return Notification(
        key="k",
        level="bad",
        title=text,
        text=text,
        log=text,
        facts=tuple(Fact(label=text, value=text) for _ in range(25)),
        links=(
            Link(label=text, url="https://example.com/?a=1&b=2"),
            Link(label="x", url="javascript:alert(1)"),
            Link(label="y", url="https://example.com/|x> <!here"),
            Link(label="z", url="/runs/a b/report.html"),
        ),
    )


@pytest.mark.parametrize("size", [1, 500])
def test_slack_is_given_nothing_it_would_obey_or_refuse(size: int) -> None:
    message = payload(hostile(size))
    json.dumps(message).encode()
    assert len(message["blocks"]) <= 50
    texts = [message["text"]]
    for block in message["blocks"]:
        if "text" in block:
            assert len(block["text"]["text"]) <= 3000
            texts.append(block["text"]["text"])
        assert len(block.get("fields", [])) <= 10
        for cell in block.get("fields", []):
            assert len(cell["text"]) <= 2000
            texts.append(cell["text"])
    for text in texts:
        left = text.replace("<https://example.com/?a=1&amp;b=2|", "")
        assert "<" not in left
        assert "&" not in left.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    (fenced,) = [text for text in texts if text.startswith("```")]
    assert "```" not in fenced[3:-3]
    assert fenced.endswith("```")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.targets: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.targets += [value for name, value in attrs if name in ("href", "src")]
        assert not [name for name, _ in attrs if name.startswith("on")]


def test_html_mail_holds_only_our_own_tags() -> None:
    tags = Tags()
    text = email_body.html(hostile(), pictures=["one"])
    text.encode()
    tags.feed(text)
    assert not tags.seen & {"script", "style", "link", "iframe", "form"}
    assert tags.targets == [
        "cid:one",
        "https://example.com/?a=1&b=2",
        "https://example.com/|x> <!here",
    ]


def test_plain_mail_and_subject_hold_no_control_characters() -> None:
    assert email_body.subject(hostile(100)).isprintable()
    assert len(email_body.subject(hostile(100))) <= 200
    assert all(line.isprintable() for line in email_body.plain(hostile()).splitlines())


def test_masks_know_the_environment_and_common_shapes() -> None:
    environ = {
        "DEPLOY_TOKEN": "s3cr3t-value",
        "MLOPS_SMTP_URL": "smtp://u:p%40ssword1@h",
        "PATH": "/usr/bin",
        "A_KEY": "k",
    }
    mask = masker(environ)
    assert mask("s3cr3t-value p@ssword1 p%40ssword1") == "*** *** ***"
    assert (
        mask("see https://hooks.slack.com/services/T/B/X now")
        == "see https://hooks.slack.com/*** now"
    )
    assert mask("git clone https://me:pw@example.com/x") == "git clone https://***@example.com/x"
    assert mask("/usr/bin is a path, kk") == "/usr/bin is a path, kk"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x07", "link"),
        ("1/3\r2/3\r3/3\r\ndone\r", "3/3\ndone"),
        ("a\tb\x00c\u202ed\udcff", "a    b c d"),
    ],
)
def test_text_is_shown_as_a_terminal_left_it(text: str, shown: str) -> None:
    assert terminal_text(text) == shown


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("", None), ("soon", None), ("-1", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
)
def test_retry_after_is_read_in_both_forms(header: str, seconds: float | None) -> None:
    assert retry_after_s(header) == seconds


def test_nothing_third_party_is_loaded_before_a_message_is_sent() -> None:
    code = "import sys, mlops_lib.notification as n; print(sorted({'requests', 'urllib3', 'smtplib'} & set(sys.modules)))"
    root = str(Path(email_body.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.strip() == "[]"
