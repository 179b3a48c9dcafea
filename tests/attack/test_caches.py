"""What a stranger's training leaves on the machine reaches nobody else: not by a cache, a link or a
claim.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from mlops_lib.engine import Launch, venv
from mlops_lib.engine.docker import DockerEngine
from mlops_lib.engine.ownership import Owner, hand_over
from mlops_lib.engine.process import ProcessEngine
from mlops_lib.environments import images
from mlops_lib.errors import EngineError
from mlops_lib.pipeline.job import prepare
from mlops_lib.project import trust
from mlops_lib.provisioning import resolution
from mlops_lib.records import Environment

pytestmark = pytest.mark.attack
CHANGED = {"CHANGE_ID": "12"}
JENKINS = {"JENKINS_URL": "https://ci.example/"}


def job(name: str, branch: str) -> dict[str, str]:
    return {**JENKINS, "JOB_NAME": f"team/{name}/{branch}", "BRANCH_NAME": branch}


def test_a_cache_is_private_to_a_project_and_a_trust_level(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other" / "one"
    names = {
        trust.cache_name(project, level, {})
        for project in (one, other)
        for level in (trust.BRANCH, "change-12", "change-13")
    }
    assert len(names) == 6
    own = trust.cache_name(one, trust.BRANCH, job("net", "main"))
    assert own == trust.cache_name(other, trust.BRANCH, job("net", "feature%2Fx")), (
        "another workspace, the same project"
    )
    assert own != trust.cache_name(one, trust.BRANCH, job("gross", "main"))
    assert all(trust.is_cache_name(name) for name in names)


@pytest.mark.parametrize(
    "environ",
    [
        {"CHANGE_TARGET": "main", "BRANCH_NAME": "PR-3"},
        {"GITHUB_REF": "refs/pull/3/merge"},
        {"CI_MERGE_REQUEST_IID": "3"},
        {
            "GITHUB_EVENT_NAME": "pull_request_target",
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_HEAD_REF": "x/y",
        },
    ],
)
def test_pull_requests_of_all_build_servers_are_known(environ: dict[str, str]) -> None:
    level, variable = trust.level_of(environ)
    assert level != trust.BRANCH
    assert variable in environ
    assert trust.is_level(level)


@pytest.mark.parametrize("number", ["12", "../../branch", "branch/../../x", "12\n", "", " "])
def test_the_level_of_a_pull_request_is_never_that_of_a_branch(number: str, tmp_path: Path) -> None:
    level, _ = trust.level_of({"CHANGE_ID": number})
    assert (level == trust.BRANCH) == (number == "")
    assert trust.is_cache_name(trust.cache_name(tmp_path, level, {}))


def test_the_repository_does_not_say_how_far_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlops_lib import config
    from mlops_lib.errors import UsageError

    (tmp_path / "mlops.toml").write_text('trust = "branch"\n')
    with pytest.raises(UsageError, match="may not be set by the project"):
        config.resolve(tmp_path, environ=CHANGED)
    (tmp_path / "mlops.toml").unlink()
    assert config.resolve(tmp_path, environ=CHANGED)["trust"] == "change-12"
    assert "trust" in config.resolve(tmp_path, environ=CHANGED).chosen(), (
        "a watchdog that takes over keeps it"
    )


def test_a_branch_never_goes_on_with_the_run_of_a_pull_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text("print('acc 0.9')\n")
    given = {"entry": "train.py", "backend": "process", "home": str(tmp_path / "home")}
    branch = prepare(project, **given)
    monkeypatch.setenv("CHANGE_ID", "12")
    change = prepare(project, **given)
    assert change.run_dir != branch.run_dir
    assert change.spec.cache != branch.spec.cache
    places = {venv.place(tmp_path, one.spec.image.environment) for one in (branch, change)}
    assert len(places) == 2, "its script can write into its environment"


def test_processes_share_no_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries load what they find in it (scikit-learn unpickles); the caller's own is no
    exception.
    """
    own = tmp_path / "own"
    (own / "scikit_learn_data").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(own))
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(own / "scikit_learn_data"))
    engine = ProcessEngine(home=str(tmp_path / "home"))
    image = images.plan(Environment(name="python", framework="none", family="none"))
    engine.build(image, on_line=lambda line: None)
    project, inside = tmp_path / "project", tmp_path / "inside"
    project.mkdir()
    (project / "x.py").write_text(
        "import os, pathlib\nprint(sorted(n for n, v in os.environ.items() if 'scikit_learn_data' in v))\n"
        "print(pathlib.Path('~').expanduser())\n"
    )
    cache = tmp_path / "downloads" / "one"
    launch = Launch(
        image=image,
        project=str(project),
        inside=str(inside),
        entry="x.py",
        caches=str(cache),
        log=str(tmp_path / "log"),
    )
    assert engine.wait(engine.start(launch).id, timeout_s=60).exit_code == 0
    assert (tmp_path / "log").read_text().splitlines()[-2:] == ["[]", str(cache)]


