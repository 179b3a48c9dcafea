"""Source distributions: found and inspected without running them, then built.

A source distribution runs code of its own when it is built. So the build step knows no secret, no
proxy and no cache, has no network, and runs as an unprivileged user. It gets files that were
downloaded before: the archive, identified by its hash, and the wheels of its build requirements.
Its product is accepted only if it is a wheel of the same distribution in the same version.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import ssl
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mlops_lib import atomic
from mlops_lib.engine import package_index
from mlops_lib.environments import installer_log, requirement
from mlops_lib.errors import ImageError
from mlops_lib.project import toml

ARCHIVE_BYTES = 512 << 20
"""Size in bytes of the largest archive that is downloaded, and of the largest accepted wheel."""
UNPACKED_BYTES = 4 << 30
MEMBERS = 100_000
PYPROJECT_BYTES = 1 << 20
METADATA_BYTES = 1 << 20
LEGACY = ("setuptools<81", "wheel")
"""Build requirements of a project that names none: a setuptools that still has `pkg_resources`."""
ROUNDS = 4
"""Number of times that a build may request further requirements (`setup_requires`)."""
ARCHIVES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TEXT = re.compile(r"([a-z0-9][a-z0-9.-]*)==([A-Za-z0-9.+!_-]+) --hash=sha256:([0-9a-f]{64})")

OnLine = Callable[[str], None]


class Source(NamedTuple):
    """One source distribution, identified by its content."""

    name: str
    """Normalised name of the distribution."""
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"

    @classmethod
    def read(cls, text: str) -> Source:
        """Return the source that its `str` describes.

        Raises:
            ImageError: the text does not describe a source.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ImageError(f"{text!r} names no source distribution", remedy="Build again.")
        return cls(*match.groups())


def printable(line: str) -> str:
    """Return a line of a build's output without control sequences."""
    return _CONTROL.sub("", line)


class Builder(Protocol):
    """Builds one source distribution in a cage: no network, no secret, no privilege."""

    identity: str
    """The inputs besides the archive that decide the result: base or interpreter, CPU."""

    def __call__(
        self, archive: Path, requires: Sequence[str], *, on_line: OnLine
    ) -> list[tuple[str, bytes]]:
        """Return the files that the build left, by name; the caller validates them.

        Raises:
            ImageError: the build failed; the error carries the end of its log.
        """


def find(line: str, *, python: str) -> Source | None:
    """Return the newest source distribution that a requirement allows, or None.

    Args:
        line: a requirement.
        python: version of the Python that it is for.
    """
    parsed = requirement.read(line)
    if parsed is None:
        return None
    with _finder(python) as finder, tempfile.TemporaryDirectory(prefix="mlops-sdist-") as folder:
        package = _newest(finder, str(parsed._replace(extras="", marker="")))
        if package is None or not package.version:
            return None
        archive = _download(finder, package.link, Path(folder))
        return Source(parsed.name, package.version, _sha256(archive))


def _newest(finder: Any, line: str) -> Any:
    candidates = (
        candidate
        for candidate in finder.find_matches(line)
        if not candidate.link.is_wheel and not candidate.link.is_vcs
    )
    return next(
        (candidate for candidate in candidates if candidate.link.filename.endswith(ARCHIVES)), None
    )


