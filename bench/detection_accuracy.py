"""How often detection is right, on files that people have labelled.

`python -m bench.detection_accuracy` measures the cases under tests/cases/detection, which were
developed against; `python -m bench.detection_accuracy LABELS.jsonl FOLDER [--wrong]` any labelled
set. What unseen sets came to at first sight is in docs/detection.md. Each line of LABELS is a JSON
object:

    {"repo": "name", "path": "in/repo.py", "framework": ["keras"], "family": ["cnn", "dense"],
    "imports": ["keras"]}

`framework` and `family` list every answer that is right ("*": any); `imports` are the required
third-party imports, local modules' included; without them imports are not counted. FOLDER holds
each repository under its name. `--named` asks about each file alone, as `mlops detect FILE` does: the
project around it has to be found. Printed are the three shares, what was taken for what, and every
file on which detection failed altogether.
"""

from __future__ import annotations

import argparse
import collections
import json
from pathlib import Path
from typing import Any

from mlops_lib.detection.project import look
from mlops_lib.errors import MlopsError

CASES = Path(__file__).resolve().parents[1] / "tests" / "cases" / "detection"
Matrix = collections.Counter[tuple[str, str]]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labels", type=Path, nargs="?")
    parser.add_argument("folder", type=Path, nargs="?", default=CASES)
    parser.add_argument("--wrong", action="store_true", help="list the files that are wrong")
    parser.add_argument("--named", action="store_true", help="name the file, not its repository")
    asked = parser.parse_args()
    if asked.labels is None:
        labels = _cases()
    else:
        labels = [json.loads(one) for one in asked.labels.read_text().splitlines() if one.strip()]
    right: collections.Counter[str] = collections.Counter()
    matrices: dict[str, Matrix] = {
        "framework": collections.Counter(),
        "family": collections.Counter(),
    }
    for label in labels:
        found = _look(asked.folder / label["repo"], label["path"], named=asked.named)
        for key, matrix in matrices.items():
            got = found.get(key, "failed")
            good = got in label[key] or "*" in label[key]
            matrix[(got if good else label[key][0], got)] += 1
            right[key] += good
            if asked.wrong and not good:
                print(f"{label['repo']}/{label['path']}: {key} is {label[key]}, found {got}")
        if "imports" not in label:
            continue
        same = set(found.get("imports", ())) == set(label["imports"])
        right["imports"] += same
        if asked.wrong and not same:
            print(
                f"{label['repo']}/{label['path']}: imports {label['imports']}, "
                f"found {found.get('imports')}"
            )
    read = sum("imports" in label for label in labels)
    shares = [f"{key} {right[key] / len(labels):.3f}" for key in matrices]
    if read:
        shares.append(f"imports {right['imports'] / read:.3f} of {read}")
    print(f"{len(labels)} files: {', '.join(shares)}")
    for key, matrix in matrices.items():
        print(f"\n{_table(key, matrix)}")


def _cases() -> list[dict[str, Any]]:
    """Return the labels of the project's own cases."""
    labels = []
    for path in sorted(CASES.glob("*/expected.json")):
        expected = json.loads(path.read_text())
        if not {"entry", "framework", "family"} <= expected.keys():
            continue
        label = {"repo": path.parent.name, "path": expected.get("ask") or expected["entry"]}
        label.update({key: [expected[key]] for key in ("framework", "family")})
        if "imports" in expected:
            label["imports"] = expected["imports"]
        labels.append(label)
    return labels


def _look(folder: Path, path: str, *, named: bool) -> dict[str, Any]:
    try:
        return look(folder / path) if named else look(folder, entry=path)
    except MlopsError as error:
        print(f"{folder.name}/{path}: {error.what}")
        return {}


def _table(key: str, matrix: Matrix) -> str:
    """A confusion matrix in Markdown: rows are labels, columns what was found."""
    names = sorted({name for pair in matrix for name in pair})
    lines = [f"| {key} | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for row in names:
        lines.append(
            f"| {row} | " + " | ".join(str(matrix[(row, column)] or "") for column in names) + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
