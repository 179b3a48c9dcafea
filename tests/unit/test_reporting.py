"""The report of runs in every state, with everything a script can write into it."""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mlops_lib import formatting, reporting
from mlops_lib.records import (
    Baseline,
    Detection,
    Environment,
    Evidence,
    Image,
    PipelineResult,
    RunSpec,
    SearchResult,
    Trial,
    Verdict,
)
from mlops_lib.reporting import charts, sentences, tables, untrusted_files, view
from mlops_lib.reporting import page as report_page

BEGAN = 1_790_000_000.0
ENVIRONMENT = Environment(
    name="keras-cnn",
    framework="keras",
    family="cnn",
    requirements=("tensorflow-cpu==2.21.0", "scikit-learn"),
)
BEFORE = (
    "Input (None, 8, 8, 1)",
    "Conv2D(8, 3x3, relu) (None, 6, 6, 8)",
    "Flatten (None, 288)",
    "Dense(16, relu) (None, 16)",
    "Dense(10, softmax) (None, 10)",
)
AFTER = (
    "Input (None, 8, 8, 1)",
    "Conv2D(8, 3x3, relu) (None, 6, 6, 8)",
    "Conv2D(16, 3x3, relu) (None, 6, 6, 16)",
    "MaxPooling2D(2) (None, 3, 3, 16)",
    "Flatten (None, 144)",
    "Dense(64, relu) (None, 64)",
    "Dense(10, softmax) (None, 10)",
)