@contextmanager
def _finder(python: str) -> Iterator[Any]:
    """Yield unearth's finder with the operator's pip settings; it executes no package.

    Raises:
        ImageError: the index does not answer.
    """
    import httpx2
    from unearth import PackageFinder, TargetPython
    from unearth.auth import MultiDomainBasicAuth
    from unearth.errors import UnpackError
    from unearth.fetchers import PyPIClient

    index = package_index.settings()
    bundle = package_index.certificates(index)
    verify = ssl.create_default_context(cafile=str(bundle)) if bundle else True
    timeout = float(index.get("timeout") or index.get("default-timeout") or 15)
    trusted = index.get("trusted-host", "").split()
    urls = [*index.get("index-url", "").split(), *index.get("extra-index-url", "").split()]
    logging.getLogger("unearth").setLevel(
        logging.CRITICAL
    )  # its messages hold the index's address as it was given
    session: Any = PyPIClient(
        trusted_hosts=trusted,
        verify=verify,
        proxy=index.get("proxy") or None,
        timeout=timeout,
        follow_redirects=True,
    )
    session.auth = MultiDomainBasicAuth(prompting=False, index_urls=urls)
    version = tuple(int(part) for part in python.split(".")[:2])
    finder = PackageFinder(
        session, trusted_hosts=trusted, target_python=TargetPython(py_ver=version)
    )
    if index.get("index-url"):
        finder.sources.clear()
    for url in urls:
        finder.add_index_url(url)
    for url in index.get("find-links", "").split():
        finder.add_find_links(url)
    try:
        with session:
            yield finder
    except (httpx2.HTTPError, UnpackError, OSError, ValueError) as error:
        reason = package_index.Mask()(str(error))
        raise ImageError(
            f"a source distribution cannot be downloaded: {reason[:300]}",
            where="package index",
            remedy="See that the index can be reached (`mlops doctor`), and build again.",
        ) from None


def _download(finder: Any, link: Any, folder: Path) -> Path:
    from unearth.preparer import download_link

    def bounded(completed: int, **_: Any) -> None:
        if completed > ARCHIVE_BYTES:
            raise ValueError(f"{link.filename} is larger than {ARCHIVE_BYTES >> 20} MiB")

    def report(*given: Any, **named: Any) -> None:
        bounded(int(named.get("completed", given[1] if len(given) > 1 else 0)))

    place: Path = download_link(
        finder.session, link, folder, link.hash_option, download_reporter=report
    )
    if not place.is_file():
        raise ValueError(f"{link.filename} is no file")
    return place


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fetch(source: Source, folder: Path, *, python: str) -> Path:
    """Download a source distribution into a folder.

    Raises:
        ImageError: the index does not have it any more, or has another file under its name.
    """
    with _finder(python) as finder:
        package = _newest(finder, f"{source.name}=={source.version}")
        archive = None if package is None else _download(finder, package.link, folder)
    if archive is None or _sha256(archive) != source.sha256:
        raise ImageError(
            "the index has no such source distribution any more, or another file under its name",
            where=str(source),
            remedy="Remove the answer below environments/answers in mlops' home, and build again.",
        )
    return archive


def build_requires(archive: Path) -> tuple[str, ...]:
    """Return the static build requirements of a source distribution (PEP 518).

    Raises:
        ImageError: one is not a name with versions, or the archive cannot be read.
    """
    try:
        text = _pyproject(archive)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, ValueError) as error:
        raise ImageError(
            f"the archive cannot be read: {error}", where=archive.name, remedy="Pin another."
        ) from None
    try:
        system = toml.parse(text).get("build-system", {})
        entries = system.get("requires")
    except (ValueError, AttributeError):
        entries = None
    if not isinstance(entries, list):
        return LEGACY
    for entry in entries:
        if not isinstance(entry, str) or requirement.read(entry) is None:
            raise ImageError(
                f"its build requires {str(entry)[:80]!r}, which is not a name with versions",
                where=archive.name,
                remedy="Pin a release that has a wheel, or put a wheel of it where PIP_FIND_LINKS"
                " names it.",
            )
    names = {requirement.name_of(entry) for entry in entries}
    return (*entries, "wheel") if "setuptools" in names and "wheel" not in names else tuple(entries)


def _pyproject(archive: Path) -> str:
    """Return the text of an archive's pyproject.toml without unpacking it.

    The text is "" if it has none.
    """
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist()[:MEMBERS]:
                if _is_pyproject(info.filename) and info.file_size <= PYPROJECT_BYTES:
                    return opened.read(info)[:PYPROJECT_BYTES].decode("utf-8", "replace")
        return ""
    with tarfile.open(archive) as opened_tar:
        unpacked = 0
        for number, member in enumerate(opened_tar):
            unpacked += member.size
            if number > MEMBERS or unpacked > UNPACKED_BYTES:
                raise ValueError("it holds too much")
            if member.isreg() and _is_pyproject(member.name) and member.size <= PYPROJECT_BYTES:
                stream = opened_tar.extractfile(member)
                return stream.read(PYPROJECT_BYTES).decode("utf-8", "replace") if stream else ""
    return ""


