"""The registry on disk: accepted models, numbered, each with its lineage.

    <home>/registry/<name>/
      index.json    versions, aliases, champions so far; the only source of truth
      lock          held (flock) while the index changes
      <n>/          one version: model file, version.json, lineage.json, card.md; immutable
      .staging-*/   a registration in progress; ignored, and removed once its writer is gone

A version becomes visible by the replacement of `index.json`, after all of its files are durable. A
writer that is killed at any instruction leaves either a whole version or none; its leftovers are
removed by the next registration.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlops_lib import atomic, file_lock
from mlops_lib.errors import RefusedFileError, UsageError
from mlops_lib.gate import comparison
from mlops_lib.project import files
from mlops_lib.records import ModelVersion, Record, RunSpec, Verdict
from mlops_lib.registry.model_card import render
from mlops_lib.runner import protocol

CHAMPION = "champion"
"""Alias of the best accepted version, which people should use."""
SCRIPT_LIMIT = 64 << 20
"""Most bytes of a script or notebook that are read for its digest."""
MODEL_LIMIT = 16 * 1024**3
"""Default for the largest accepted model file, in bytes."""

_CHUNK = 1024 * 1024
_MODEL_NAME = re.compile(r"model\.[a-z0-9]{1,12}")
_ALIAS_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
_DIGEST_END = re.compile(r"-[0-9a-f]{12}$")


@dataclass(frozen=True, kw_only=True)
class _Index(Record):
    """`index.json`: the mutable state of a registered name."""

    schema: int = 1
    name: str
    next: int = 1
    """The next version's number; none is ever reused, not even after garbage collection."""
    versions: tuple[int, ...] = ()
    champions: tuple[int, ...] = ()
    """In the order of their appointment; the last one is the champion."""
    aliases: Mapping[str, int] = field(default_factory=dict)
    """All aliases but `champion`."""

    def all_aliases(self) -> dict[str, int]:
        return {**self.aliases, **({CHAMPION: self.champions[-1]} if self.champions else {})}


def register(
    run_dir: Path, spec: RunSpec, verdict: Verdict, *, home: Path, limit_bytes: int = MODEL_LIMIT
) -> ModelVersion:
    """Make the run's accepted model a version of the registered model `spec.name`.

    It becomes the champion if there is none yet, or if the verdict's paired comparison shows it to
    be better than the champion on the same examples; `note` of the returned version gives the
    reason. Registering the same model of the same run again changes nothing and returns the
    existing version.

    Args:
        run_dir: the run; its model file is in `inside/`.
        spec: the run's specification.
        verdict: the gate's verdict.
        home: folder of mlops' own files.
        limit_bytes: the largest accepted model file.

    Raises:
        UsageError: the verdict is not `accepted`, the run has no trustworthy model file, or a file
            could not be written.
    """
    if verdict.verdict != "accepted":
        raise UsageError(
            f"the verdict is {verdict.verdict}; only an accepted model can be registered",
            where=str(run_dir),
            remedy="Judge the run again, with another bar if that one was wrong.",
        )
    folder = _folder(spec.name, home=home)
    source = _model_file(run_dir)
    try:
        with _staging(folder) as staging:
            # The digest is taken while copying: the container's file could change between two
            # readings, the copy cannot.
            digest = _copy(
                source,
                staging / source.name,
                inside=run_dir / protocol.INSIDE,
                limit_bytes=limit_bytes,
            )
            if verdict.model_digest and digest != verdict.model_digest:
                raise UsageError(
                    "the model file is not the one that was judged",
                    where=str(source),
                    remedy="Judge the run again (`mlops judge`).",
                )
            _copy_training_digests(run_dir, staging)
            with file_lock.hold(folder / "lock"):
                _prepare(folder, spec.name)
                atomic.write_json(
                    staging / "lineage.json",
                    {"spec": spec.to_json(), "search": _search_request(run_dir)},
                )
                return _admit(
                    folder, staging, _lineage(run_dir, spec, verdict, source.name, digest), verdict
                )
    except OSError as error:
        raise UsageError(
            f"the model could not be registered: {error.strerror or error}",
            where=str(error.filename or folder),
            remedy=(
                "Free disk space or fix the permissions, then register the run again; "
                "nothing was changed."
            ),
        ) from error


