"""The registry: numbering, the champion, and that neither many writers nor a killed one can break
it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import mlops_lib
from mlops_lib import atomic
from mlops_lib.errors import UsageError
from mlops_lib.records import Comparison, Environment, Image, ModelVersion, RunSpec, Verdict
from mlops_lib.registry import champions, model_store

ACCEPTED = Verdict(
    verdict="accepted",
    metric="accuracy",
    value=0.9,
    target=0.8,
    interval=(0.88, 0.92),
    examples=1000,
    reasons=("good",),
)


class World:
    """A home, and runs that have trained a model."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.folder = folder

    def run(
        self, digest: str, *, model: bytes | None = None, name: str = "demo"
    ) -> tuple[Path, RunSpec]:
        run_dir = self.folder / "runs" / digest
        (run_dir / "inside").mkdir(parents=True, exist_ok=True)
        (run_dir / "inside" / "model.keras").write_bytes(
            digest.encode() if model is None else model
        )
        environment = Environment(name="keras", framework="keras", family="cnn")
        spec = RunSpec(
            digest=digest,
            name=name,
            project=str(self.folder),
            entry="train.py",
            backend="docker",
            commit="c0ffee",
            image=Image(tag="mlops/keras:1234", environment=environment),
            data_digest="data",
            seed=7,
        )
        return run_dir, spec

    def register(
        self, digest: str, value: float = 0.9, *, name: str = "demo", **changes: object
    ) -> ModelVersion:
        run_dir, spec = self.run(digest, name=name)
        changes = {"against": self.against(value, name=name), **changes}
        verdict = replace(ACCEPTED, value=value, **changes)  # type: ignore[arg-type]
        return model_store.register(run_dir, spec, verdict, home=self.home)

    def against(self, value: float, *, name: str = "demo") -> Comparison | None:
        """The comparison of a model with the champion as a run's verdict has it, with no doubt
        about who is better.
        """
        champion = model_store.champion(name, home=self.home)
        if champion is None or champion.value is None:
            return None
        apart = value - champion.value
        return Comparison(
            version=champion.version,
            value=champion.value,
            difference=apart,
            interval=(apart - 0.01, apart + 0.01),
            p_value=0.01 if apart > 0 else 0.9,
            test="McNemar's exact test",
            examples=1000,
            better=apart > 0,
        )

    def number_of_champion(self) -> int:
        champion = model_store.champion("demo", home=self.home)
        assert champion is not None
        return champion.version


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_version_carries_its_lineage_and_the_model_itself(world: World) -> None:
    (world.folder / "train.py").write_text("print()\n")
    version = world.register("a")

    assert (version.version, version.champion, version.name) == (1, True, "demo")
    assert (version.commit, version.data_digest, version.image, version.seed, version.run) == (
        "c0ffee",
        "data",
        "mlops/keras:1234",
        7,
        "a",
    )
    assert len(version.script_digest) == 64
    assert Path(version.model).read_bytes() == b"a"
    assert Path(version.model).parent == Path(version.path)
    model_store.verify(version)
    assert model_store.champion("demo", home=world.home) == version
    assert model_store.names(home=world.home) == ["demo"]


def test_registering_the_same_model_of_the_same_run_again_changes_nothing(world: World) -> None:
    assert world.register("a") == world.register("a")
    assert len(model_store.versions("demo", home=world.home)) == 1


def test_another_model_of_the_same_run_is_another_version(world: World) -> None:
    world.register("a")
    run_dir, spec = world.run("a", model=b"tweaked")
    assert model_store.register(run_dir, spec, ACCEPTED, home=world.home).version == 2


@pytest.mark.parametrize(("second", "becomes"), [(0.95, True), (0.9, False), (0.85, False)])
def test_only_one_that_is_better_on_the_same_examples_becomes_champion(
    world: World, second: float, becomes: bool
) -> None:
    world.register("a", 0.9)
    version = world.register("b", second)
    assert version.champion is becomes
    assert ("stays champion" in version.note) is not becomes
    assert "on the same 1000 examples" in version.note
    assert world.number_of_champion() == (2 if becomes else 1)


def test_a_better_number_without_a_comparison_does_not_dethrone(world: World) -> None:
    world.register("a", 0.9)
    version = world.register("b", 0.99, against=None)
    assert not version.champion
    assert "`mlops registry champion demo 2` names it by hand" in version.note
    failed = Comparison(version=1, why="it knows other classes: 10, not 8")
    assert "other classes" in world.register("c", 0.99, against=failed).note
    assert world.number_of_champion() == 1