def _is_pyproject(name: str) -> bool:
    parts = name.removeprefix("./").split("/")
    return len(parts) == 2 and parts[1] == "pyproject.toml"


def wheels(
    texts: Sequence[str], builder: Builder, *, python: str, cache: Path, on_line: OnLine
) -> list[Path]:
    """Return the wheels of an environment's source distributions.

    Missing ones are built.

    A wheel is cached under the digest of its sources, so that only the same archive, built in the
    same way, gets it.

    Args:
        texts: the source distributions.
        builder: builds them in a cage.
        python: version of the Python that they are for.
        cache: folder that only this program writes.
        on_line: receives the builds' output.

    Raises:
        ImageError: one cannot be downloaded or built; the error carries the end of the log.
    """
    return [
        _wheel(Source.read(text), builder, python=python, cache=cache, on_line=on_line)
        for text in texts
    ]


def _wheel(source: Source, builder: Builder, *, python: str, cache: Path, on_line: OnLine) -> Path:
    key = hashlib.sha256("\0".join([str(source), builder.identity, python]).encode()).hexdigest()[
        :32
    ]
    wheels = sorted((cache / key).glob("*.whl"))
    if wheels:
        return wheels[0]
    on_line(
        f"{source.name} {source.version} has no wheel: it is built without network, secrets and"
        " privileges"
    )
    with tempfile.TemporaryDirectory(prefix="mlops-sdist-") as folder:
        archive = fetch(source, Path(folder), python=python)
        name, content = _built(source, archive, builder, on_line)
    atomic.write_bytes(cache / key / name, content)
    return cache / key / name


def _built(source: Source, archive: Path, builder: Builder, on_line: OnLine) -> tuple[str, bytes]:
    requires = list(build_requires(archive))
    for number in range(ROUNDS):
        try:
            return valid_wheel(source, builder(archive, requires, on_line=on_line))
        except ImageError as error:
            names = {requirement.name_of(line) for line in requires}
            more = [
                name
                for name in installer_log.refused_distributions(error.log)
                if name not in names | {source.name}
            ]
            if not more or number == ROUNDS - 1:
                sign = f"ERROR: Failed building wheel for {source.name}\n"
                raise ImageError(
                    error.what, where=error.where, remedy=error.remedy, log=error.log + sign
                ) from None
            requires += more
    raise AssertionError("the last failure is raised")


def valid_wheel(source: Source, files: Sequence[tuple[str, bytes]]) -> tuple[str, bytes]:
    """Return the one file that is a wheel of the source distribution.

    Raises:
        ImageError: there is none, or it has a requirement with a URL.
    """
    from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
    from packaging.version import Version

    for name, content in files:
        try:
            distribution, version, _, _ = parse_wheel_filename(name)
            same = canonicalize_name(distribution) == source.name and version == Version(
                source.version
            )
        except (InvalidWheelFilename, ValueError):
            continue
        if same and len(content) <= ARCHIVE_BYTES:
            _check_wheel(source, content)
            return name, content
    raise ImageError(
        "its build left no wheel of that name and version",
        where=f"{source.name} {source.version}",
        remedy="Pin a release that has a wheel.",
    )


def _check_wheel(source: Source, content: bytes) -> None:
    """Refuse a wheel with a URL requirement, which an installer would build."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as opened:
            metadata = [
                member
                for member in opened.infolist()
                if re.fullmatch(r"[^/]+\.dist-info/METADATA", member.filename)
            ]
            if len(metadata) != 1 or metadata[0].file_size > METADATA_BYTES:
                raise ValueError("its metadata is not there, or too large")
            text = opened.read(metadata[0]).decode("utf-8", "replace")
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise ImageError(
            f"its build left no sound wheel: {error}", where=str(source), remedy="Pin another."
        ) from None
    for line in text.splitlines():
        if (
            line.lower().startswith("requires-dist:")
            and requirement.read(_requirement(line)) is None
        ):
            raise ImageError(
                f"it requires {_requirement(line)[:80]!r}: only names with versions are accepted",
                where=f"{source.name} {source.version}",
                remedy="Pin another release.",
            )


def _requirement(line: str) -> str:
    return line.partition(":")[2].strip()