def names(*, home: Path) -> list[str]:
    """Return the names of the registered models, sorted."""
    indexes = (_read_index(path.parent) for path in (home / "registry").glob("*/index.json"))
    return sorted(index.name for index in indexes if index.versions)


def versions(name: str, *, home: Path) -> list[ModelVersion]:
    """Return all versions of a model, oldest first; empty if the name is unknown."""
    folder = _folder(name, home=home)
    index = _read_index(folder, name=name)
    loaded = []
    for number in index.versions:
        with suppress(FileNotFoundError):  # garbage-collected since the index was read
            loaded.append(_load(folder, number, index))
    return loaded


def version(name: str, which: int | str = CHAMPION, *, home: Path) -> ModelVersion:
    """Return one version, by its number or by an alias.

    Raises:
        UsageError: there is no such version.
    """
    folder = _folder(name, home=home)
    index = _read_index(folder, name=name)
    number = index.all_aliases().get(str(which), int(which) if str(which).isdecimal() else 0)
    _require(index, number, requested=str(which))
    return _load(folder, number, index)


def champion(name: str, *, home: Path) -> ModelVersion | None:
    """Return the version people should use, or None if none was accepted yet."""
    folder = _folder(name, home=home)
    index = _read_index(folder, name=name)
    return _load(folder, index.champions[-1], index) if index.champions else None


def of_run(name: str, run: str, *, home: Path) -> ModelVersion | None:
    """Return the newest version registered from the run with digest `run`, or None."""
    newest_first = reversed(versions(name, home=home))
    return next((version for version in newest_first if version.run == run), None)


def champion_before(model: ModelVersion, *, home: Path) -> ModelVersion | None:
    """Return the champion that `model` replaced or competes with, or None."""
    folder = _folder(model.name, home=home)
    index = _read_index(folder, name=model.name)
    at = (
        index.champions.index(model.version)
        if model.version in index.champions
        else len(index.champions)
    )
    return _load(folder, index.champions[at - 1], index) if at else None


def aliases(name: str, *, home: Path) -> dict[str, int]:
    """Return the version number of each alias, `champion` among them."""
    return _read_index(_folder(name, home=home), name=name).all_aliases()


def set_alias(name: str, alias: str, number: int, *, home: Path) -> ModelVersion:
    """Point an alias at a version; `champion` may be moved this way too.

    Raises:
        UsageError: there is no such version, or the alias is not a plain lower-case word.
    """
    if not _ALIAS_NAME.fullmatch(alias):
        raise UsageError(
            f"{alias!r} cannot be an alias",
            where=name,
            remedy="Use lower-case letters, digits, '-' and '_'.",
        )
    with _changing(name, home=home) as (folder, index):
        _require(index, number, requested=str(number))
        if alias == CHAMPION:
            # A version is in the list once: a rollback from it must lead to another one.
            index = replace(index, champions=(*(n for n in index.champions if n != number), number))
        else:
            index = replace(index, aliases={**index.aliases, alias: number})
        _write_index(folder, index)
        return _load(folder, number, index)


def remove_alias(name: str, alias: str, *, home: Path) -> None:
    """Remove an alias; do nothing if it does not exist.

    Raises:
        UsageError: it is `champion`, which can only move.
    """
    if alias == CHAMPION:
        raise UsageError(
            "the champion can only move",
            where=name,
            remedy="Set it to another version, or roll it back.",
        )
    with _changing(name, home=home) as (folder, index):
        _write_index(
            folder, replace(index, aliases={a: n for a, n in index.aliases.items() if a != alias})
        )


