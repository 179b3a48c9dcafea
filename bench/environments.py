"""How often the first environment of a repository is right, on public benchmarks of that task.

`python -m bench.environments FOLDER [--entries FILE] [--only NAME …] [--home HOME] [--out FILE]`.
FOLDER holds checkouts, one folder a repository, such as those of ResearchEnvBench and of
EnvBench-Python (`git clone` at the commits that their lists name). Each is looked at, and its
environment is built without containers, at first sight; nothing of a repository is changed.

- **C0**: every third-party import that the entry's code needs is found in the environment
  (`first`: in the first one that is built; `end`: after repairs).
- **C0 of all files**: the share of all absolute imports in the repository's Python files that the
  environment or the repository has; what no entry needs is not installed, so this is a bound.
- **C1**: the entry starts on a CPU: run for `--seconds`, it ends by itself or still runs, without
  an error of import. A missing argument, file, key or network is the entry's own, and is counted
  apart.
- **same twice**: detection and plan, asked again in a home without memory, are equal.

ENTRIES is a JSON object, repository to file, for those that have several trainings; without it the
entry is detected, or the first candidate that an error names.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mlops_lib.detection import detect
from mlops_lib.engine import venv
from mlops_lib.engine.process import ProcessEngine
from mlops_lib.errors import MlopsError
from mlops_lib.provisioning import resolution
from mlops_lib.records import Detection, Image

IMPORT_ERRORS = re.compile(
    r"^(ModuleNotFoundError|ImportError|AttributeError: module|OSError: .*\.so)", re.MULTILINE
)
OWN_NEEDS = re.compile(
    r"usage:|the following arguments are required|FileNotFoundError|No such file|Connection|"
    r"MaxRetryError|LocalEntryNotFound|OfflineMode|CUDA|NVIDIA|api_key|SystemExit|resolve|KeyError:",
    re.IGNORECASE,
)
FOUND = "found "
FINDER = """
import importlib.util, json, sys
names = json.load(sys.stdin)
there = []
for name in names:
    try:
        if importlib.util.find_spec(name) is not None:
            there.append(name)
    except Exception:
        pass
print('found ' + json.dumps(there))
"""


def main() -> None:
    """Measure every repository and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--entries", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--home", type=Path, help="keep environments here, and share their files")
    parser.add_argument("--out", type=Path, help="write each result here as a line of JSON")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--torch-index", default="")
    parser.add_argument("--keep", action="store_true", help="keep every environment")
    asked = parser.parse_args()
    entries = json.loads(asked.entries.read_text()) if asked.entries else {}
    results = []
    with tempfile.TemporaryDirectory(prefix="mlops-bench-") as scratch:
        for project in sorted(path for path in asked.folder.iterdir() if path.is_dir()):
            if asked.only and project.name not in asked.only:
                continue
            result = measure(project, entries.get(project.name, ""), asked, Path(scratch))
            results.append(result)
            print(row(result), flush=True)
            if asked.out:
                with asked.out.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(result) + "\n")
    if results:
        print(summary(results))


