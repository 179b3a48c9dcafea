"""The catalog's locks: made for the rows as they stand, every file by its hash."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement

from mlops_lib.environments import images, locks, mend, placeholder_wheels, requirement
from mlops_lib.provisioning import resolution
from mlops_lib.records import Environment

ROWS = [row["name"] for row in images.catalog()]
USED = {
    place
    for name in ROWS
    for layer, lines in zip(
        locks.LAYERS,
        (images.row_layers(name)[0], [line for part in images.row_layers(name) for line in part]),
        strict=True,
    )
    for machine in ("", *locks.MACHINES)
    if lines and (place := locks.path(layer, lines, machine)).is_file()
}


def environment(name: str, *more: str) -> Environment:
    row = next(row for row in images.catalog() if row["name"] == name)
    return Environment(
        name=name, framework="none", family="none", requirements=(*row["requirements"], *more)
    )


@pytest.mark.parametrize("machine", locks.MACHINES)
@pytest.mark.parametrize("name", ROWS)
def test_a_lock_has_what_its_row_asks_for(name: str, machine: str) -> None:
    """It fails if the catalog was changed without `make locks`."""
    found = images.locks_of(environment(name))
    locked = locks.versions("".join(by_machine[machine] for by_machine in found.values()))
    for line in images.row_of(name):
        asked = Requirement(line)
        if asked.marker is None or asked.marker.evaluate({"platform_machine": machine}):
            assert asked.specifier.contains(locked[requirement.normal(asked.name)]), line
    for one in placeholder_wheels.needed(images.row_of(name)):
        assert (one.name in locked) == (one.machine not in ("", machine)), (
            "what is stood in for is not downloaded"
        )


@pytest.mark.parametrize("place", sorted(USED), ids=lambda place: place.name)
def test_every_file_is_named_by_its_hash(place: object) -> None:
    text = locks.Path(str(place)).read_text()
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    for entry in entries:
        assert re.fullmatch(r"\S+==\S+( ;[^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+", entry), (
            entry[:80]
        )


def test_no_lock_is_left_over() -> None:
    assert set(locks.LOCKS.glob("*")) == USED


def test_a_lock_holds_for_a_row_as_it_stands_only() -> None:
    whole = environment("sklearn")
    assert set(images.locks_of(whole)) == {"framework", "family"}
    assert images.locks_of(environment("sklearn", "tabulate")) == images.locks_of(whole), (
        "what is on top changes no layer below"
    )
    other = [line for line in whole.requirements if not line.startswith("pandas")]
    pinned = Environment(
        name="sklearn", framework="none", family="none", requirements=(*other, "pandas==1.5.3")
    )
    assert set(images.locks_of(pinned)) == {"framework"}
    older = tuple(line.replace("1.9.*", "1.4.*") for line in whole.requirements)
    assert (
        images.locks_of(
            Environment(name="sklearn", framework="none", family="none", requirements=older)
        )
        == {}
    )
    assert (
        images.locks_of(
            Environment(
                name="sklearn",
                framework="none",
                family="none",
                requirements=whole.requirements,
                python="3.9",
            )
        )
        == {}
    )


def test_a_bound_above_the_locked_release_is_not_met_by_it() -> None:
    locked = images.releases("sklearn")
    newest = locked["pandas"]
    row = images.row_of("sklearn")
    for line, kept in ((f"pandas>={newest}", False), (f"pandas>={newest}.1", True)):
        mended = mend.mend([*row, line], row=row, locked=locked)
        assert (line in mended.lines) == kept, mended.lines


def test_an_index_without_a_locked_release_gives_the_newest_and_says_so() -> None:
    image = images.plan(environment("sklearn"))
    version = images.releases("sklearn")["numpy"]
    said = f"ERROR: Could not find a version that satisfies the requirement numpy=={version} (from versions: 1.0)\n"
    fresh = resolution.without_lock(image, said)
    assert fresh is not None
    assert (images.locks_of(fresh.environment), fresh.tag != image.tag) == ({}, True)
    assert f"does not have numpy=={version}" in fresh.notes[0]
    for other in (
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. numpy=="
        + version,
        said.replace(version, "0.1"),
    ):
        assert resolution.without_lock(image, other) is None, (
            "another file under the name is an error"
        )