class Run:
    """A run directory under construction, as the host and the runner would write it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = BEGAN
        self.attempt = 1
        self.number_of_pass = 1
        (path / "inside").mkdir(parents=True)

    def write(self, name: str, value: Any) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")

    def append(self, name: str, value: dict[str, Any]) -> None:
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(value) + "\n")

    def event(self, event: str, *, after_s: float = 0.1, **keys: Any) -> None:
        self.clock += after_s
        common = {
            "time": round(self.clock, 3),
            "pass": self.number_of_pass,
            "attempt": self.attempt,
        }
        self.append("inside/events.jsonl", {"event": event, **keys, **common})

    def note(self, event: str, **keys: Any) -> None:
        self.append("attempts.jsonl", {"event": event, "time": round(self.clock, 3), **keys})

    def start(self, *, resumed: bool = False) -> None:
        self.event("start", entry="train.py", args=[], python="3.11.9", pid=7, resumed=resumed)

    def epochs(self, fit: int, first: int, end: int, *, seconds: float = 2.0) -> None:
        for epoch in range(first, end):
            learned = 1 - 0.75 ** (epoch + 1)
            metrics = {
                "accuracy": 0.3 + 0.65 * learned,
                "loss": 2.3 - 2.2 * learned,
                "val_accuracy": 0.3 + 0.45 * learned,
                "val_loss": 2.3 - 1.4 * learned + 0.01 * epoch,
            }
            self.event(
                "epoch", after_s=seconds, fit=fit, epoch=epoch, metrics=metrics, seconds=seconds
            )

    def spec(self, name: str = "digits-cnn") -> None:
        self.write(
            "spec.json",
            RunSpec(
                digest=hashlib.sha256(b"a run").hexdigest(),
                name=name,
                project="/home/ada/projects/digits cnn",
                entry="train.py",
                args=("--epochs", "20"),
                seed=7,
                backend="docker",
                image=Image(tag="mlops/keras-cnn:5f0c1b7a", environment=ENVIRONMENT, built=True),
                commit="9a8b7c6d5e4f30219a8b7c6d5e4f30219a8b7c6d",
                data_digest=hashlib.sha256(b"data").hexdigest(),
                created=BEGAN,
            ).to_json(),
        )
        self.write(
            "detection.json",
            Detection(
                project="/home/ada/projects/digits cnn",
                entry="train.py",
                framework="keras",
                family="cnn",
                environment=ENVIRONMENT,
                evidence=(
                    Evidence(
                        file="train.py",
                        line=3,
                        saw="from tensorflow import keras",
                        means="Keras trains",
                    ),
                    Evidence(
                        file="train.py",
                        line=21,
                        saw="model.fit(x, y, …)",
                        means="this file is the entry",
                    ),
                    Evidence(
                        file="train.py",
                        line=12,
                        saw="layers.Conv2D(8, 3)",
                        means="a convolutional network",
                    ),
                ),
            ).to_json(),
        )

    def verdict(self, **changes: Any) -> None:
        told: dict[str, Any] = {
            "verdict": "accepted",
            "metric": "accuracy",
            "value": 0.925,
            "interval": (0.893, 0.948),
            "target": 0.8,
            "examples": 360,
            "source": "keras.evaluate",
            "recomputed": True,
            "baseline": Baseline(name="majority class", value=0.103),
            "champion": 0.903,
            "judged_fit": 1,
            "reasons": (
                "92.5 % accuracy on 360 held-out examples reaches the bar of 80 %",
                "the saved model, loaded again, gives the same number",
            ),
        }
        self.write("verdict.json", Verdict(**{**told, **changes}).to_json())

    def metrics(self, **changes: Any) -> None:
        evaluation: dict[str, Any] = {
            "id": 1,
            "metric": "accuracy",
            "value": 0.925,
            "task": "classification",
            "source": "keras.evaluate",
            "fit": 1,
            "examples": 360,
            "unique": 358,
            "held_out": True,
            "higher_is_better": True,
            "recomputed": 0.925,
            "recompute_note": "",
            "baseline": {"name": "majority class", "value": 0.103},
            "confusion": [
                [34 if i == j else (2 if (i + j) % 7 == 1 else 0) for j in range(10)]
                for i in range(10)
            ],
            "labels": [str(n) for n in range(10)],
            "examples_digest": "d",
            "all": {"loss": 0.31, "accuracy": 0.925},
        }
        model = {
            "path": "model.keras",
            "framework": "keras",
            "fit": 1,
            "class": "Sequential",
            "reloaded": True,
            "note": "",
            "architecture": list(AFTER),
            "parameters": 10_858,
            "bytes": 151_220,
        }
        self.write(
            "inside/metrics.json",
            {
                "schema": 1,
                "evaluations": [{**evaluation, **changes}],
                "model": model,
                "printed": [],
            },
        )

    def search(self) -> None:
        def curve(end: float) -> tuple[float, ...]:
            return tuple(end - (end - 0.3) * 0.6**n for n in range(1, 9))

        trials = [
            Trial(
                number=0, score=0.742, epochs=20, seconds=40, parameters=4_922, curve=curve(0.742)
            ),
            Trial(
                number=1,
                parent=0,
                edits=("widen Dense 16 → 64",),
                inherited="exact",
                score=0.801,
                epochs=8,
                seconds=18.5,
                curve=curve(0.801),
            ),
            Trial(
                number=2,
                parent=0,
                edits=("learning rate 0.1",),
                inherited="exact",
                state="stopped",
                score=0.411,
                epochs=2,
                seconds=4.1,
                curve=(0.42, 0.411),
                message="far behind the best after 2 epochs",
            ),
            Trial(
                number=3,
                parent=1,
                edits=("insert Dropout(0.9)",),
                inherited="exact",
                state="failed",
                message="NaN",
            ),
            Trial(
                number=4,
                parent=1,
                edits=("insert Conv2D(16) and MaxPooling2D after layer 1",),
                inherited="approximate",
                score=0.934,
                epochs=12,
                seconds=33.2,
                parameters=10_858,
                curve=curve(0.934),
            ),
        ]
        self.write(
            "inside/search/result.json",
            SearchResult(
                metric="val_accuracy",
                selection="half",
                fit=1,
                trials=tuple(trials),
                winner=4,
                score=0.934,
                stopped="bar",
                before=BEFORE,
                after=AFTER,
                notes=("the CSVLogger callback never runs in a trial",),
                diagnosis=("underfitting", "unfinished"),
                examples=1000,
            ).to_json(),
        )

    def result(self) -> None:
        told = PipelineResult(
            verdict="accepted",
            metric="accuracy",
            value=0.925,
            interval=(0.893, 0.948),
            target=0.8,
            examples=360,
            trials=5,
            restarts=1,
            model="/home/ada/.mlops/registry/digits-cnn/3/model.keras",
            report=None,
            patch=None,
            run_dir="r",
            seconds=120.0,
            version=3,
        )
        self.write("result.json", told.to_json())


def accepted(path: Path) -> Path:
    """A run that fell short, was killed once, and was repaired by the search."""
    run = Run(path)
    run.spec()
    run.note("attempt", attempt=1, number_of_pass=1, container="c1")
    run.start()
    run.event(
        "fit",
        fit=1,
        framework="keras",
        model="Sequential",
        state="started",
        epochs=20,
        epoch=0,
        parameters=4922,
    )
    run.epochs(1, 0, 8)
    run.note("exit", container="c1", exit_code=137, out_of_memory=False)
    run.note("decision", do="restart", why="the process was killed from outside", delay_s=0)
    run.clock, run.attempt = run.clock + 3, 2
    run.note("attempt", attempt=2, number_of_pass=1, container="c2")
    run.start(resumed=True)
    run.event(
        "fit",
        fit=1,
        framework="keras",
        model="Sequential",
        state="resumed",
        epochs=20,
        epoch=8,
        parameters=4922,
    )
    run.epochs(1, 8, 20)
    run.event("fit_end", fit=1, epochs=20, seconds=40.0, metrics={})
    run.event(
        "warning",
        message="fit 1 uses a tf.data pipeline that shuffles: its order is restored by replaying it",
    )
    run.event("metric", metric="accuracy", value=0.742, source="keras.evaluate")
    run.event("end", exit_code=0, seconds=25.0, error=None)
    run.append(
        "verdicts.jsonl",
        Verdict(verdict="rejected", metric="accuracy", value=0.742, target=0.8).to_json(),
    )
    run.attempt, run.number_of_pass = 3, 2
    run.start()
    run.event(
        "fit", fit=1, framework="keras", model="Sequential", state="restored", epochs=20, epoch=20
    )
    for number in range(5):
        run.event(
            "trial",
            after_s=14,
            trial={"number": number, "edits": [f"edit {number}"], "state": "finished"},
        )
    run.event("metric", metric="accuracy", value=0.925, source="keras.evaluate")
    run.event("end", exit_code=0, seconds=75.0, error=None)
    run.verdict(selection="half")
    run.metrics()
    run.write("search.json", {"fit": 1, "metric": "accuracy", "trials": 12, "minutes": 30.0})
    run.search()
    run.result()
    run.write(
        "suggested.patch",
        "--- a/train.py\n+++ b/train.py\n@@ -12 +12 @@\n-    Dense(16),\n+    Dense(64),\n",
    )
    run.write(
        "log.txt",
        "loading digits\n"
        + "".join(f"\rstep {n}/45" for n in range(46))
        + "\ntest accuracy 0.925\n",
    )
    return path


def failed(path: Path) -> Path:
    """A run that ended with an exception of the script."""
    run = Run(path)
    run.spec("sales-forecast")
    run.start()
    run.event(
        "fit", fit=1, framework="keras", model="Functional", state="started", epochs=50, epoch=0
    )
    run.epochs(1, 0, 3)
    run.event(
        "end",
        exit_code=1,
        seconds=6.4,
        error={
            "type": "KeyError",
            "message": "'price'",
            "file": "train.py",
            "line": 41,
            "kind": "crash",
        },
    )
    run.write(
        "log.txt",
        "Epoch 3/50\nTraceback (most recent call last):\n"
        '  File "train.py", line 41, in <module>\n    y = frame["price"]\nKeyError: \'price\'\n',
    )
    return path


def unfinished(path: Path) -> Path:
    run = Run(path)
    run.spec()
    run.start()
    run.event(
        "fit", fit=1, framework="keras", model="Sequential", state="started", epochs=20, epoch=0
    )
    run.epochs(1, 0, 4)
    with (path / "inside/events.jsonl").open("a") as file:
        file.write('{"event": "epoch", "fit": 1, "epo')
    return path


def sklearn(path: Path) -> Path:
    run = Run(path)
    run.spec("iris-svm")
    run.start()
    run.event("fit", fit=1, framework="sklearn", model="SVC", state="started")
    run.event("fit_end", fit=1, epochs=1, seconds=0.02, metrics={})
    run.event("end", exit_code=0, seconds=0.9, error=None)
    run.verdict(
        verdict="undecided",
        value=0.36,
        interval=(0.24, 0.5),
        examples=50,
        champion=None,
        source="sklearn.score",
    )
    run.metrics(
        value=0.36,
        source="sklearn.score",
        recomputed=None,
        recompute_note="the model could not be saved",
    )
    return path


BUILDERS: tuple[Callable[[Path], Path], ...] = (accepted, failed, unfinished, sklearn)


class Page(HTMLParser):
    """What a browser would see of a page: its elements, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [
            a
            for t, a in self.tags
            if t == tag and all(a.get(k.rstrip("_")) == v for k, v in attributes.items())
        ]


