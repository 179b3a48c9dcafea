"""Projects as people push them: a folder under tests/cases/detection is a case, its expected.json
what must be found.
"""

from __future__ import annotations

import collections
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_lib.detection import detect, symbols
from mlops_lib.detection.project import look
from mlops_lib.detection.rows import rows
from mlops_lib.environments.images import catalog
from mlops_lib.records import Detection

ROOT = Path(__file__).resolve().parents[2]
CASES = sorted(
    p.parent
    for p in (Path(__file__).resolve().parents[1] / "cases" / "detection").glob("*/expected.json")
)
SAID = {"absent", "ask", "evidence_means", "locked", "warnings", "warnings_count"}
"""Keys of expected.json that are no fields: the file asked about, beginnings of what must be
said, how much is said, and lines that the environment must or must not have.
"""


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_folder_is_a_case(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    found = detect(folder / expected["ask"] if "ask" in expected else folder).to_json()
    fields = {key: value for key, value in expected.items() if key not in SAID}
    assert {key: found[key] for key in fields} == fields
    for means in expected.get("evidence_means", []):
        assert any(one["means"].startswith(means) for one in found["evidence"]), means
    for said in expected.get("warnings", []):
        assert any(said in warning for warning in found["warnings"]), found["warnings"]
    if "warnings_count" in expected:
        assert len(found["warnings"]) == expected["warnings_count"], found["warnings"]
    lines = found["environment"]["requirements"]
    assert set(expected.get("locked", ())) <= set(lines)
    names = {re.split(r"[\s<>=!~;\[]", line)[0] for line in lines}
    assert not set(expected.get("absent", ())) & {*lines, *names}


def test_no_bytes_crash_it(tmp_path: Path) -> None:
    """Files as editors, merges and transfers leave them: cut, doubled, with bytes exchanged, in the
    wrong encoding.
    """
    rng = random.Random(7)
    originals = [
        path.read_bytes()
        for folder in CASES
        for path in folder.rglob("*")
        if path.suffix in (".py", ".ipynb")
    ]
    for number in range(250):
        content = bytearray(rng.choice(originals))
        for _ in range(rng.randint(1, 6)):
            _harm(content, rng)
        path = tmp_path / f"file{number % 5}{rng.choice(['.py', '.ipynb'])}"
        path.write_bytes(content)
        found = look(path)
        assert Detection.from_json(found).to_json() == found, bytes(content)


def _harm(content: bytearray, rng: random.Random) -> None:
    place = rng.randrange(len(content) + 1)
    kind = rng.randrange(6)
    if kind == 0:
        del content[place:]
    elif kind == 1:
        content[place:place] = rng.choice(
            [b"\0", b"\xff\xfe", b"(" * 300, b"'''", b"\n\t", b"<<<<<<< x\n", b"]}", b"\\", b"\r"]
        )
    elif kind == 2:
        content[place : place + 1] = bytes([rng.randrange(256)])
    elif kind == 3:
        content[:] = content.decode("latin-1").encode(
            rng.choice(["utf-16", "utf-8-sig", "utf-32", "cp037"]), "replace"
        )
    elif kind == 4:
        content[place:place] = content[: rng.randrange(200)]
    else:
        del content[place : place + rng.randrange(40)]


def test_the_rows_are_the_catalog() -> None:
    assert rows() == catalog()


FRAMEWORK_ROWS = """
[tinynet{kind}] tinynet
tinynet.layers. | Convolve | layer | cnn
tinynet. | Network | model
tinynet. | slopes | trains
"""
FITTED = "import tinynet\ntinynet.Network([tinynet.layers.Convolve(8)]).fit(x, y)\n"
STEPPED = (
    "import tinynet\nnet = tinynet.Network([tinynet.layers.Convolve(8)])\n"
    "for x, y in batches:\n    weights -= 0.1 * tinynet.slopes(net, x, y)\n"
)
CASES_OF_A_FRAMEWORK = [
    (": network", FITTED, ("cnn",)),
    (": network", STEPPED, ("cnn",)),
    (": estimators", FITTED, ("cnn",)),
    (": boosting", FITTED, ("cnn", "tree")),
    ("", FITTED, ("cnn",)),
    (": a misspelt kind", FITTED, ("cnn",)),
]


@pytest.mark.parametrize(("kind", "code", "families"), CASES_OF_A_FRAMEWORK)
def test_a_framework_is_rows(
    kind: str, code: str, families: tuple[str, ...], tmp_path: Path
) -> None:
    """Nothing but the table of names is told of it."""
    package = tmp_path / "mlops_lib"
    shutil.copytree(ROOT / "mlops_lib", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "containers", tmp_path / "containers")
    with (package / "detection" / "data" / "library_names.txt").open("a") as table:
        table.write(FRAMEWORK_ROWS.format(kind=kind))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "train.py").write_text(code)
    result = subprocess.run(
        [sys.executable, "-m", "mlops_lib", "detect", "project", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    detection = json.loads(result.stdout) if result.returncode == 0 else result.stderr
    assert (detection["framework"], tuple(detection["families"])) == ("tinynet", families)
    assert detection["environment"]["name"] == "python"


def test_a_module_belongs_to_one_framework() -> None:
    """Only transformers, whose names say which, belongs to several."""
    listed = collections.Counter(module for _, module in symbols._TABLE._rows)
    several = {module for module, times in listed.items() if times > 1}
    assert several == {"transformers"}
