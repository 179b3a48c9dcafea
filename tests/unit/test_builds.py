"""What a build server gets of a run: stages and gate as test cases, the line under the build, the
branch's record.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from servers.slack import slack_api

from mlops_lib import cli, event_log, run_directory
from mlops_lib.ci import artifacts, builds
from mlops_lib.pipeline.job import prepare
from mlops_lib.project import git_history
from mlops_lib.records import Environment, Image, RunSpec, Verdict
from mlops_lib.training import alerts

VERDICT = Verdict(verdict="accepted", metric="accuracy", value=0.93, target=0.8, champion=0.91)


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build's own folder on the agent."""
    folder = tmp_path / "mlops-1700000000000"
    folder.mkdir()
    monkeypatch.setenv(builds.FOLDER, str(folder))
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    return folder


@pytest.fixture
def spec() -> RunSpec:
    image = Image(
        tag="t", environment=Environment(name="sklearn", framework="sklearn", family="tree")
    )
    return RunSpec(
        digest="0" * 64,
        name="fraud",
        project="/p",
        entry="train.py",
        seed=1,
        backend="process",
        image=image,
        framework="sklearn",
        family="tree",
        commit="abc",
        created=0.0,
    )


def cases(path: Path) -> dict[str, str]:
    """Test case to "passed" or the message of its failure."""
    found = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        failure = case.find("failure")
        found[case.attrib["name"]] = "passed" if failure is None else failure.attrib["message"]
    return found


def test_a_build_that_fails_before_there_is_a_run_has_a_test_report(
    build: Path, tmp_path: Path
) -> None:
    project = tmp_path / "empty"
    project.mkdir()
    assert cli.main(["detect", str(project), "--json"]) == 3
    results = tmp_path / "results"
    results.mkdir()
    (results / "junit.xml").write_text("an earlier build's")
    assert cli.main(["report", str(project), "--artifacts", str(results), "--json"]) == 3
    [(name, message)] = cases(results / "junit.xml").items()
    assert name == "stage Detect environment"
    assert str(project) in message


def test_of_a_stage_that_was_repeated_the_last_end_counts(build: Path, tmp_path: Path) -> None:
    builds.record_stage("train", exit_code=5, seconds=1.0, what="lost")
    builds.record_stage("train", exit_code=0, seconds=2.0, what="")
    builds.record_stage("judge", exit_code=6, seconds=0.1, what="")
    builds.record_stage("stop", exit_code=0, seconds=0.1, what="")
    assert cases(artifacts.write_junit(None, tmp_path / "junit.xml")) == {
        "stage Train": "passed",
        "stage Gate": "passed",
    }


