"""What a build publishes beside its commit: a check with annotations, a comment, warnings as SARIF."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops_lib import cli
from mlops_lib.ci import artifacts, builds, checks, sarif
from mlops_lib.records import Detection, Environment, Evidence, Image, RunSpec, Verdict

ENVIRONMENT = Environment(name="sklearn", framework="sklearn", family="svm")
VERDICT = Verdict(
    verdict="rejected",
    metric="accuracy",
    value=0.93,
    target=0.95,
    reasons=("accuracy 0.93 is below 0.95",),
)
MAIN = builds.Branch(
    branch="main", name="fraud", verdict="accepted", metric="accuracy", value=0.95, target=0.8
)
PATCH = """\
--- a/train.py
+++ b/train.py
@@ -3,5 +3,6 @@
 model = Sequential([
     Input((8, 8, 1)),
-    Conv2D(8, 3),
+    Conv2D(16, 3),
+    MaxPooling2D(),
     Flatten(),
 ])
@@ -20,2 +21,3 @@
 model.compile("adam")
+# slower
 model.fit(x, y)
--- a/net/layers.py
+++ b/net/layers.py
@@ -1 +1 @@
-WIDTH = 8
+WIDTH = 16
"""


def detection(folder: Path, *warnings: str) -> Detection:
    seen = Evidence(
        file="train.py", line=7, saw="entry train.py", means="the only file that trains"
    )
    return Detection(
        project=str(folder),
        entry="train.py",
        framework="sklearn",
        family="svm",
        environment=ENVIRONMENT,
        evidence=(seen,),
        warnings=warnings,
    )


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "fraud-123"
    (folder / "inside").mkdir(parents=True)
    spec = RunSpec(
        digest="0" * 64,
        name="fraud",
        project=str(tmp_path),
        entry="train.py",
        backend="process",
        image=Image(tag="t", environment=ENVIRONMENT),
    )
    for name, value in {
        "spec": spec,
        "verdict": VERDICT,
        "detection": detection(tmp_path, "train.py:3: old"),
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(value.to_json()))
    (folder / "suggested.patch").write_text(PATCH)
    return folder


def test_a_check_has_the_number_its_difference_and_the_patch_at_its_lines(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(builds.FOLDER, "/nowhere")
    monkeypatch.setenv("BUILD_URL", "https://ci.example.com/job/fraud/7/")
    check = checks.check(run_dir, against=MAIN)
    assert check["name"] == "mlops / fraud"
    assert check["title"] == "accuracy 0.9300, rejected; -0.0200 against main"
    assert check["conclusion"] == "FAILURE"
    assert (
        check["detailsURL"]
        == "https://ci.example.com/job/fraud/7/artifact/.mlops/results/report/index.html"
    )
    assert "Against target branch" in check["summary"]
    found = [(one["path"], one["startLine"], one["endLine"]) for one in check["annotations"]]
    assert found == [("train.py", 5, 5), ("train.py", 20, 20), ("net/layers.py", 1, 1)]
    assert "+    MaxPooling2D()," in check["annotations"][0]["message"]
    assert "+# slower" not in check["annotations"][0]["message"]


def test_paths_count_from_the_repository(run_dir: Path, tmp_path: Path) -> None:
    [first, *_] = checks.annotated_hunks(PATCH, folder="models/fraud")
    assert first["path"] == "models/fraud/train.py"


@pytest.mark.parametrize(
    ("result", "conclusion", "title"),
    [
        ("ABORTED", "CANCELED", "by hand"),
        ("FAILURE", "FAILURE", "Train failed: it was killed by signal 9"),
    ],
)
def test_a_build_that_failed_is_no_success(
    result: str, conclusion: str, title: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "by hand" if result == "ABORTED" else "Train: it was killed by signal 9"
    monkeypatch.setenv(builds.OUTCOME, json.dumps({"result": result, "reason": reason}))
    check = checks.check(run_dir, against=None)
    assert (check["conclusion"], check["title"]) == (conclusion, title)


def test_a_comment_has_the_patch_in_a_fence_that_it_cannot_close(run_dir: Path) -> None:
    (run_dir / "suggested.patch").write_text(PATCH.replace("# slower", "# ```` @somebody"))
    text = checks.comment(run_dir, against=None)
    assert "`````diff\n--- a/train.py" in text
    assert text.count("`````") == 2


def test_only_a_build_publishes_and_only_a_pull_request_is_commented(run_dir: Path) -> None:
    assert checks.of_build(run_dir, against=None, environ={}) == {}
    assert set(checks.of_build(run_dir, against=None, environ={builds.FOLDER: "/b"})) == {"check"}
    assert set(
        checks.of_build(run_dir, against=None, environ={builds.FOLDER: "/b", "CHANGE_ID": "3"})
    ) == {"check", "comment"}


def test_warnings_stand_at_their_lines(tmp_path: Path) -> None:
    said = (
        "net/old.py:12: keras.legacy is gone",
        "no version is pinned",
        "../../etc/passwd.py:1: outside",
        "a b.py:0: zero",
    )
    log = sarif.log(detection(tmp_path, *said), VERDICT)
    assert log["version"] == "2.1.0"
    [run] = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    found = []
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        found.append(
            (
                place["artifactLocation"]["uri"],
                place["region"]["startLine"],
                result["message"]["text"],
            )
        )
    assert found == [
        ("net/old.py", 12, "keras.legacy is gone"),
        ("train.py", 7, "no version is pinned"),
        ("train.py", 7, "../../etc/passwd.py:1: outside"),
        ("a%20b.py", 1, "zero"),
        ("train.py", 7, "rejected: accuracy 0.93 is below 0.95"),
    ]


def test_a_warning_that_moved_is_the_same_one(tmp_path: Path) -> None:
    def identity(warning: str) -> object:
        return sarif.log(detection(tmp_path, warning))["runs"][0]["results"][0][
            "partialFingerprints"
        ]

    assert identity("train.py:3: old") == identity("train.py:30: old")
    assert identity("train.py:3: old") != identity("train.py:3: older")


def test_the_command_prints_it_and_a_build_keeps_it(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "models"
    project.mkdir()
    (project / ".git").mkdir()
    (project / "train.py").write_text(
        "from sklearn.svm import SVC\nimport no_such_thing\nSVC().fit([[0], [1]], [0, 1])\n"
    )
    assert cli.main(["detect", str(project), "--sarif"]) == 0
    log = json.loads(capsys.readouterr().out)
    assert [
        one["locations"][0]["physicalLocation"]["region"]["startLine"]
        for one in log["runs"][0]["results"]
    ] == [2]
    artifacts.gather(run_dir, tmp_path / "results")
    kept = json.loads((tmp_path / "results" / "warnings.sarif").read_text())
    assert [one["ruleId"] for one in kept["runs"][0]["results"]] == [
        "mlops/detection",
        "mlops/gate",
    ]
    artifacts.gather(None, tmp_path / "results")
    assert (
        json.loads((tmp_path / "results" / "warnings.sarif").read_text())["runs"][0]["results"]
        == []
    )