def page_of(run_dir: Path) -> Page:
    return Page(reporting.report(run_dir).read_text("utf-8"))


def assert_harmless(page: Page, *, linked: bool) -> None:
    """Nothing in the page runs, loads from elsewhere, or needs an inline style that a strict policy
    refuses.
    """
    tags = {tag for tag, _ in page.tags}
    assert not tags & {
        "script",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "img",
        "a",
        "image",
        "use",
    }
    assert ("style" in tags) is not linked
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (
            tag,
            attributes,
        )
        assert "src" not in attributes
        assert "href" not in attributes or (tag == "link" and attributes["href"] == "style.css")
    assert page.open == [], "an element was left open"


@pytest.mark.parametrize("build", BUILDERS)
def test_every_state_gives_a_whole_and_harmless_page(
    build: Callable[[Path], Path], tmp_path: Path
) -> None:
    run_dir = build(tmp_path / "run")
    path = reporting.report(run_dir)
    assert path == run_dir / "report.html"
    assert path.stat().st_size < 200_000
    page = Page(path.read_text("utf-8"))
    assert_harmless(page, linked=False)
    assert [tag for tag, _ in page.tags if tag == "h1"] == ["h1"]
    assert all(a.get("aria-label") for a in page.all("svg", role="img"))
    assert not re.search(r"https?://", path.read_text("utf-8"))