def test_the_names_of_its_training_examples_stay_with_a_version_and_are_lent_with_it(
    world: World,
) -> None:
    run_dir, spec = world.run("a")
    (run_dir / "inside" / "trained-on.bin").write_bytes(b"n" * 24)
    version = model_store.register(run_dir, spec, ACCEPTED, home=world.home)
    order, mounts = champions.lend(spec, home=world.home)
    assert order["path"] == "/mlops/champion/model.keras"
    assert [Path(one.source).read_bytes() for one in mounts] == [b"a", b"n" * 24]
    assert [one.target for one in mounts] == [order["path"], order["trained_on"]]
    assert champions.find(spec, run_dir, home=world.home) is None, "it is the run's own model"
    (run_dir / "inside" / "model.keras").write_bytes(b"tweaked")
    found = champions.find(spec, run_dir, home=world.home)
    assert found is not None
    assert found.version == version.version


def test_a_comparison_with_an_earlier_champion_does_not_dethrone_the_present_one(
    world: World,
) -> None:
    world.register("a", 0.8)
    outdated = world.against(0.99)
    world.register("b", 0.9)
    assert not world.register("c", 0.99, against=outdated).champion


@pytest.mark.parametrize("answer", ["rejected", "undecided"])
def test_only_accepted_models_are_registered(world: World, answer: str) -> None:
    with pytest.raises(UsageError, match=answer):
        world.register("a", verdict=answer)
    assert model_store.names(home=world.home) == []


def test_aliases_move_and_name_versions(world: World) -> None:
    world.register("a", 0.9)
    world.register("b", 0.95)
    model_store.set_alias("demo", "production", 1, home=world.home)
    assert model_store.version("demo", "production", home=world.home).version == 1
    assert model_store.aliases("demo", home=world.home) == {"production": 1, "champion": 2}
    model_store.set_alias("demo", "champion", 1, home=world.home)
    assert model_store.version("demo", home=world.home).version == 1
    model_store.remove_alias("demo", "production", home=world.home)
    assert model_store.aliases("demo", home=world.home) == {"champion": 1}


@pytest.mark.parametrize("alias", ["", "Production", "../x", "3"])
def test_an_alias_is_a_plain_word(world: World, alias: str) -> None:
    world.register("a")
    with pytest.raises(UsageError, match="alias"):
        model_store.set_alias("demo", alias, 1, home=world.home)


@pytest.mark.parametrize("which", [2, 0, "production", "-1"])
def test_an_unknown_version_is_refused_with_those_there_are(world: World, which: int | str) -> None:
    world.register("a")
    with pytest.raises(UsageError, match="There are: 1, champion"):
        model_store.version("demo", which, home=world.home)


def test_rollback_goes_further_back_each_time(world: World) -> None:
    for digest, value in (("a", 0.8), ("b", 0.9), ("c", 0.85), ("d", 0.95)):
        world.register(digest, value)
    assert model_store.rollback("demo", home=world.home).version == 2
    assert model_store.rollback("demo", home=world.home).version == 1
    with pytest.raises(UsageError, match="no earlier champion"):
        model_store.rollback("demo", home=world.home)


def test_a_version_knows_its_run_and_the_champion_before_it(world: World) -> None:
    made = [
        world.register(digest, value)
        for digest, value in (("a", 0.8), ("b", 0.9), ("c", 0.85), ("d", 0.95))
    ]
    before = [model_store.champion_before(one, home=world.home) for one in made]
    assert [one and one.version for one in before] == [None, 1, 4, 2], (
        "3 stands beside the champion of today"
    )
    found = model_store.of_run("demo", "b", home=world.home)
    assert found is not None
    assert (found.version, found.champion) == (2, False)
    assert model_store.of_run("demo", "e", home=world.home) is None


def test_what_was_rolled_back_is_not_promoted_again_by_registering_it(world: World) -> None:
    world.register("a", 0.8)
    world.register("b", 0.9)
    model_store.rollback("demo", home=world.home)
    assert not world.register("b", 0.9).champion
    assert world.number_of_champion() == 1


