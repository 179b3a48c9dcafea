"""The second measurement of a saved model, by a process without the script.

It is made on the examples that the runner kept.

The script shares its process with what re-evaluates its model there, so that number is a claim of
the script's process. Here the host copies the model's file and the kept examples, and a second
container (or process) without the project, without a network and without a writable folder makes
the number once more, if the file can be loaded without running code.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_lib import atomic, events
from mlops_lib.engine import Engine
from mlops_lib.errors import MlopsError
from mlops_lib.events import Observer
from mlops_lib.records import Remeasured, RunSpec
from mlops_lib.registry import champions
from mlops_lib.runner import protocol

TIMEOUT_S = 300.0
INDEX_LIMIT = 4 << 20
EXAMPLES_LIMIT = 300 << 20
MODEL_LIMIT = 16 << 30
CHUNK = 1 << 20
NOTE_LENGTH = 500
STATES = ("measured", "needs code", "failed")
_FILE = re.compile(r"\d{1,3}\.npz")


def measure(
    run_dir: Path,
    spec: RunSpec,
    evaluation: Mapping[str, Any],
    *,
    engine: Engine,
    observer: Observer,
) -> Remeasured:
    """Measure an evaluation again in a process without the script.

    A failure of the engine is a result too (`state` "not run"); nothing is raised for it. The
    result is stored, and returned again while model file, examples and image are the same.

    Args:
        run_dir: the run directory, its training finished.
        spec: the run's specification.
        evaluation: the judged evaluation, of metrics.json.
        engine: the engine that runs the process.
        observer: gets an event when it begins.
    """
    model = champions.model_file(run_dir)
    if model is None or protocol.as_number(evaluation.get("recomputed")) is None:
        return Remeasured(state="not traced")
    entry, why = _entry(run_dir, evaluation.get("id"))
    if entry is None:
        digest = champions.model_digest(run_dir)
        return Remeasured(state="unkept" if why else "missing", note=why, model_digest=digest)
    try:
        with tempfile.TemporaryDirectory(prefix="measure-", dir=run_dir) as place:
            return _measure(
                run_dir, spec, model, entry, Path(place), engine=engine, observer=observer
            )
    except (OSError, MlopsError) as error:
        return Remeasured(
            state="not run",
            note=str(error)[:NOTE_LENGTH],
            model_digest=champions.model_digest(run_dir),
        )


def _entry(run_dir: Path, evaluation: Any) -> tuple[dict[str, Any] | None, str]:
    """Return the runner's entry for an evaluation, or None with the runner's reason."""
    inside = run_dir / protocol.INSIDE
    try:
        index = atomic.read_json(
            inside / protocol.EXAMPLES / protocol.EXAMPLES_INDEX, inside=inside, limit=INDEX_LIMIT
        )
        entry = next(
            measure
            for measure in index["measures"]
            if isinstance(measure, dict) and measure.get("evaluation") == evaluation
        )
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None, ""
    examples = entry.get("examples")
    file = examples.get("file") if isinstance(examples, dict) else None
    # The name is a claim; anything but a plain number could name a file of the host.
    if not isinstance(file, str) or not _FILE.fullmatch(file):
        return None, str(entry.get("note") or "")[:NOTE_LENGTH]
    return entry, ""


def _measure(
    run_dir: Path,
    spec: RunSpec,
    model: Path,
    entry: dict[str, Any],
    folder: Path,
    *,
    engine: Engine,
    observer: Observer,
) -> Remeasured:
    inside = run_dir / protocol.INSIDE
    file = entry["examples"]["file"]
    model_digest = _copy(model, folder / model.name, inside=inside, limit=MODEL_LIMIT)
    try:
        examples_digest = _copy(
            inside / protocol.EXAMPLES / file, folder / file, inside=inside, limit=EXAMPLES_LIMIT
        )
    except OSError as error:
        return Remeasured(state="missing", note=str(error)[:NOTE_LENGTH], model_digest=model_digest)
    key = hashlib.sha256(
        json.dumps([model_digest, examples_digest, entry, spec.image.tag]).encode()
    ).hexdigest()
    previous = _read_previous(run_dir, key)
    if previous is not None:
        return previous
    if not engine.has(spec.image):
        return Remeasured(
            state="not run", note="its image is not built here", model_digest=model_digest
        )
    observer(events.stage("measure"))
    token = f"mlops-measured-{secrets.token_hex(16)}:"
    order = {"token": token, "model": model.name, "entry": entry}
    (folder / "order.json").write_text(json.dumps(order))
    for path in (*folder.iterdir(), folder):
        path.chmod(0o755 if path == folder else 0o644)
    output = engine.measure(spec.image, str(folder), limits=spec.limits, timeout_s=TIMEOUT_S)
    result = _parse(output, token, model_digest=model_digest, where=engine.name)
    if result.state != "not run":
        atomic.write_json(run_dir / protocol.REMEASURED, {"asked": key, "answer": result.to_json()})
    return result


def _read_previous(run_dir: Path, key: str) -> Remeasured | None:
    """Return the kept result, None if its model, examples or image were others."""
    try:
        content = atomic.read_json(run_dir / protocol.REMEASURED)
        return Remeasured.from_json(content["answer"]) if content["asked"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _parse(output: str, token: str, *, model_digest: str, where: str) -> Remeasured:
    """Return the result in the program's output: the last line with the token.

    The token is random, so that nothing which the model prints can pass for the result.
    """
    lines = [line for line in output.splitlines() if line.startswith(token)]
    line = lines[-1] if lines else None
    if line is None:
        why = (
            f"the second measurement ended without an answer, or took longer than {TIMEOUT_S:.0f} s"
        )
        return Remeasured(state="not run", note=why, model_digest=model_digest)
    try:
        value = json.loads(line[len(token) :])
        count = value["count"]
        numbers = {
            str(name)[:100]: protocol.as_number(number) for name, number in value["all"].items()
        }
        state: Any = value["state"] if value["state"] in STATES else "failed"
        note = str(value["note"])[:NOTE_LENGTH]
    except (ValueError, KeyError, TypeError, AttributeError):
        return Remeasured(
            state="not run",
            note="the second measurement's answer is malformed",
            model_digest=model_digest,
        )
    return Remeasured(
        state=state,
        note=note,
        value=protocol.as_number(value.get("value")),
        model_digest=model_digest,
        where=where,
        all={name: number for name, number in numbers.items() if number is not None},
        examples=count
        if isinstance(count, int) and not isinstance(count, bool) and count > 0
        else None,
    )


def _copy(source: Path, target: Path, *, inside: Path, limit: int) -> str:
    """Copy a file that a container wrote, following no link, and return its sha256.

    Raises:
        OSError: it is no regular file, or larger than the limit.
    """
    digest = hashlib.sha256()
    size = 0
    with atomic.open_regular(source, inside=inside) as reading, target.open("xb") as writing:
        while chunk := reading.read(CHUNK):
            size += len(chunk)
            if size > limit:
                raise OSError(f"{source.name} is larger than {limit >> 20} MB")
            digest.update(chunk)
            writing.write(chunk)
    return digest.hexdigest()


def sweep(run_dir: Path) -> None:
    """Remove the folders of measurements whose program was killed."""
    for folder in run_dir.glob("measure-*"):
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