def measure(project: Path, entry: str, asked: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Return what came of one repository."""
    begin = time.monotonic()
    result: dict[str, Any] = {"repository": project.name}
    home = asked.home or scratch / "home"
    try:
        detection = look(project, entry, result)
        need = need_of(detection, asked)
        result["same"] = same_twice(project, entry, need, asked, scratch)
        image = build(need, home, result)
        python = venv.python_of(venv.place(home, image.environment))
        result["seconds"] = round(time.monotonic() - begin, 1)
        result |= of_all_files(project, python)
        result["c1"], result["why"] = start(project, detection, python, asked.seconds)
        if not asked.keep:
            shutil.rmtree(python.parents[1], ignore_errors=True)
    except MlopsError as error:
        result["seconds"] = round(time.monotonic() - begin, 1)
        result["error"] = str(error)[:300]
    return result


def look(project: Path, entry: str, result: dict[str, Any]) -> Detection:
    """Detect the entry, or the first candidate that is named."""
    try:
        found = detect(project / entry if entry else project)
        result["asked"] = False
    except MlopsError as error:
        named = re.search(r"([\w./-]+\.(?:py|ipynb))", str(error))
        if named is None or not (project / named[1]).is_file():
            raise
        result["asked"] = True
        found = detect(project / named[1])
    result |= {
        "entry": found.entry,
        "framework": found.framework,
        "python": found.environment.python,
        "imports": len(found.imports),
    }
    return found


def need_of(detection: Detection, asked: argparse.Namespace) -> resolution.Need:
    """Return the need of a detection, for processes without GPUs."""
    return resolution.need(
        detection,
        base_image="python:3.11-slim",
        backend="process",
        gpus=False,
        torch_index=asked.torch_index,
    )


def same_twice(
    project: Path, entry: str, need: resolution.Need, asked: argparse.Namespace, scratch: Path
) -> bool:
    """Return whether detection and plan are equal when they are asked again."""
    again = need_of(look(project, entry, {}), asked)
    plans = []
    for number, one in enumerate((need, again)):
        home = scratch / f"plan{number}"
        plans.append(resolution.plan(one, home=home).to_json())
    return need.to_json() == again.to_json() and plans[0] == plans[1]


def build(need: resolution.Need, home: Path, result: dict[str, Any]) -> Image:
    """Build the environment; note what it lacked at first and lacks at the end."""
    engine = ProcessEngine(home=str(home))
    image = resolution.make(need, engine=engine, home=home, observer=lambda event: None)
    repaired = [
        note for note in image.notes if ": import " in note and "nothing is known" not in note
    ]
    left = [
        note for note in image.notes if "nothing is known" in note or "this machine lacks" in note
    ]
    result |= {
        "first": not repaired and not left,
        "end": not left,
        "repairs": repaired,
        "left": left,
        "notes": len(image.notes),
        "requirements": list(image.environment.requirements),
    }
    return image


def of_all_files(project: Path, python: Path) -> dict[str, Any]:
    """Return how many of the imports in all Python files are found."""
    folders = {project, project / "src"}
    names: set[str] = set()
    for path in project.rglob("*.py"):
        if ".git" in path.parts or not path.is_file() or path.is_symlink():
            continue
        folders.add(path.parent)
        try:
            tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.partition(".")[0])
    own = {
        path.stem for folder in folders for path in folder.glob("*") if path.suffix in ("", ".py")
    }
    outside = sorted(names - own - set(sys.stdlib_module_names))
    asked = subprocess.run(
        [str(python), "-I", "-c", FINDER],
        input=json.dumps(outside),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    lines = [line for line in asked.stdout.splitlines() if line.startswith(FOUND)]
    there = set(json.loads(lines[-1].removeprefix(FOUND))) if lines else set()
    lacking = sorted(set(outside) - there)
    return {"all_imports": len(outside), "all_missing": lacking}


def start(project: Path, detection: Detection, python: Path, seconds: float) -> tuple[str, str]:
    """Run the entry in a copy of the project; return what came of it, with the last line."""
    entry = Path(detection.project, detection.entry)
    if entry.suffix != ".py":
        return "not run", "a notebook"
    with tempfile.TemporaryDirectory(prefix="mlops-bench-") as folder:
        copy = Path(folder, "project")
        shutil.copytree(
            detection.project, copy, symlinks=True, ignore=shutil.ignore_patterns(".git")
        )
        variables = {
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "HOME": folder,
            "PYTHONPATH": f"{copy}:{copy / 'src'}",
            "HF_HUB_OFFLINE": "1",
            "WANDB_MODE": "offline",
            "MPLBACKEND": "Agg",
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
        }
        command = [str(python), str(copy / detection.entry)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=seconds,
                stdin=subprocess.DEVNULL,
                cwd=copy,
                env=variables,
            )
        except subprocess.TimeoutExpired:
            return "runs", "still running"
        text = done.stderr[-6_000:]
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
        if done.returncode == 0:
            return "ends", ""
        if IMPORT_ERRORS.search(last) or last.startswith(("ModuleNotFoundError", "ImportError")):
            return "import", last[:200]
        return ("own need" if OWN_NEEDS.search(text) else "other"), last[:200]


def row(result: dict[str, Any]) -> str:
    """Return one line about a repository."""
    if "error" in result:
        return f"{result['repository']:45} ERROR {result['error'][:160]}"
    return (
        f"{result['repository']:45} {result['framework']:8} py{result['python']}"
        f" first={result['first']} end={result['end']}"
        f" all={result['all_imports'] - len(result['all_missing'])}/{result['all_imports']}"
        f" c1={result['c1']} {result['seconds']} s same={result['same']} {result['why'][:80]}"
    )


def summary(results: list[dict[str, Any]]) -> str:
    """Return the counts."""
    built = [one for one in results if "error" not in one]
    starts = [one for one in built if one["c1"] in ("runs", "ends", "own need")]
    every = sum(one["all_imports"] for one in built)
    lacking = sum(len(one["all_missing"]) for one in built)
    seconds = statistics.median(one["seconds"] for one in results)
    return (
        f"{len(results)} repositories, {len(built)} built; C0 first"
        f" {sum(one['first'] for one in built)}, end {sum(one['end'] for one in built)};"
        f" C0 of all files {every - lacking} of {every} imports; C1 past its imports {len(starts)},"
        f" of these {sum(one['c1'] != 'own need' for one in starts)} run or end;"
        f" median {seconds:.0f} s; same twice {sum(one['same'] for one in built)}"
    )


if __name__ == "__main__":
    main()