def rollback(name: str, *, home: Path) -> ModelVersion:
    """Make the previous champion the champion again.

    A second rollback goes one further back. The former champion stays registered, and does not
    return to the title by itself.

    Raises:
        UsageError: there is no earlier champion.
    """
    with _changing(name, home=home) as (folder, index):
        if len(index.champions) < 2:
            raise UsageError(
                "there is no earlier champion to go back to",
                where=name,
                remedy="Set the alias champion by number.",
            )
        # Removed from the list rather than reordered, so that a further rollback goes further back.
        index = replace(index, champions=index.champions[:-1])
        _write_index(folder, index)
        return _load(folder, index.champions[-1], index)


def collect_garbage(name: str, *, home: Path, keep: int = 5) -> list[ModelVersion]:
    """Remove old versions that nothing refers to, and return them.

    Kept are the newest `keep`, every version with an alias, the champion's predecessor (the target
    of `rollback`) and every version whose file is the result of a run that still exists.

    Raises:
        UsageError: `keep` is negative.
    """
    if keep < 0:
        raise UsageError(f"cannot keep {keep} versions", where="keep", remedy="Give 0 or more.")
    with _changing(name, home=home) as (folder, index):
        newest = index.versions[len(index.versions) - keep :] if keep else ()
        # The last two champions: the present one, and the one that `rollback` returns to.
        spared = {*newest, *index.all_aliases().values(), *index.champions[-2:]}
        old = [_load(folder, number, index) for number in index.versions if number not in spared]
        removed = [version for version in old if not _answers_a_run(version)]
        numbers = {version.version for version in removed}
        _write_index(
            folder,
            replace(
                index,
                versions=tuple(n for n in index.versions if n not in numbers),
                champions=tuple(n for n in index.champions if n not in numbers),
            ),
        )
        # The index no longer names them: should the removal be interrupted, the next one ends it.
        _sweep(folder)
        return removed


def verify(model: ModelVersion) -> None:
    """Check that the version's model file is the one that was registered.

    Raises:
        UsageError: the file is missing or was changed.
    """
    digest = hashlib.sha256()
    try:
        with atomic.open_regular(Path(model.model)) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise UsageError(
            f"the model file cannot be read: {error.strerror or error}",
            where=model.model,
            remedy="Restore it from a backup, or roll the champion back.",
        ) from error
    if digest.hexdigest() != model.model_digest:
        raise UsageError(
            "the model file is not the one that was registered",
            where=model.model,
            remedy="Restore it from a backup, or roll the champion back.",
        )


def _folder(name: str, *, home: Path) -> Path:
    """Return a name's folder: unique to the name, and always inside the registry."""
    # A plain name that ends like a digest could collide with the folder of another name.
    if _PLAIN_NAME.fullmatch(name) and not _DIGEST_END.search(name):
        return home / "registry" / name
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:40] or "model"
    # surrogatepass: a project folder's name need not be valid UTF-8; Python then represents it
    # with lone surrogates.
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return home / "registry" / f"{readable}-{digest}"


def _read_index(folder: Path, *, name: str = "") -> _Index:
    try:
        return _Index.from_json(atomic.read_json(folder / "index.json"))
    except FileNotFoundError as missing:
        if not _holds_versions(folder):
            return _Index(name=name)
        error: Exception = missing
    except (OSError, ValueError) as unreadable:
        error = unreadable
    raise UsageError(
        f"the registry's index cannot be read: {error}",
        where=str(folder / "index.json"),
        remedy="Restore the file from a backup; the versions beside it are untouched.",
    )


def _holds_versions(folder: Path) -> bool:
    # The index is always written before the first version, so versions without it mean that it was
    # lost.
    return folder.is_dir() and any(place.name.isdecimal() for place in folder.iterdir())


def _write_index(folder: Path, index: _Index) -> None:
    atomic.write_json(folder / "index.json", index.to_json())


@contextmanager
def _changing(name: str, *, home: Path) -> Iterator[tuple[Path, _Index]]:
    """Yield the name's folder and index while holding its lock."""
    folder = _folder(name, home=home)
    if not (folder / "index.json").exists():
        raise UsageError(
            f"there is no registered model {name!r}",
            where=str(home / "registry"),
            remedy=f"There are: {', '.join(names(home=home)) or 'none'}.",
        )
    with file_lock.hold(folder / "lock"):
        yield folder, _read_index(folder, name=name)