def test_garbage_collection_spares_what_is_referenced(world: World) -> None:
    for number, digest in enumerate("abcdefgh"):
        world.register(digest, 0.9 + number / 100 if digest in "ab" else 0.85)
    model_store.set_alias("demo", "production", 3, home=world.home)
    answered = model_store.version("demo", 4, home=world.home)
    atomic.write_json(Path(answered.run_dir, "registered.json"), answered.to_json())

    removed = [one.version for one in model_store.collect_garbage("demo", home=world.home, keep=1)]

    assert removed == [
        5,
        6,
        7,
    ]  # 2 is champion, 1 was before it, 3 has an alias, 4 answers a run, 8 is the newest
    assert [one.version for one in model_store.versions("demo", home=world.home)] == [1, 2, 3, 4, 8]
    assert sorted(
        p.name for p in Path(answered.path).parent.iterdir() if p.name.isdecimal()
    ) == list("12348")
    assert world.register("i").version == 9


def test_numbers_are_not_used_twice(world: World) -> None:
    for digest, value in (("a", 0.9), ("b", 0.95), ("c", 0.8)):
        world.register(digest, value)
    assert [
        one.version for one in model_store.collect_garbage("demo", home=world.home, keep=0)
    ] == [3]
    assert world.register("d", 0.8).version == 4


