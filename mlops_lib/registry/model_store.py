"""The registry: every accepted model, numbered, with what it was made from, on disk.

    <home>/registry/<name>/
      index.json       what exists: versions, aliases, the champions so far. The one place where anything becomes true
      lock             held (flock) while the index changes
      <n>/             one version: the model file, version.json, lineage.json, card.md; never changed afterwards
      .staging-*/      a registration under way; of no meaning, and swept away once its writer is gone

A version becomes visible by the replacement of `index.json`, after all of its files are on the
disk. A writer killed at any instruction therefore leaves either a whole version or none, and what
it left otherwise goes with the next registration.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlops_lib import atomic
from mlops_lib.errors import RefusedFileError, UsageError
from mlops_lib.gate import comparison
from mlops_lib.project import files
from mlops_lib.records import ModelVersion, Record, RunSpec, Verdict
from mlops_lib.runner import protocol

CHAMPION = "champion"
SCRIPT_LIMIT = 64 << 20
"""Bytes of a script or notebook that is named by its content."""
"""The alias of the best accepted version: what people should use."""
MODEL_LIMIT = 16 * 1024**3
"""Bytes; a larger model is refused unless the caller says otherwise."""

_CHUNK = 1024 * 1024
_MODEL_NAME = re.compile(r"model\.[a-z0-9]{1,12}")
_ALIAS_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
_DIGEST_END = re.compile(r"-[0-9a-f]{12}$")


@dataclass(frozen=True, kw_only=True)
class _Index(Record):
    """`index.json`: everything that can change about a name."""

    schema: int = 1
    name: str
    next: int = 1
    """Numbers are never used twice, not even after garbage collection."""
    versions: tuple[int, ...] = ()
    champions: tuple[int, ...] = ()
    """In the order in which they became it; the last one is the champion."""
    aliases: Mapping[str, int] = field(default_factory=dict)
    """All but the champion."""

    def named(self) -> dict[str, int]:
        return {**self.aliases, **({CHAMPION: self.champions[-1]} if self.champions else {})}


def register(
    run_dir: Path, spec: RunSpec, verdict: Verdict, *, home: Path, limit_bytes: int = MODEL_LIMIT
) -> ModelVersion:
    """Make the run's accepted model a version of the registered model `spec.name`.

    It becomes the champion if there is none yet, or if the verdict's paired comparison shows it to
    be better than the champion on the same examples; `note` of the returned version says which, and
    why. Registering the same model of the same run again changes nothing and returns the version
    that exists.

    Args:
        run_dir: the run; its model file is in `inside/`.
        spec: what was asked of the run.
        verdict: the gate's answer.
        home: folder of mlops' own files.
        limit_bytes: the largest model file that is taken.

    Raises:
        UsageError: the verdict is not `accepted`, the run has no model file that can be trusted, or
            the disk refuses.
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
            _copy_names(run_dir, staging)
            with atomic.locked(folder / "lock"):
                _prepare(folder, spec.name)
                atomic.write_json(
                    staging / "lineage.json", {"spec": spec.to_json(), "search": _search(run_dir)}
                )
                return _admit(
                    folder, staging, _lineage(run_dir, spec, verdict, source.name, digest), verdict
                )
    except OSError as error:
        raise UsageError(
            f"the model could not be registered: {error.strerror or error}",
            where=str(error.filename or folder),
            remedy=(
                "Make room or mend the permissions there, then register the run again; nothing "
                "was changed."
            ),
        ) from error


def names(*, home: Path) -> list[str]:
    """The registered models' names, sorted."""
    found = (_read_index(path.parent) for path in (home / "registry").glob("*/index.json"))
    return sorted(index.name for index in found if index.versions)


def versions(name: str, *, home: Path) -> list[ModelVersion]:
    """All versions of a model, oldest first; empty if there is none of that name."""
    folder = _folder(name, home=home)
    index = _read_index(folder, name=name)
    found = []
    for number in index.versions:
        with suppress(FileNotFoundError):  # collected since the index was read
            found.append(_load(folder, number, index))
    return found


def version(name: str, which: int | str = CHAMPION, *, home: Path) -> ModelVersion:
    """One version, by its number or by an alias.

    Raises:
        UsageError: there is none.
    """
    folder = _folder(name, home=home)
    index = _read_index(folder, name=name)
    number = index.named().get(str(which), int(which) if str(which).isdecimal() else 0)
    _require(index, number, asked=str(which))
    return _load(folder, number, index)


def champion(name: str, *, home: Path) -> ModelVersion | None:
    """The version people should use, or None if none was accepted yet."""
    folder = _folder(name, home=home)
    index = _read_index(folder, name=name)
    return _load(folder, index.champions[-1], index) if index.champions else None