def _require(index: _Index, number: int, *, requested: str) -> None:
    if number not in index.versions:
        choices = ", ".join([*map(str, index.versions), *index.all_aliases()])
        raise UsageError(
            f"there is no version {requested}",
            where=index.name,
            remedy=f"There are: {choices or 'none'}.",
        )


def _load(folder: Path, number: int, index: _Index) -> ModelVersion:
    place = folder / str(number)
    stored = ModelVersion.from_json(atomic.read_json(place / "version.json"))
    # The title is not stored with the version, because it moves without the version being written.
    is_champion = bool(index.champions) and index.champions[-1] == number
    return replace(stored, path=str(place), model=str(place / stored.model), champion=is_champion)


def _model_file(run_dir: Path) -> Path:
    """Return the model file that the run names, or one with a default name.

    The run's claim counts only if it is a valid model file name.
    """
    inside = run_dir / protocol.INSIDE
    claimed: object = None
    with suppress(OSError, ValueError, AttributeError):
        claimed = (
            atomic.read_json(inside / protocol.METRICS, inside=inside).get("model", {}).get("path")
        )
    for name in (claimed, *protocol.MODELS):
        if isinstance(name, str) and _MODEL_NAME.fullmatch(name) and (inside / name).is_file():
            return inside / name
    raise UsageError(
        "the run has no model file",
        where=str(inside),
        remedy=(
            "The script must train a model that its framework can save; `mlops show` lists the "
            "evidence."
        ),
    )


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Yield a fresh folder, locked while its writer lives and removed unless renamed."""
    staging = folder / f".staging-{os.getpid()}-{os.urandom(6).hex()}"
    # Under the name's lock, so that no sweep sees the folder before its own lock is taken.
    with file_lock.hold(folder / "lock"):
        staging.mkdir(mode=0o755)
        descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        file_lock.acquire(descriptor)
    try:
        yield staging
    finally:
        os.close(descriptor)
        shutil.rmtree(staging, ignore_errors=True)


def _prepare(folder: Path, name: str) -> None:
    """Create a missing index and remove leftovers; the caller holds the lock."""
    if not (folder / "index.json").exists():
        _write_index(folder, _read_index(folder, name=name))
    _sweep(folder)


def _sweep(folder: Path) -> None:
    """Remove unlisted versions and leftovers; the caller holds the lock."""
    numbers = {str(number) for number in _read_index(folder).versions}
    for place in folder.iterdir():
        is_abandoned = place.name.startswith(".staging-") and not file_lock.is_held(place)
        if is_abandoned or (place.name.isdecimal() and place.name not in numbers):
            shutil.rmtree(place, ignore_errors=True)
        elif place.name.startswith(".index.json."):
            place.unlink(missing_ok=True)


def _copy(source: Path, target: Path, *, inside: Path, limit_bytes: int) -> str:
    """Copy an untrusted file of a container, and return its sha256."""
    digest = hashlib.sha256()
    size = 0
    with atomic.open_regular(source, inside=inside) as reader, target.open("xb") as writer:
        while chunk := reader.read(_CHUNK):
            size += len(chunk)
            if size > limit_bytes:
                raise UsageError(
                    f"the model file is larger than {limit_bytes} bytes",
                    where=str(source),
                    remedy="Raise the limit, or save the model without its optimizer.",
                )
            digest.update(chunk)
            writer.write(chunk)
        if not size:
            raise UsageError(
                "the model file is empty", where=str(source), remedy="Run the training again."
            )
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _copy_training_digests(run_dir: Path, staging: Path) -> None:
    """Copy the digests of the model's training examples, if the run left them."""
    inside = run_dir / protocol.INSIDE
    limit = protocol.TRAINED_ON_BYTES
    try:
        _copy(
            inside / protocol.TRAINED_ON,
            staging / protocol.TRAINED_ON,
            inside=inside,
            limit_bytes=limit,
        )
    except (OSError, UsageError):
        (staging / protocol.TRAINED_ON).unlink(missing_ok=True)