@pytest.mark.parametrize("build", BUILDERS)
def test_the_same_run_gives_the_same_bytes(build: Callable[[Path], Path], tmp_path: Path) -> None:
    run_dir = build(tmp_path / "run")
    first = reporting.report(run_dir).read_bytes()
    # Another process: another hash seed, and a report that is already there.
    code = "import sys, pathlib; from mlops_lib import reporting; reporting.report(pathlib.Path(sys.argv[1]))"
    root = str(Path(reporting.__file__).parents[2])
    variables = {**os.environ, "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "PYTHONPATH": root}
    subprocess.run(
        [sys.executable, "-c", code, str(run_dir)], check=True, env=variables, timeout=120
    )
    assert reporting.report(run_dir).read_bytes() == first
    pictures = [reporting.curve_png(run_dir, tmp_path / f"{n}.png") for n in range(2)]
    assert len({p.read_bytes() if p else b"" for p in pictures}) == 1


def test_a_picture_is_drawn_anew_only_where_the_curves_are_others(tmp_path: Path) -> None:
    run_dir, picture = accepted(tmp_path / "run"), tmp_path / "curves.png"
    reporting.curve_png(run_dir, picture)
    first = picture.stat()
    reporting.curve_png(run_dir, picture)
    assert (picture.stat().st_ino, picture.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    before, events = picture.read_bytes(), next(run_dir.rglob("events.jsonl"))
    lines = events.read_text(encoding="utf-8").splitlines(keepends=True)
    last = max(n for n, line in enumerate(lines) if json.loads(line).get("event") == "epoch")
    events.write_text("".join(lines[:last] + lines[last + 1 :]), encoding="utf-8")
    reporting.curve_png(run_dir, picture)
    assert picture.read_bytes() != before


def test_an_accepted_run_tells_its_whole_story(tmp_path: Path) -> None:
    page = page_of(accepted(tmp_path / "run"))
    text = page.text.replace(formatting.NARROW, " ")
    for told in (
        "The model is good enough: it reaches 92.5 % accuracy on 360 examples; at least 80 % was asked.",
        "bar: at least 80 %",
        "Champion",
        "majority class",
        "restarted before epoch 9",
        "insert Conv2D(16) and MaxPooling2D after layer 1",
        "The winner, trial 4, scored 93.4 % accuracy (validation) there; the gate measured 92.5 %: a gap of −0.9 points",
        "Watchdog starts it again",
        "Judged before: rejected, 74.2 % accuracy",
        "from tensorflow import keras",
        "git -C '/home/ada/projects/digits cnn' checkout 9a8b7c6d",
        "--seed 7",
        "--trials 12 --minutes 30",
        "step 45/45",
    ):
        assert told in text, told
    assert "step 44/45" not in text, "only the last state of a progress bar is shown"
    assert len([a for a in page.all("tr") if (a.get("class") or "").split()[:1] == ["winner"]]) == 2
    assert page.all("path", class_="restart-mark")
    assert page.all("path", class_="interval")


def test_settings_in_reasons_are_shown_as_code_and_nothing_else_is_markup() -> None:
    shown = report_page._with_code
    assert str(shown("set `trials` to <0>")) == "set <code>trials</code> to &lt;0&gt;"
    assert str(shown("`<b>`")) == "<code>&lt;b&gt;</code>"
    assert str(shown("an open ` stays")) == "an open ` stays"


def test_a_failed_run_says_what_went_wrong_and_where(tmp_path: Path) -> None:
    page = page_of(failed(tmp_path / "run"))
    assert "The training failed: KeyError: 'price' (train.py, line 41)." in page.text
    assert 'y = frame["price"]' in page.text
    assert "3 epochs of 50 planned" in page.text


def test_what_the_host_says_about_a_failure_comes_first(tmp_path: Path) -> None:
    run_dir = failed(tmp_path / "run")
    failure = {"kind": "oom", "message": "killed at 4 GiB", "where": "fit 1, epoch 3"}
    told = {"run_dir": "r", "state": "failed", "exit_code": 137, "failure": failure}
    (run_dir / "training.json").write_text(json.dumps(told))
    assert (
        "The training ran out of memory: killed at 4 GiB (fit 1, epoch 3)." in page_of(run_dir).text
    )


def test_every_seed_is_a_dot_and_the_mean_is_told_beside_the_files_number(tmp_path: Path) -> None:
    run_dir = accepted(tmp_path / "run")
    verdict = json.loads((run_dir / "verdict.json").read_text())
    values = [{"seed": seed, "value": 0.9 + seed / 100, "run_dir": "r"} for seed in (1, 2, 3)]
    several = {
        "mean": 0.92,
        "spread": 0.01,
        "interval": [0.89, 0.95],
        "registered": 1,
        "values": values,
    }
    (run_dir / "verdict.json").write_text(json.dumps({**verdict, "value": 0.91, "seeds": several}))
    page = page_of(run_dir)
    assert len(page.all("circle", class_="dot")) == 3
    assert "92 % accuracy on average of 3 seeds" in page.text
    assert "(the file of seed 1: 91 %)" in page.text


def test_an_unfinished_run_shows_what_there_is(tmp_path: Path) -> None:
    page = page_of(unfinished(tmp_path / "run"))
    assert (
        "The training has not ended, or was killed and not started again; 1 fit, 4 epochs so far."
        in page.text
    )
    assert page.all("svg", class_="curves")


def test_an_empty_directory_has_a_report(tmp_path: Path) -> None:
    assert "Nothing has been recorded of this run yet." in page_of(tmp_path).text
    assert reporting.curve_png(tmp_path, tmp_path / "c.png") is None
    assert "not finished" in reporting.markdown(tmp_path)


def test_the_folder_is_fit_for_a_strict_policy(tmp_path: Path) -> None:
    index = reporting.report(accepted(tmp_path / "run"), folder=tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "curves.png",
        "index.html",
        "style.css",
    ]
    assert_harmless(Page(index.read_text("utf-8")), linked=True)
    assert (tmp_path / "out/curves.png").read_bytes().startswith(b"\x89PNG")
    style = (tmp_path / "out/style.css").read_text()
    assert "url(" not in style
    assert "@import" not in style
    assert not (tmp_path / "run/report.html").exists()


def test_colours_in_both_schemes_are_told_apart_from_their_ground() -> None:
    """WCAG 2.1 AA: 4.5 to 1 for text."""
    from mlops_lib.reporting.page import stylesheet

    blocks = re.findall(r":root \{(.*?)\}", stylesheet(), re.DOTALL)[:2]
    for block in blocks:
        colour = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
        for ink, grounds in {
            "ink": ("card", "ground", "soft", "good-soft", "warn-soft", "bad-soft"),
            "quiet": ("card", "ground", "soft"),
            "good": ("card", "good-soft"),
            "bad": ("card", "bad-soft"),
            "warn": ("card", "warn-soft"),
            "blue": ("card",),
        }.items():
            for ground in grounds:
                assert contrast(colour[ink], colour[ground]) >= 4.5, (ink, ground)


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% for x in y %}",
    "</title></style></pre></svg><iframe src=//evil.example>",
    "<!-- ]]> &lt;b&gt;",
    "\u202egnp.exe\u0000\x1b[31m\ud800 𝔘𝔫𝔦 ñ 日本語 🧪",
    "javascript:alert(1)",
    "$\\frac{1}{0$ %s %(x)s",
    "x" * 50_000,
    "",
)