NAMES = [
    "../..",
    ".",
    "..",
    "",
    "/etc/passwd",
    "a/b",
    "a b",
    "модель",
    "x" * 5000,
    "a\nb",
    "\udcff",
    "demo-0123456789ab",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_stays_inside_the_registry_and_is_found_again(world: World, name: str) -> None:
    version = world.register("a", name=name)
    assert Path(version.path).resolve().parent.parent == (world.home / "registry").resolve()
    assert model_store.names(home=world.home) == [name]
    champion = model_store.champion(name, home=world.home)
    assert champion is not None
    assert champion.name == name


def test_different_names_do_not_share_a_folder(world: World) -> None:
    for name in (*NAMES, "a-b", "a_b", "A B"):
        assert world.register("a", name=name).version == 1


def test_a_link_in_place_of_the_model_is_not_followed(world: World) -> None:
    run_dir, spec = world.run("a")
    secret = world.folder / "secret"
    secret.write_text("secret")
    (run_dir / "inside" / "model.keras").unlink()
    (run_dir / "inside" / "model.keras").symlink_to(secret)
    with pytest.raises(UsageError):
        model_store.register(run_dir, spec, ACCEPTED, home=world.home)
    assert not any(
        path.read_bytes() == b"secret" for path in world.home.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize(
    "claim",
    ["../../secret", "/etc/passwd", "model.keras/../../x", "fits", 3, None, ["model.keras"]],
)
def test_the_claimed_path_cannot_leave_the_run(world: World, claim: object) -> None:
    run_dir, spec = world.run("a")
    (run_dir / "inside" / "metrics.json").write_text(json.dumps({"model": {"path": claim}}))
    assert (
        Path(model_store.register(run_dir, spec, ACCEPTED, home=world.home).model).read_bytes()
        == b"a"
    )


@pytest.mark.parametrize(
    "metrics", ["[]", "[" * 100_000, '{"model": null}', "\x00", '{"model": {"path": "model.txt"}}']
)
def test_a_forged_metrics_file_does_no_harm(world: World, metrics: str) -> None:
    run_dir, spec = world.run("a")
    (run_dir / "inside" / "metrics.json").write_text(metrics)
    assert model_store.register(run_dir, spec, ACCEPTED, home=world.home).version == 1


def test_a_fifo_in_place_of_the_model_does_not_hang(world: World) -> None:
    run_dir, spec = world.run("a")
    (run_dir / "inside" / "model.keras").unlink()
    os.mkfifo(run_dir / "inside" / "model.keras")
    with pytest.raises(UsageError, match="no model file"):
        model_store.register(run_dir, spec, ACCEPTED, home=world.home)


@pytest.mark.parametrize(("model", "limit"), [(b"", 100), (b"x" * 101, 100)])
def test_an_empty_or_too_large_model_is_refused_and_nothing_stays(
    world: World, model: bytes, limit: int
) -> None:
    run_dir, spec = world.run("a", model=model)
    with pytest.raises(UsageError, match="model file is"):
        model_store.register(run_dir, spec, ACCEPTED, home=world.home, limit_bytes=limit)
    assert not list((world.home / "registry" / "demo").glob(".staging*"))
    assert model_store.versions("demo", home=world.home) == []


def test_a_changed_model_file_is_noticed(world: World) -> None:
    version = world.register("a")
    Path(version.model).write_bytes(b"other")
    with pytest.raises(UsageError, match="not the one"):
        model_store.verify(version)


def test_a_lost_index_is_said_and_destroys_nothing(world: World) -> None:
    version = world.register("a")
    (Path(version.path).parent / "index.json").unlink()
    with pytest.raises(UsageError, match="index"):
        world.register("b")
    assert Path(version.model).read_bytes() == b"a"


def test_a_moved_home_still_works(world: World) -> None:
    world.register("a")
    world.home = world.home.rename(world.folder / "elsewhere")
    model_store.verify(model_store.version("demo", home=world.home))


def test_the_card_shows_numbers_and_escapes_names(world: World) -> None:
    name = "<img src=x>|[a](http://example.com)\n# b"
    card = (Path(world.register("a", name=name).path) / "card.md").read_text()
    assert "| Value | 0.9 |" in card
    assert "| 95 % interval | 0.88 to 0.92 |" in card
    assert "<img" not in card
    assert "[a]" not in card
    assert "\n# b" not in card


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from mlops_lib.registry import model_store
from mlops_lib.records import RunSpec, Verdict
import json
home, exit_at, *jobs = sys.argv[1:]
begun = []
def die(event, arguments):
    if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree") and begun:
        begun.append(event)
        if len(begun) == int(exit_at):
            import os
            os._exit(9)
if int(exit_at):
    import fcntl, mlops_lib.registry.model_card
    sys.addaudithook(die)
begun.append("start")
for job in jobs:
    with open(job) as file:
        job = json.load(file)
    spec, verdict = RunSpec.from_json(job["spec"]), Verdict.from_json(job["verdict"])
    model_store.register(Path(job["run_dir"]), spec, verdict, home=Path(home))
"""


def job(world: World, digest: str, value: float = 0.9) -> str:
    run_dir, spec = world.run(digest, model=digest.encode() * 200_000)
    path = world.folder / f"{digest}.json"
    verdict = replace(ACCEPTED, value=value).to_json()
    path.write_text(
        json.dumps({"run_dir": str(run_dir), "spec": spec.to_json(), "verdict": verdict})
    )
    return str(path)


def write(world: World, jobs: list[str], *, exit_at: int = 0) -> int:
    environ = {**os.environ, "PYTHONPATH": str(Path(mlops_lib.__file__).parent.parent)}
    return subprocess.run(
        [sys.executable, "-c", WRITER, str(world.home), str(exit_at), *jobs], env=environ
    ).returncode


def test_many_writers_at_once_lose_nothing_and_number_without_gaps(world: World) -> None:
    jobs = [
        [job(world, f"{writer}-{number}", 0.8 + number / 100) for number in range(5)]
        for writer in range(4)
    ]
    shared = job(world, "shared")
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda own: write(world, [*own, shared]), jobs))
    assert codes == [0] * 4

    found = model_store.versions("demo", home=world.home)
    assert [one.version for one in found] == list(range(1, 22))
    assert len({one.run for one in found}) == 21
    assert [one.version for one in found if one.champion] == [1], (
        "the others were not compared with it"
    )
    for one in found:
        model_store.verify(one)


def test_killed_at_every_step_it_is_whole_or_absent(world: World) -> None:
    world.register("first", 0.85)
    jobs = [job(world, f"killed-{number}") for number in range(60)]
    survivors = 0
    for exit_at, one in enumerate(jobs, start=2):
        before = len(model_store.versions("demo", home=world.home))
        code = write(world, [one], exit_at=exit_at)
        found = model_store.versions("demo", home=world.home)
        assert len(found) - before in (0, 1)
        for version in found[-1:]:
            model_store.verify(version)
        assert sum(version.champion for version in found) == 1
        if code == 0:
            survivors += 1
            break
        assert code == 9
    assert survivors, "the writer has more steps than were tried"
    assert exit_at > 10

    version = world.register("last")
    assert {p.name for p in Path(version.path).parent.iterdir()} == {
        "index.json",
        "lock",
        *(str(one.version) for one in model_store.versions("demo", home=world.home)),
    }