def _lineage(
    run_dir: Path, spec: RunSpec, verdict: Verdict, model: str, digest: str
) -> ModelVersion:
    return ModelVersion(
        name=spec.name,
        version=0,
        path="",
        model=model,
        metric=verdict.metric,
        mode=verdict.mode,
        value=verdict.value,
        target=verdict.target,
        interval=verdict.interval,
        examples=verdict.examples,
        measured=verdict.measured,
        commit=spec.commit,
        project=spec.project,
        entry=spec.entry,
        args=spec.args,
        script_digest=_script_digest(Path(spec.project), spec.entry),
        data_digest=spec.data_digest,
        model_digest=digest,
        image=spec.image.tag,
        seed=spec.seed,
        seeds=verdict.seeds,
        run=spec.digest,
        run_dir=str(run_dir),
        created=time.time(),
    )


def _search_request(run_dir: Path) -> dict[str, object] | None:
    """Return the request of the search that made the model, or None without a search."""
    with suppress(OSError, ValueError):
        request = atomic.read_json(run_dir / protocol.SEARCH_REQUEST)
        return request if isinstance(request, dict) else None
    return None


def _script_digest(project: Path, entry: str) -> str:
    """Return the sha256 of the current entry, or "" if the project no longer exists."""
    try:
        return hashlib.sha256(files.read(entry, root=project, limit=SCRIPT_LIMIT)).hexdigest()
    except RefusedFileError:
        return ""


def _admit(folder: Path, staging: Path, model: ModelVersion, verdict: Verdict) -> ModelVersion:
    """Number the staged version and make it visible; the caller holds the lock."""
    index = _read_index(folder, name=model.name)
    for number in reversed(index.versions):
        existing = _load(folder, number, index)
        if (existing.run, existing.model_digest) == (model.run, model.model_digest):
            return existing
    reigning = _load(folder, index.champions[-1], index) if index.champions else None
    model = replace(model, version=index.next)
    becomes_champion, note = _compare(model, verdict, reigning)
    model = replace(model, note=note)
    atomic.write_json(staging / "version.json", model.to_json())
    atomic.write_bytes(
        staging / "card.md", render(model, verdict).encode("utf-8", "backslashreplace")
    )
    # The order is the guarantee: first the files are durable, then the index names them.
    staging.rename(folder / str(model.version))
    atomic.sync_folder(folder)
    index = replace(
        index,
        next=model.version + 1,
        versions=(*index.versions, model.version),
        champions=(*index.champions, model.version) if becomes_champion else index.champions,
    )
    _write_index(folder, index)
    return _load(folder, model.version, index)


def _compare(
    model: ModelVersion, verdict: Verdict, reigning: ModelVersion | None
) -> tuple[bool, str]:
    """Return whether the model becomes the champion, and the reason in words."""
    if reigning is None:
        return True, "the first accepted version"
    stays = f"version {reigning.version} stays champion"
    against = verdict.against
    by_hand = f"`mlops registry champion {model.name} {model.version}` names it by hand"
    if against is None or against.version != reigning.version:
        return False, f"{stays}: it was not measured on the same examples; {by_hand}"
    if against.better is None:
        return False, f"{stays}, not compared: {against.why}; {by_hand}"
    result = comparison.describe(against, metric=model.metric or "")
    return against.better, result if against.better else f"{stays}; {result}"


def _answers_a_run(model: ModelVersion) -> bool:
    """Return whether the version's run still exists and names its file as the result."""
    # The first is written by `mlops run`, the second by `mlops register`.
    for name in (protocol.RESULT, protocol.REGISTERED):
        with suppress(OSError, ValueError):
            answer = atomic.read_json(Path(model.run_dir, name))
            result = answer.get("model") if isinstance(answer, dict) else None
            if isinstance(result, str) and Path(result).is_relative_to(model.path):
                return True
    return False