def poisoned(value: Any, poison: str) -> Any:
    """`value` with every string in it, keys of free dictionaries included, replaced."""
    if isinstance(value, dict):
        return {key: poisoned(item, poison) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, poison) for item in value]
    return poison if isinstance(value, str) else value


KEPT = {"event", "verdict", "backend", "mode", "selection", "stopped", "state", "do"}
"""Words with a fixed choice: the record would be refused as a whole if they were poisoned."""


def poison_file(path: Path, poison: str) -> None:
    def one(value: Any) -> Any:
        spoilt = poisoned(value, poison)
        kept = {k: v for k, v in value.items() if k in KEPT} if isinstance(value, dict) else {}
        if isinstance(value, dict) and isinstance(value.get("metrics"), dict):
            kept["metrics"] = {
                poison[:100] + key: number for key, number in value["metrics"].items()
            }
        if isinstance(value, dict) and isinstance(value.get("trials"), list):
            kept["trials"] = [{**one(t), "state": "finished"} for t in value["trials"]]
        return {**spoilt, **kept} if isinstance(value, dict) else spoilt

    text = path.read_text("utf-8")
    if path.suffix == ".json":
        path.write_text(json.dumps(one(json.loads(text))))
    elif path.suffix == ".jsonl":
        lines = [line for line in text.splitlines() if line.endswith("}")]
        path.write_text("".join(json.dumps(one(json.loads(line))) + "\n" for line in lines))
    else:
        path.write_text(poison * 3, "utf-8", "replace")