def of_run(name: str, run: str, *, home: Path) -> ModelVersion | None:
    """The newest version that the run of this digest was registered as; None if it was not."""
    return next((one for one in reversed(versions(name, home=home)) if one.run == run), None)


def champion_before(model: ModelVersion, *, home: Path) -> ModelVersion | None:
    """The champion that a version replaced, or that it stands beside; None where it was the first."""
    folder = _folder(model.name, home=home)
    index = _read_index(folder, name=model.name)
    at = (
        index.champions.index(model.version)
        if model.version in index.champions
        else len(index.champions)
    )
    return _load(folder, index.champions[at - 1], index) if at else None


def aliases(name: str, *, home: Path) -> dict[str, int]:
    """The names given to versions; `champion` is one of them."""
    return _read_index(_folder(name, home=home), name=name).named()


def set_alias(name: str, alias: str, number: int, *, home: Path) -> ModelVersion:
    """Let `alias` name a version, from now on and for everybody at once. `champion` may be set this
    way too.

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
        _require(index, number, asked=str(number))
        if alias == CHAMPION:
            index = replace(index, champions=(*(n for n in index.champions if n != number), number))
        else:
            index = replace(index, aliases={**index.aliases, alias: number})
        _write_index(folder, index)
        return _load(folder, number, index)


def remove_alias(name: str, alias: str, *, home: Path) -> None:
    """Take an alias away; does nothing if there is none of that name.

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
    """Make the previous champion the champion again; a second rollback goes one further back.

    The version stepped back from stays registered and does not become the champion by itself again.

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
        index = replace(index, champions=index.champions[:-1])
        _write_index(folder, index)
        return _load(folder, index.champions[-1], index)


def collect_garbage(name: str, *, home: Path, keep: int = 5) -> list[ModelVersion]:
    """Remove old versions that nothing refers to, and return what was removed.

    Kept are the newest `keep`, every version with an alias, the champion's predecessor (which
    `rollback` goes to) and every version whose file is the answer of a run that still exists.

    Raises:
        UsageError: `keep` is negative.
    """
    if keep < 0:
        raise UsageError(f"cannot keep {keep} versions", where="keep", remedy="Give 0 or more.")
    with _changing(name, home=home) as (folder, index):
        newest = index.versions[len(index.versions) - keep :] if keep else ()
        spared = {*newest, *index.named().values(), *index.champions[-2:]}
        old = [_load(folder, number, index) for number in index.versions if number not in spared]
        gone = [one for one in old if not _answers_a_run(one)]
        numbers = {one.version for one in gone}
        _write_index(
            folder,
            replace(
                index,
                versions=tuple(n for n in index.versions if n not in numbers),
                champions=tuple(n for n in index.champions if n not in numbers),
            ),
        )
        _sweep(folder)
        return gone


def verify(model: ModelVersion) -> None:
    """Check that the version's model file is the one that was registered.

    Raises:
        UsageError: it is missing or was changed.
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
            remedy="Bring it back, or roll the champion back.",
        ) from error
    if digest.hexdigest() != model.model_digest:
        raise UsageError(
            "the model file is not the one that was registered",
            where=model.model,
            remedy="Bring it back, or roll the champion back.",
        )


def _folder(name: str, *, home: Path) -> Path:
    """Where a name lives; different names never share a folder, and none leaves the registry."""
    if _PLAIN_NAME.fullmatch(name) and not _DIGEST_END.search(name):
        return home / "registry" / name
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:40] or "model"
    # surrogatepass: a folder's name need not be valid UTF-8, and reaches us with lone surrogates
    # then.
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
        remedy="Bring the file back from a backup; the versions beside it are untouched.",
    )


def _holds_versions(folder: Path) -> bool:
    # The index is always written before the first version, so versions without it mean that it was
    # lost.
    return folder.is_dir() and any(place.name.isdecimal() for place in folder.iterdir())


def _write_index(folder: Path, index: _Index) -> None:
    atomic.write_json(folder / "index.json", index.to_json())


@contextmanager
def _changing(name: str, *, home: Path) -> Iterator[tuple[Path, _Index]]:
    """The name's folder and index, while nobody else changes them."""
    folder = _folder(name, home=home)
    if not (folder / "index.json").exists():
        raise UsageError(
            f"there is no registered model {name!r}",
            where=str(home / "registry"),
            remedy=f"There are: {', '.join(names(home=home)) or 'none'}.",
        )
    with atomic.locked(folder / "lock"):
        yield folder, _read_index(folder, name=name)


def _require(index: _Index, number: int, *, asked: str) -> None:
    if number not in index.versions:
        known = ", ".join([*map(str, index.versions), *index.named()])
        raise UsageError(
            f"there is no version {asked}",
            where=index.name,
            remedy=f"There are: {known or 'none'}.",
        )


