"""Have a run's saved model measured again by a process without the script, on the examples that the
runner kept.

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
    """Return what a process without the script measures for an evaluation, or why it measures
    nothing.

    A machinery that fails is an answer too (`state` "not run"); nothing is raised for it. The
    answer is kept, and given again while model file, examples and image are the same.

    Args:
        run_dir: the run directory, its training finished.
        spec: what was asked of the run.
        evaluation: the judged evaluation, of metrics.json.
        engine: where the process runs.
        observer: is told when it begins.
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
    """The runner's entry for an evaluation; None with the reason it gives, "" if it gives none."""
    inside = run_dir / protocol.INSIDE
    try:
        index = atomic.read_json(
            inside / protocol.EXAMPLES / protocol.EXAMPLES_INDEX, inside=inside, limit=INDEX_LIMIT
        )
        listed = index["measures"]
        found = next(
            one for one in listed if isinstance(one, dict) and one.get("evaluation") == evaluation
        )
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None, ""
    examples = found.get("examples")
    named = examples.get("file") if isinstance(examples, dict) else None
    if not isinstance(named, str) or not _FILE.fullmatch(named):
        return None, str(found.get("note") or "")[:NOTE_LENGTH]
    return found, ""


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
    asked = hashlib.sha256(
        json.dumps([model_digest, examples_digest, entry, spec.image.tag]).encode()
    ).hexdigest()
    known = _known(run_dir, asked)
    if known is not None:
        return known
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
    found = _read(output, token, model_digest=model_digest, where=engine.name)
    if found.state != "not run":
        atomic.write_json(
            run_dir / protocol.REMEASURED, {"asked": asked, "answer": found.to_json()}
        )
    return found


def _known(run_dir: Path, asked: str) -> Remeasured | None:
    try:
        kept = atomic.read_json(run_dir / protocol.REMEASURED)
        return Remeasured.from_json(kept["answer"]) if kept["asked"] == asked else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(output: str, token: str, *, model_digest: str, where: str) -> Remeasured:
    """The answer in the program's output: the last line with the token."""
    line = next((one for one in reversed(output.splitlines()) if one.startswith(token)), None)
    if line is None:
        why = (
            f"the second measurement ended without an answer, or took longer than {TIMEOUT_S:.0f} s"
        )
        return Remeasured(state="not run", note=why, model_digest=model_digest)
    try:
        value = json.loads(line[len(token) :])
        every = value["all"]
        count = value["count"]
        numbers = {str(name)[:100]: protocol.as_number(one) for name, one in every.items()}
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
    """Copy what a container wrote, following no link; returns its sha256.

    Raises:
        OSError: it is no regular file, or larger than the limit.
    """
    whole = hashlib.sha256()
    size = 0
    with atomic.open_regular(source, inside=inside) as reading, target.open("xb") as writing:
        while chunk := reading.read(CHUNK):
            size += len(chunk)
            if size > limit:
                raise OSError(f"{source.name} is larger than {limit >> 20} MB")
            whole.update(chunk)
            writing.write(chunk)
    return whole.hexdigest()


def sweep(run_dir: Path) -> None:
    """Remove the folders that a measurement left whose program was killed."""
    for left in run_dir.glob("measure-*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