@pytest.mark.parametrize("poison", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_a_script_writes_is_shown_as_text(poison: str, tmp_path: Path) -> None:
    run_dir = accepted(tmp_path / "run")
    for path in sorted(run_dir.rglob("*")):
        if path.is_file():
            poison_file(path, poison)
    read = view.read_run(run_dir)
    assert read.spec is not None, read.problems
    assert read.verdict is not None, read.problems
    assert read.search is not None, read.problems
    path = reporting.report(run_dir)
    assert path.stat().st_size < 2_000_000
    source = path.read_bytes().decode("utf-8")
    page = Page(source)
    assert_harmless(page, linked=False)
    assert len(page.all("svg", class_="curves")) >= 2, "the charts are still there"
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", source)
    if "{{" in poison:
        assert "{{ 7 * 7 }}" in page.text
    said = reporting.markdown(run_dir)
    outside = re.sub(r"(?s)```.*?```", "", said)
    assert not re.search(r"<[a-z!/]", outside)
    assert said.encode("utf-8")
    assert reporting.curve_png(run_dir, tmp_path / "c.png") is not None


def garbage() -> Iterator[bytes]:
    yield b""
    yield b"\x00\xff\xfe" * 1000
    yield b"null"
    yield b"[]"
    yield b'"text"'
    yield b"NaN"
    yield b'{"a":' * 100_000
    yield b'{"evaluations": {"0": 1}, "model": [], "trials": 7, "schema": "x"}\n' * 3
    yield b'{"event": "epoch", "fit": 1e999, "epoch": -4, "metrics": [1], "time": "now", "attempt": true}\n'
    yield b'{"event": {}, "fit": [], "time": 1e300, "attempt": 99999999999999999999999999}\n'
    yield (
        b'{"event": "epoch", "fit": 1, "epoch": 999999999, "time": 5, "attempt": 1, "metrics": {"a": '
        + b"9" * 4000
        + b"}}\n"
    )
    yield b'{"event": "start", "time": -1e400, "attempt": 1}\n{"event": "end", "exit_code": {}, "error": {"type": 1}}\n'


@pytest.mark.parametrize("content", list(garbage()), ids=lambda c: str(len(c)))
def test_garbage_in_any_file_spoils_only_that_file(content: bytes, tmp_path: Path) -> None:
    run_dir = accepted(tmp_path / "run")
    names = [p.relative_to(run_dir) for p in sorted(run_dir.rglob("*")) if p.is_file()]
    for name in [*names, Path("training.json"), Path("search.json")]:
        before = (run_dir / name).read_bytes() if (run_dir / name).exists() else None
        (run_dir / name).write_bytes(content)
        page = page_of(run_dir)
        assert_harmless(page, linked=False)
        assert "digits-cnn" in page.text or name == Path("spec.json")
        assert reporting.markdown(run_dir)
        reporting.curve_png(run_dir, tmp_path / "c.png")
        (run_dir / name).unlink()
        if before is not None:
            (run_dir / name).write_bytes(before)


def test_numbers_that_are_none_break_the_line_and_nothing_else(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.start()
    run.event(
        "fit", fit=1, framework="keras", model="Sequential", state="started", epochs=6, epoch=0
    )
    losses: list[Any] = [2.0, 1.0, "nan", float("nan"), float("inf"), 0.5]
    for epoch, loss in enumerate(losses):
        run.event(
            "epoch",
            fit=1,
            epoch=epoch,
            metrics={"loss": loss, "huge": 1e308 * (-1) ** epoch},
            seconds=1.0,
        )
    read = view.read_run(run.path)
    assert [v for _, v in read.fits[0].series["loss"]] == [2.0, 1.0, None, None, None, 0.5]
    page = page_of(run.path)
    assert len(page.all("path", class_="lost")) == 3
    assert "nan" not in "".join(a.get("d") or "" for _, a in page.tags)
    assert "inf" not in "".join(a.get("d") or "" for _, a in page.tags)


def test_a_diverged_trial_does_not_hide_the_others(tmp_path: Path) -> None:
    run_dir = accepted(tmp_path / "run")
    path = run_dir / "inside/search/result.json"
    told = json.loads(path.read_text())
    told["trials"][2].update(score="nan", curve=[0.4, "nan", float("inf")])
    told["trials"][3] = {"number": "three"}
    path.write_text(json.dumps(told))
    read = view.read_run(run_dir)
    assert read.search is not None
    assert [
        (t.number, t.score is None, len(t.curve)) for t in read.search.trials if t.number in (2, 3)
    ] == [(2, True, 1)]
    assert len(read.search.trials) == 4


def test_a_search_under_way_shows_its_trials(tmp_path: Path) -> None:
    run_dir = unfinished(tmp_path / "run")
    (run_dir / "inside/search/trials").mkdir(parents=True)
    for number, score in enumerate((0.7, 0.9, 0.8)):
        trial = Trial(number=number, edits=("widen",) if number else (), score=score)
        (run_dir / f"inside/search/trials/{number}.json").write_text(json.dumps(trial.to_json()))
    (run_dir / "inside/search/trials/9.json").write_text("torn")
    read = view.read_run(run_dir)
    assert read.search is not None
    assert (len(read.search.trials), read.search.winner) == (3, 1)
    assert "The search has not ended" in page_of(run_dir).text


def test_links_out_of_the_run_directory_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("TOP-SECRET\n" * 3)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/result.json").write_text('{"metric": "TOP-SECRET"}')
    run_dir = accepted(tmp_path / "run")
    for name in ("inside/metrics.json", "suggested.patch", "inside/events.jsonl", "log.txt"):
        (run_dir / name).unlink()
        (run_dir / name).symlink_to(secret)
    (run_dir / "inside/search/result.json").unlink()
    (run_dir / "inside/search").rmdir()
    (run_dir / "inside/search").symlink_to(tmp_path / "elsewhere")
    page = page_of(run_dir)
    assert "TOP-SECRET" not in page.text
    assert "This report is incomplete: inside/metrics.json could not be read" in page.text


def test_a_pipe_in_the_place_of_a_file_does_not_block(tmp_path: Path) -> None:
    run_dir = accepted(tmp_path / "run")
    (run_dir / "inside/metrics.json").unlink()
    os.mkfifo(run_dir / "inside/metrics.json")
    assert "inside/metrics.json could not be read" in page_of(run_dir).text


def test_ten_megabytes_of_metrics_give_a_small_page(tmp_path: Path) -> None:
    run_dir = accepted(tmp_path / "run")
    evaluation = {
        "metric": "m" * 5000,
        "value": 1.0,
        "source": "s" * 5000,
        "labels": ["l" * 900] * 900,
    }
    evaluation["confusion"] = [[10**9] * 60 for _ in range(60)]
    content = json.dumps(
        {"evaluations": [evaluation] * 12, "model": {"architecture": ["Dense " * 99] * 3000}}
    )
    (run_dir / "inside/metrics.json").write_text(content.ljust(10_000_000))
    with (run_dir / "inside/events.jsonl").open("a") as file:
        for n in range(4000):
            names = {f"metric {n % 50} {k}": k / 7 for k in range(12)}
            file.write(
                json.dumps(
                    {"event": "epoch", "fit": n % 300, "epoch": n, "metrics": names, "time": 1.8e9}
                )
                + "\n"
            )
            file.write(
                json.dumps(
                    {"event": "warning", "message": f"{n} " * 500, "time": 1.8e9, "attempt": n}
                )
                + "\n"
            )
        file.write('{"event": "warning", "message": "' + "w" * 3_000_000 + '"}\n')
        file.write('{"event": "warning", "message": "the last one", "time": 1.9e9}\n')
    path = reporting.report(run_dir)
    assert path.stat().st_size < 2_000_000
    assert "the last one" in path.read_text("utf-8"), "a line too long does not end the reading"


def test_a_very_large_file_is_named_and_left_out(tmp_path: Path) -> None:
    run_dir = accepted(tmp_path / "run")
    with (run_dir / "inside/metrics.json").open("wb") as file:
        file.truncate(20 * 1024 * 1024)
    assert "inside/metrics.json is larger than" in page_of(run_dir).text


def test_a_long_fit_is_thinned_without_losing_its_spike() -> None:
    points: list[tuple[float, float | None]] = [(float(n), 1.0) for n in range(100_000)]
    points[54_321] = (54_321.0, 99.0)
    shown = charts.thinned(points)
    assert len(shown) <= charts.POINTS_SHOWN + 2
    assert (54_321.0, 99.0) in shown
    assert shown == sorted(shown)


def test_layers_are_matched_by_what_they_are() -> None:
    rows = tables.layer_rows(BEFORE, AFTER)
    assert [row.change for row in rows] == [
        "same",
        "same",
        "added",
        "added",
        "same",
        "changed",
        "same",
    ]
    assert rows[5].before is not None
    assert rows[5].after is not None
    assert (rows[5].before.name, rows[5].after.name) == ("Dense(16, relu)", "Dense(64, relu)")
    only_removed = tables.layer_rows(["Dropout(0.5)", "Dense(2)"], ["Dense(2)"])
    assert [row.change for row in only_removed] == ["removed", "same"]


def test_layers_are_read_in_every_spelling() -> None:
    arrow = tables.layer_rows(
        ["Conv2D(4) → (8, 8, 4)", "Flatten() → (16,)"], ["Conv2D(4) → (8, 8, 4)"]
    )
    assert arrow[0].before == tables.Layer(name="Conv2D(4)", shape="(8, 8, 4)")
    assert [row.change for row in arrow] == ["same", "removed"]
    broken = tables.layer_rows(["SVC(C=1.0)"], ["SVC(C=2.0,", "    gamma=0.1)"])
    assert [(row.change, row.after and row.after.name) for row in broken] == [
        ("changed", "SVC(C=2.0, gamma=0.1)")
    ]


def test_the_first_start_of_a_later_pass_is_no_restart(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.start()
    run.event("end", exit_code=0, seconds=1.0, error=None)
    run.attempt, run.number_of_pass = 2, 2
    run.start(resumed=True)
    read = view.read_run(run.path)
    assert read.restarts == 0
    assert "Search started" in [m.what for m in read.moments]
    run.attempt = 3
    run.start(resumed=True)
    read = view.read_run(run.path)
    assert read.restarts == 1
    assert "Search started again from its checkpoint" in [m.what for m in read.moments]


def test_scores_of_classes_agree_with_scikit_learn() -> None:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    true, predicted = [0, 0, 0, 1, 1, 2, 2, 2, 2], [0, 1, 0, 1, 1, 2, 0, 0, 2]
    matrix = confusion_matrix(true, predicted).tolist()
    expected = precision_recall_fscore_support(true, predicted)
    for score in tables.class_scores(matrix, ["0", "1", "2"]):
        i = int(score.name)
        assert (score.precision, score.recall, score.f1) == pytest.approx(
            [expected[k][i] for k in range(3)]
        )
        assert score.examples == expected[3][i]


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("accuracy", 0.97222, "97.2 %"),
        ("val_accuracy", 0.5, "50 %"),
        ("accuracy", 1.7, "1.7"),
        ("loss", 0.000123456, "0.000123"),
        ("mse", 123456.7, "123,457"),
        ("mae", 3.14159, "3.142"),
        ("loss", 1e300, "1e+300"),
        ("loss", None, "not a number"),
    ],
)
def test_values_are_written_as_people_read_them(
    metric: str, value: float | None, shown: str
) -> None:
    assert formatting.metric_value(metric, value).replace(formatting.NARROW, " ") == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.04, "40 ms"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.7, "1 min"),
        (3661, "1 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_have_two_units(seconds: float, shown: str) -> None:
    assert formatting.duration(seconds).replace(formatting.NARROW, " ") == shown


def test_markdown_of_a_failed_run_fences_the_log(tmp_path: Path) -> None:
    run_dir = failed(tmp_path / "run")
    (run_dir / "log.txt").write_text("````\n@everybody <b>\n")
    said = reporting.markdown(run_dir)
    assert "`````text\n````\n@everybody <b>\n`````" in said
    assert said.startswith("### 💥 sales-forecast: failed\n")


def test_output_reads_as_a_terminal_shows_it() -> None:
    output = "\x1b[32mok\x1b[0m\r\n 1/2 \r 2/2\n\x1b]0;title\x07done\n\n"
    assert untrusted_files.terminal_lines(output) == ["ok", " 2/2", "done"]


def test_tensorboard_reads_the_curves_that_were_written_for_it(tmp_path: Path) -> None:
    from tensorboard.compat.proto import event_pb2
    from tensorboard.compat.tensorflow_stub.errors import OutOfRangeError
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

    run = accepted(tmp_path / "run")
    paths = reporting.tensorboard(run, tmp_path / "logs")
    assert {path.parent.name for path in paths} == {"train", "validation"}
    first = next(path for path in paths if path.parent.name == "validation")
    reader = PyRecordReader_New(str(first).encode())
    events = []
    with contextlib.suppress(OutOfRangeError):  # how the reader reports the end of the file
        while True:
            reader.GetNext()
            events.append(event_pb2.Event.FromString(reader.record()))
    assert events[0].file_version == "brain.Event:2"
    value = events[1].summary.value[0]
    assert (value.tag, events[1].step) == ("epoch_accuracy", 0)
    assert value.simple_value == pytest.approx(0.3 + 0.45 * 0.25)
    again = reporting.tensorboard(run, tmp_path / "again")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_one_paragraph_says_what_was_wrong_what_changed_and_what_each_change_brought(
    tmp_path: Path,
) -> None:
    read = view.read_run(accepted(tmp_path))
    account = sentences.search_account(read)
    assert account.startswith("The script's own training missed the bar")
    assert "hardly reached the bar, and its loss was still falling" in account
    assert "The winner came about in 2 steps." in account
    first, second = account.replace("\u202f", " ").split("Trial ")[1:]
    assert "widen Dense 16 → 64) scored 80.1 % after 74.2 %: +5.9 points" in first
    assert "so it may be chance" in first
    assert "scored 93.4 % after 80.1 %: +13.3 points" in second
    assert "so the change helped" in second
    assert read.search is not None
    gains = {row.trial.number: row.gain for row in tables.trial_rows(read.search)}
    assert [number for number, gain in gains.items() if "within chance" in gain] == [1]
    assert account in html.unescape(report_page.html(read, linked=False))