def _load(folder: Path, number: int, index: _Index) -> ModelVersion:
    place = folder / str(number)
    stored = ModelVersion.from_json(atomic.read_json(place / "version.json"))
    is_champion = bool(index.champions) and index.champions[-1] == number
    return replace(stored, path=str(place), model=str(place / stored.model), champion=is_champion)


def _model_file(run_dir: Path) -> Path:
    """The model the run says it saved, if that is a name a model may have; else one of the usual
    two.
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
            "The script must train a model of a framework that can be saved; see `mlops show` for "
            "what was seen."
        ),
    )


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A fresh folder that is locked while its writer lives, and removed unless it was renamed."""
    staging = folder / f".staging-{os.getpid()}-{os.urandom(6).hex()}"
    # The name's lock is held so that no sweep sees the folder between its making and its own lock.
    with atomic.locked(folder / "lock"):
        staging.mkdir(mode=0o755)
        descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield staging
    finally:
        os.close(descriptor)
        shutil.rmtree(staging, ignore_errors=True)


def _prepare(folder: Path, name: str) -> None:
    """Have an index, and nothing left of earlier writers; the caller holds the lock."""
    if not (folder / "index.json").exists():
        _write_index(folder, _read_index(folder, name=name))
    _sweep(folder)


def _sweep(folder: Path) -> None:
    """Remove what killed writers and garbage collections left; the caller holds the lock."""
    known = {str(number) for number in _read_index(folder).versions}
    for place in folder.iterdir():
        abandoned = place.name.startswith(".staging-") and not _is_held(place)
        if abandoned or (place.name.isdecimal() and place.name not in known):
            shutil.rmtree(place, ignore_errors=True)
        elif place.name.startswith(".index.json."):
            place.unlink(missing_ok=True)


def _is_held(place: Path) -> bool:
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _copy(source: Path, target: Path, *, inside: Path, limit_bytes: int) -> str:
    """Copy what a container wrote, without trusting it, and return its sha256."""
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


def _copy_names(run_dir: Path, staging: Path) -> None:
    """Copy the names of the examples that the model was trained on, if the run left them."""
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


def _search(run_dir: Path) -> dict[str, object] | None:
    """What was asked of the search that found the model; None where it is the script's own."""
    with suppress(OSError, ValueError):
        asked = atomic.read_json(run_dir / protocol.SEARCH_REQUEST)
        return asked if isinstance(asked, dict) else None
    return None


def _script_digest(project: Path, entry: str) -> str:
    """sha256 of the entry as it is now, or "" if the project has gone since it was trained."""
    try:
        return hashlib.sha256(files.read(entry, root=project, limit=SCRIPT_LIMIT)).hexdigest()
    except RefusedFileError:
        return ""


def _admit(folder: Path, staging: Path, model: ModelVersion, verdict: Verdict) -> ModelVersion:
    """Number the staged version and make it true; the caller holds the lock."""
    index = _read_index(folder, name=model.name)
    for number in reversed(index.versions):
        known = _load(folder, number, index)
        if (known.run, known.model_digest) == (model.run, model.model_digest):
            return known
    reigning = _load(folder, index.champions[-1], index) if index.champions else None
    model = replace(model, version=index.next)
    becomes_champion, note = _compare(model, verdict, reigning)
    model = replace(model, note=note)
    atomic.write_json(staging / "version.json", model.to_json())
    from mlops_lib.registry.model_card import render

    atomic.write_bytes(
        staging / "card.md", render(model, verdict).encode("utf-8", "backslashreplace")
    )
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
    """Whether the model becomes the champion, and why in words."""
    if reigning is None:
        return True, "the first accepted version"
    held = f"version {reigning.version}"
    against = verdict.against
    by_hand = f"`mlops registry champion {model.name} {model.version}` names it by hand"
    if against is None or against.version != reigning.version:
        return False, f"{held} stays champion: it was not measured on the same examples; {by_hand}"
    if against.better is None:
        return False, f"{held} stays champion, not compared: {against.why}; {by_hand}"
    what = comparison.describe(against, metric=model.metric or "")
    return against.better, what if against.better else f"{held} stays champion; {what}"


def _answers_a_run(model: ModelVersion) -> bool:
    """Whether the run that made the version still exists and names the version's file as its
    answer.
    """
    for name in (
        protocol.RESULT,
        protocol.REGISTERED,
    ):  # of `mlops run`, and of its stages one by one
        with suppress(OSError, ValueError):
            answer = atomic.read_json(Path(model.run_dir, name))
            named = answer.get("model") if isinstance(answer, dict) else None
            if isinstance(named, str) and Path(named).is_relative_to(model.path):
                return True
    return False