def test_outside_of_a_build_nothing_is_noted(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(builds.FOLDER, raising=False)
    builds.record_stage("train", exit_code=0, seconds=1.0, what="")
    assert (builds.stages(), builds.about(VERDICT, spec, trials=12, home=Path("/nowhere"))) == (
        [],
        {},
    )


def test_a_pull_request_is_compared_with_its_target(
    build: Path, spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRANCH_NAME", "main")
    better = Verdict(verdict="accepted", metric="accuracy", value=0.95, target=0.8)
    home = tmp_path / "home"
    assert builds.remember_branch(spec, better, home=home) is not None
    for name, value in {"BRANCH_NAME": "PR-3", "CHANGE_ID": "3", "CHANGE_TARGET": "main"}.items():
        monkeypatch.setenv(name, value)
    assert builds.remember_branch(spec, VERDICT, home=home) is None, (
        "a pull request is no branch of the model"
    )
    line = builds.about(VERDICT, spec, trials=12, home=home)["summary"]
    assert line == "accepted: accuracy 0.9300, bar 0.8000, champion 0.9100, main 0.9500"
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "spec.json").write_text(json.dumps(spec.to_json()))
    (run_dir / "verdict.json").write_text(json.dumps(VERDICT.to_json()))
    artifacts.gather(run_dir, tmp_path / "results", home=home)
    found = cases(tmp_path / "results" / "junit.xml")
    assert (
        found["the model is at least as good as the target branch's"]
        == "accuracy 0.93, against target branch main 0.95"
    )
    assert (
        "Against target branch</dt><dd>main 95"
        in (tmp_path / "results" / "report" / "index.html").read_text()
    )


@pytest.mark.parametrize(
    ("kind", "trials", "search"),
    [("rejected", 12, True), ("rejected", 0, False), ("undecided", 12, False)],
)
def test_a_search_comes_next_where_it_may(
    kind: str, trials: int, search: bool, build: Path, spec: RunSpec
) -> None:
    verdict = Verdict.from_json({"verdict": kind, "target": 0.8})
    assert builds.about(verdict, spec, trials=trials, home=build)["search"] is search


@pytest.mark.parametrize(
    "record", ["", "null", "[]", "{}", "not JSON", '{"branch": "main", "name": 3}']
)
def test_a_record_that_is_none_compares_with_nothing(
    record: str, build: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRANCH_NAME", "main")
    kept = builds.remember_branch(spec, VERDICT, home=build)
    assert kept is not None
    monkeypatch.setenv("CHANGE_TARGET", "main")
    assert builds.target_branch(VERDICT, spec, home=build) is not None
    kept.write_text(record)
    assert builds.target_branch(VERDICT, spec, home=build) is None


def test_another_branch_model_or_metric_compares_with_nothing(
    build: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRANCH_NAME", "release/2")
    builds.remember_branch(spec, VERDICT, home=build)
    monkeypatch.setenv("CHANGE_TARGET", "release/2")
    assert builds.target_branch(VERDICT, spec, home=build) is not None
    assert builds.target_branch(replace(VERDICT, metric="f1"), spec, home=build) is None
    assert builds.target_branch(VERDICT, replace(spec, name="other"), home=build) is None
    monkeypatch.setenv("CHANGE_TARGET", "main")
    assert builds.target_branch(VERDICT, spec, home=build) is None


@pytest.mark.parametrize("result", ["FAILURE", "ABORTED"])
def test_a_build_that_failed_says_nothing_of_its_branch(
    result: str, build: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRANCH_NAME", "main")
    monkeypatch.setenv(builds.OUTCOME, json.dumps({"result": result, "reason": None}))
    assert builds.remember_branch(spec, VERDICT, home=build) is None


def test_people_hear_of_a_build_whose_command_was_killed(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed command notes nothing, and its run looks as if a person had stopped it."""
    project = tmp_path / "fraud"
    project.mkdir()
    (project / "train.py").write_text(
        "from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n"
    )
    job = prepare(project, backend="process", home=str(tmp_path / "home"))
    run_directory.write_spec(job.run_dir, job.spec)
    run_directory.remember(job.run_dir, home=job.home)
    (job.run_dir / "training.json").write_text(
        json.dumps({"run_dir": str(job.run_dir), "state": "stopped"})
    )
    reason = "Train: it was killed by signal 9 (mlops train: exit 137)"
    monkeypatch.setenv(builds.OUTCOME, json.dumps({"result": "FAILURE", "reason": reason}))
    with slack_api() as slack:
        for name, value in slack.environ.items():
            monkeypatch.setenv(name, value)
        assert cli.main(["notify", str(project), "--backend", "process"]) == 0
    [message] = slack.messages
    assert "fraud: Train failed" in message["text"]
    assert "killed by signal 9" in json.dumps(message["blocks"])
    assert cases(artifacts.write_junit(None, tmp_path / "junit.xml")) == {
        "stage Train": "it was killed by signal 9 (mlops train: exit 137)",
        "stage Notify": "passed",
    }


def test_the_same_failure_of_another_commit_is_news_in_a_build(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "fraud"
    project.mkdir()
    builds.record_stage("build", exit_code=4, seconds=1.0, what="no such package: nowhere")
    with slack_api() as slack:
        for name, value in slack.environ.items():
            monkeypatch.setenv(name, value)
        for edition in ("1", "2"):
            (project / "train.py").write_text(
                f"from sklearn.svm import SVC\nSVC().fit([[0], [{edition}]], [0, 1])\n"
            )
            assert cli.main(["notify", str(project), "--backend", "process"]) == 0
    assert len(slack.messages) == 2


def test_an_aborted_build_says_where_its_run_goes_on(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "fraud"
    project.mkdir()
    (project / "train.py").write_text(
        "from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n"
    )
    job = prepare(project, backend="process", home=str(tmp_path / "home"))
    run_directory.write_spec(job.run_dir, job.spec)
    for event in (
        {"event": "fit", "fit": 1, "epochs": 100},
        *({"event": "checkpoint", "fit": 1, "epoch": epoch, "step": 0} for epoch in range(60)),
    ):
        event_log.append(job.run_dir / "inside" / "events.jsonl", event)
    builds.record_stage("train", exit_code=143, seconds=1.0, what="")
    monkeypatch.setenv(builds.OUTCOME, json.dumps({"result": "ABORTED", "reason": None}))
    assert cli.main(["stop", str(project), "--backend", "process", "--json"]) == 0
    standing = "stopped after epoch 60 of 100; continues at epoch 61 next time"
    assert json.loads(capsys.readouterr().out)["summary"] == standing
    path = artifacts.write_junit(job.run_dir, tmp_path / "junit.xml")
    suite = ElementTree.parse(path).getroot()
    assert suite.attrib["failures"] == "0"
    assert {case.attrib["name"]: case[0].attrib["message"] for case in suite} == {
        "stage Train": "it was killed by signal 15",
        "the training ends well": standing,
        "the model meets the bar": "It was not judged.",
    }


@pytest.mark.parametrize(
    "address",
    ["https://git.example.com/team/fraud.git", "git@git.example.com:fraud.git", "/srv/git/fraud/"],
)
def test_all_branches_of_a_repository_are_one_model(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tmp_path / "models_PR-3@2"
    (workspace / "training").mkdir(parents=True)
    (workspace / "train.py").write_text(
        "from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n"
    )
    for command in (["init", "--quiet"], ["remote", "add", "origin", address]):
        subprocess.run(["git", "-C", str(workspace), *command], check=True, timeout=30)
    home = str(tmp_path / "home")
    monkeypatch.delenv("BRANCH_NAME", raising=False)
    assert prepare(workspace, backend="process", home=home).spec.name == "models_PR-3"
    monkeypatch.setenv("BRANCH_NAME", "PR-3")
    assert prepare(workspace, backend="process", home=home).spec.name == "fraud"
    assert git_history.repository_name(workspace / "training") is None


def test_people_hear_of_a_build_that_ended_before_there_was_a_run(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "fraud"
    project.mkdir()
    (project / "train.py").write_text(
        "from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n"
    )
    monkeypatch.setenv("BUILD_URL", "https://ci.example.com/job/fraud/7/")
    builds.record_stage("build", exit_code=4, seconds=1.0, what="no such package: nowhere")
    with slack_api() as slack:
        for name, value in slack.environ.items():
            monkeypatch.setenv(name, value)
        for _ in range(2):
            assert cli.main(["notify", str(project), "--backend", "process"]) == 0
    [message] = slack.messages
    assert "fraud: Build image failed" in message["text"]
    assert "no such package: nowhere" in json.dumps(message["blocks"])
    assert "<https://ci.example.com/job/fraud/7/|build>" in json.dumps(message["blocks"])


def test_people_hear_of_a_build_in_which_nothing_was_found(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "fraud"
    project.mkdir()
    (project / "mlops.toml").write_text("targt = 0.9\n")
    with slack_api() as slack:
        for name, value in slack.environ.items():
            monkeypatch.setenv(name, value)
        assert cli.main(["notify", str(project)]) == 2, "no stage of this build has failed"
        assert cli.main(["detect", str(project)]) == 2
        assert [cli.main(["notify", str(project)]) for _ in range(2)] == [0, 0]
    [message] = slack.messages
    assert "fraud: Detect environment failed" in message["text"]
    assert "targt" in json.dumps(message["blocks"])


def test_links_lead_to_what_the_build_keeps(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert builds.artifact_url("index.html") == ""
    monkeypatch.setenv("BUILD_URL", "https://ci.example.com/job/a%20b/7/")
    assert (
        builds.artifact_url("report/index.html")
        == "https://ci.example.com/job/a%20b/7/artifact/.mlops/results/report/index.html"
    )
    results = (Path(__file__).parents[2] / "vars" / "mlopsResults.groovy").read_text()
    assert f"'{builds.ARTIFACTS}'" in results
    monkeypatch.delenv(builds.FOLDER)
    assert builds.artifact_url("index.html") == ""


@pytest.mark.parametrize(
    ("slip", "meant"), [("lable", "label"), ("worker_lable", "worker_label"), ("targt", "target")]
)
def test_a_slip_in_the_pipelines_settings_is_refused_with_the_nearest(
    slip: str, meant: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(
        "MLOPS_PARAMS", json.dumps({"project": ".", "label": "gpu", "hours": 2, slip: "x"})
    )
    assert cli.main(["detect", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert slip in error["what"]
    assert repr(meant) in error["remedy"]


def test_a_training_that_fell_is_told_with_its_build(spec: RunSpec) -> None:
    told = alerts.message(
        spec, attempt=1, state="failed", why="it died", url="https://ci.example.com/job/fraud/7/"
    )
    assert [(link.label, link.url) for link in told.links] == [
        ("build", "https://ci.example.com/job/fraud/7/")
    ]
    assert alerts.message(spec, attempt=1, state="failed", why="it died").links == ()
