"""What a build server gets of a run: stages and gate as test cases, the line under the build, the branch's record."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from servers.slack import slack_api

from mlops_lib import artifacts, builds, cli, rundir
from mlops_lib.job import prepare
from mlops_lib.records import Environment, Image, RunSpec, Verdict

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
    image = Image(tag="t", environment=Environment(name="sklearn", framework="sklearn", family="tree"))
    return RunSpec(
        digest="0" * 64, name="fraud", project="/p", entry="train.py", seed=1, backend="process", image=image,
        framework="sklearn", family="tree", commit="abc", created=0.0,
    )  # fmt: skip


def cases(path: Path) -> dict[str, str]:
    """Test case to "passed" or the message of its failure."""
    found = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        failure = case.find("failure")
        found[case.attrib["name"]] = "passed" if failure is None else failure.attrib["message"]
    return found


def test_a_build_that_fails_before_there_is_a_run_has_a_test_report(build: Path, tmp_path: Path) -> None:
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
    builds.note("train", exit_code=5, seconds=1.0, what="lost")
    builds.note("train", exit_code=0, seconds=2.0, what="")
    builds.note("judge", exit_code=6, seconds=0.1, what="")
    builds.note("stop", exit_code=0, seconds=0.1, what="")
    assert cases(artifacts.write_junit(None, tmp_path / "junit.xml")) == {
        "stage Train": "passed",
        "stage Gate": "passed",
    }


def test_outside_of_a_build_nothing_is_noted(spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(builds.FOLDER, raising=False)
    builds.note("train", exit_code=0, seconds=1.0, what="")
    assert (builds.stages(), builds.about(VERDICT, spec, trials=12)) == ([], {})


def test_a_pull_request_is_compared_with_its_target(
    build: Path, spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRANCH_NAME", "main")
    better = Verdict(verdict="accepted", metric="accuracy", value=0.95, target=0.8)
    kept = builds.write_branch(tmp_path / "mlops-branch.json", spec, better)
    assert kept is not None
    monkeypatch.setenv("BRANCH_NAME", "PR-3")
    monkeypatch.setenv(builds.AGAINST, kept.read_text())
    line = builds.about(VERDICT, spec, trials=12)["summary"]
    assert line == "accepted: accuracy 0.9300, bar 0.8000, champion 0.9100, main 0.9500"
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "spec.json").write_text(json.dumps(spec.to_json()))
    (run_dir / "verdict.json").write_text(json.dumps(VERDICT.to_json()))
    found = cases(artifacts.write_junit(run_dir, tmp_path / "junit.xml"))
    assert found["the model is at least as good as the target branch's"] == "accuracy 0.93; main 0.95"


@pytest.mark.parametrize(
    ("kind", "trials", "search"), [("rejected", 12, True), ("rejected", 0, False), ("undecided", 12, False)]
)
def test_a_search_comes_next_where_it_may(kind: str, trials: int, search: bool, build: Path, spec: RunSpec) -> None:
    verdict = Verdict.from_json({"verdict": kind, "target": 0.8})
    assert builds.about(verdict, spec, trials=trials)["search"] is search


@pytest.mark.parametrize("record", ["", "null", "[]", "{}", "not JSON", '{"branch": "main", "name": 3}'])
def test_a_record_that_is_none_compares_with_nothing(
    record: str, build: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(builds.AGAINST, record)
    assert builds.rival(VERDICT, spec) is None


def test_another_model_or_metric_compares_with_nothing(spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    other = builds.Branch(branch="main", name="fraud", verdict="accepted", metric="f1", value=0.9, target=0.8)
    monkeypatch.setenv(builds.AGAINST, json.dumps(other.to_json()))
    assert builds.rival(VERDICT, spec) is None


@pytest.mark.parametrize(
    "address", ["https://git.example.com/team/fraud.git", "git@git.example.com:fraud.git", "/srv/git/fraud/"]
)
def test_all_branches_of_a_repository_are_one_model(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tmp_path / "models_PR-3@2"
    (workspace / "training").mkdir(parents=True)
    (workspace / "train.py").write_text("from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n")
    for command in (["init", "--quiet"], ["remote", "add", "origin", address]):
        subprocess.run(["git", "-C", str(workspace), *command], check=True, timeout=30)
    home = str(tmp_path / "home")
    monkeypatch.delenv("BRANCH_NAME", raising=False)
    assert prepare(workspace, backend="process", home=home).spec.name == "models_PR-3"
    monkeypatch.setenv("BRANCH_NAME", "PR-3")
    assert prepare(workspace, backend="process", home=home).spec.name == "fraud"
    assert rundir.repository_name(workspace / "training") is None


def test_people_hear_of_a_build_that_ended_before_there_was_a_run(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "fraud"
    project.mkdir()
    (project / "train.py").write_text("from sklearn.svm import SVC\nSVC().fit([[0], [1]], [0, 1])\n")
    monkeypatch.setenv("BUILD_URL", "https://ci.example.com/job/fraud/7/")
    builds.note("build", exit_code=4, seconds=1.0, what="no such package: nowhere")
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
    assert builds.page("index.html") == ""
    monkeypatch.setenv("BUILD_URL", "https://ci.example.com/job/a%20b/7/")
    assert builds.page("index.html") == "https://ci.example.com/job/a%20b/7/artifact/.mlops/results/index.html"
    results = (Path(__file__).parents[2] / "vars" / "mlopsResults.groovy").read_text()
    assert f"'{builds.ARTIFACTS}'" in results
    monkeypatch.delenv(builds.FOLDER)
    assert builds.page("index.html") == ""


@pytest.mark.parametrize(("slip", "meant"), [("lable", "label"), ("worker_lable", "worker_label"), ("targt", "target")])
def test_a_slip_in_the_pipelines_settings_is_refused_with_the_nearest(
    slip: str, meant: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLOPS_PARAMS", json.dumps({"project": ".", "label": "gpu", "hours": 2, slip: "x"}))
    assert cli.main(["detect", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert slip in error["what"]
    assert repr(meant) in error["remedy"]