def test_a_claim_changes_the_projects_own_environment_only(tmp_path: Path) -> None:
    asked = resolution.Need(
        environment=Environment(name="sklearn", framework="sklearn", family="linear"),
        backend="process",
        owner="a" * 16,
    )
    others = replace(asked, owner="b" * 16)
    before = resolution.plan(others, home=tmp_path)
    claim = "ModuleNotFoundError: No module named 'tabulate'"
    assert resolution.repair(asked, claim, image=before, home=tmp_path) is not None
    assert "tabulate" in resolution.plan(asked, home=tmp_path).environment.requirements
    assert resolution.plan(others, home=tmp_path) == before
    for unknown in ("evil_package", "tabulate; import os", "../tabulate"):
        claim = f"ModuleNotFoundError: No module named '{unknown}'"
        assert resolution.repair(asked, claim, image=before, home=tmp_path) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives folders away")
def test_what_is_handed_over_is_never_reached_by_a_link(tmp_path: Path) -> None:
    victim, folder, owner = tmp_path / "victim", tmp_path / "inside", Owner(65534, 65534)
    victim.mkdir()
    (victim / "shadow").write_text("root's")
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "own").write_text("")
    (folder / "shadow").symlink_to(victim / "shadow")
    (folder / "all").symlink_to(victim)
    (folder / "hard").hardlink_to(victim / "shadow")
    hand_over(folder, owner, is_mounted=lambda place: False)
    assert {path.lstat().st_uid for path in (victim, victim / "shadow")} == {0}
    assert {path.lstat().st_uid for path in (folder, folder / "deep", folder / "deep" / "own")} == {
        65534
    }
    (tmp_path / "link").symlink_to(victim)
    with pytest.raises(EngineError, match="the folder cannot be opened"):
        hand_over(tmp_path / "link", owner, is_mounted=lambda place: False)
    with pytest.raises(EngineError, match="a running container of another user"):
        hand_over(victim, owner, is_mounted=lambda place: True)


@pytest.mark.docker
@pytest.mark.skipif(os.getuid() != 0, reason="only root gives folders away")
def test_a_folder_that_a_container_writes_is_not_handed_over(tmp_path: Path) -> None:
    engine = DockerEngine(home=str(tmp_path))
    image = images.plan(Environment(name="python", framework="none", family="none"))
    engine.build(image, on_line=lambda line: None)
    project, inside, cache = (
        tmp_path / "project",
        tmp_path / "inside",
        tmp_path / "downloads" / "one",
    )
    project.mkdir()
    (project / "x.py").write_text("import time\ntime.sleep(600)\n")
    launch = Launch(
        image=image, project=str(project), inside=str(inside), entry="x.py", caches=str(cache)
    )
    started = engine.start(launch)
    try:
        assert cache.stat().st_uid == 65534
        (cache / "theirs").symlink_to("/etc/shadow")
        os.chown(project, 1234, 1234)  # the next training runs as another user
        with pytest.raises(EngineError, match="a running container of another user"):
            engine.start(replace(launch, inside=str(tmp_path / "second")))
    finally:
        engine.kill(started.id)
        engine.wait(started.id, timeout_s=20)
        engine.remove(started.id)
    assert Path("/etc/shadow").stat().st_uid == 0


def test_no_training_sees_the_password_of_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlops_lib.engine import docker_cage, package_index

    for url in (
        "http://user:pa/ss%40@proxy.example:3128",
        "user:secret@proxy.example:3128",
        "http://token@proxy.example:3128/",
    ):
        assert "proxy.example:3128" in package_index.without_credentials(url)
        assert "@" not in package_index.without_credentials(url)
    assert package_index.without_credentials("localhost,.example") == "localhost,.example"
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for url, public in (
        ("http://user:secret@proxy.example:3128", False),
        ("http://proxy.example:3128", True),
    ):
        (tmp_path / "config.json").write_text(
            json.dumps({"proxies": {"default": {"httpProxy": url}}})
        )
        assert docker_cage.proxies_are_public() == public
