"""A project of several steps: they run as its files define, and the last is judged."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from running import run_runner

from mlops_lib.detection import commands, detect
from mlops_lib.gate import verdicts

ROOT = Path(__file__).parents[2]
PIPELINE = ROOT / "tests" / "cases" / "detection" / "dvc_pipeline"


def run(project: Path, inside: Path, **orders: Any) -> subprocess.CompletedProcess[str]:
    found = detect(project)
    assert found.command is not None
    steps = {
        name: [{"script": one.script, "args": list(one.args), "folder": one.folder} for one in part]
        for name, part in (("before", found.before), ("after", found.after))
    }
    return run_runner(
        project,
        inside,
        found.entry,
        *found.command.args,
        **steps,
        folder=found.command.folder,
        **orders,
    )


def test_number_of_the_last_step_is_judged_and_a_search_runs_all_steps(
    tmp_path: Path,
) -> None:
    done = run(PIPELINE, tmp_path / "inside")
    assert done.returncode == 0, done.stderr
    measured = float(done.stdout.split("TEST ")[1].split()[0])
    verdict = verdicts.judge(tmp_path, target=0.9)
    assert verdict.verdict == "rejected"
    assert verdict.value == measured
    assert verdict.examples == 270
    assert verdict.recomputed
    assert "deployed" not in done.stdout + done.stderr

    search = {
        "fit": 1,
        "metric": "accuracy",
        "target": 2.0,
        "trials": 3,
        "minutes": 5,
        "judged_value": measured,
    }
    again = run(PIPELINE, tmp_path / "inside", search=search, **{"pass": 2})
    assert again.returncode == 0, again.stderr
    assert float(again.stdout.split("TEST ")[1].split()[0]) > measured
    fits = [
        json.loads(line) for line in (tmp_path / "inside" / "events.jsonl").read_text().splitlines()
    ]
    assert [one["state"] for one in fits if one["event"] == "fit"] == ["started", "restored"]


def test_each_step_begins_as_a_fresh_program(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "deep").mkdir(parents=True)
    (project / "Makefile").write_text("train:\n\tpython first.py\n\tcd deep && python train.py 7\n")
    (project / "first.py").write_text(
        "import helper, random\nprint(helper.NAME, random.random(), __name__)\n"
    )
    (project / "helper.py").write_text("NAME = 'outer'\n")
    (project / "deep" / "helper.py").write_text("NAME = 'inner'\n")
    (project / "deep" / "train.py").write_text(
        "import helper, os, random, sys\n"
        "print(helper.NAME, random.random(), __name__, sys.argv, os.path.basename(os.getcwd()))\n"
        "from sklearn.tree import DecisionTreeClassifier\n"
        "DecisionTreeClassifier().fit([[0], [1]], [0, 1])\n"
    )
    done = run(project, tmp_path / "inside")
    assert done.returncode == 0, done.stderr
    first, second = (line.split() for line in done.stdout.splitlines())
    assert (first[0], second[0]) == ("outer", "inner")
    assert first[1] == second[1], "from the seed"
    assert first[2] == second[2] == "__main__"
    assert second[3:] == ["['train.py',", "'7']", "deep"]


def test_a_step_that_fails_ends_the_run(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(PIPELINE, project)
    (project / "src" / "featurize.py").write_text("import sys\nsys.exit(3)\n")
    done = run(project, tmp_path / "inside")
    assert done.returncode == 3
    assert "TEST" not in done.stdout


def test_step_with_pushed_results_is_skipped(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(PIPELINE, project)
    (project / "data").mkdir()
    (project / "data" / "prepared.csv").write_text("a,target\n1,0\n")
    plan = commands.plan(str(project), "src/train.py")
    assert plan is not None
    assert [one.script for one in plan.before] == ["src/featurize.py"]


def test_pushed_steps_are_limited_and_stay_inside_the_project(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  a: {cmd: python ../../outside.py}\n  b: {cmd: python /etc/passwd.py}\n  c: {cmd: python train.py $(id)}\n"
    )
    (tmp_path / "train.py").write_text("")
    (tmp_path / "Makefile").symlink_to("/etc/passwd")
    assert commands.plan(str(tmp_path), "train.py") is None
    bomb = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a, *a]\n" for n in range(9))
    (tmp_path / "dvc.yaml").write_text(bomb + "stages: {train: {cmd: python train.py}}\n")
    assert commands.plan(str(tmp_path), "train.py") is None
