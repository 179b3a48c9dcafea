"""Find the causes of a failure in an installer's log."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from mlops_lib.environments.requirement import name_of, normal, read
from mlops_lib.environments.tables import tables


class Trouble(NamedTuple):
    """A problem that no other version of a requirement would solve."""

    sign: re.Pattern[str]
    what: str
    remedy: str


UNREACHABLE = (
    Trouble(
        re.compile(r"CERTIFICATE_VERIFY_FAILED|invalid peer certificate"),
        "the package index shows a certificate that is not trusted",
        "Name the bundle of its authority with PIP_CERT, or in pip's settings (cert); builds use it"
        " too, and keep nothing of it.",
    ),
    Trouble(
        re.compile(r"\b40[137] (Client )?Error"),
        "the package index refuses access",
        "See that PIP_INDEX_URL, or pip's settings, name the index and who may read it.",
    ),
    Trouble(
        re.compile(r"No space left on device"),
        "the disk is full",
        "`mlops images --prune` removes what no run needs.",
    ),
    Trouble(
        re.compile(
            r"Retrying \(Retry\(total=0\b|Failed to fetch:|Temporary failure in name resolution"
            r"|Could not fetch URL .*: connection error"
        ),
        "the package index does not answer",
        "See that it can be reached (PIP_INDEX_URL, http_proxy; `mlops doctor` asks it), and build"
        " again.",
    ),
)


REFUSAL = re.compile(
    r"ERROR: (No matching|Could not|Cannot"
    r" install|Ignored|Failed|ResolutionImpossible|Package|Invalid)|No solution found"
    r"|subprocess-exited-with-error|[Ff]ailed to build|E: Unable to locate package|E: Package .*"
    r" has no installation candidate"
)
"""Messages of pip, uv and apt that blame a requirement, not the engine or the machine."""


_NAME = r"([A-Za-z0-9][A-Za-z0-9._-]*)"


NOT_BUILT = (
    r"[Ff]ailed (?:building wheel for|to build|to download and build):?"
    rf" ['`]?{_NAME}?(?:==|@|[-'`\s]|$)"
)


_REFUSED = (
    rf"No matching distribution found for {_NAME}",
    rf"requirement {_NAME}\S* \(from versions",
    rf"The user requested {_NAME}",
    NOT_BUILT,
    rf"[Bb]ecause there (?:is|are) no versions? of {_NAME}",
    rf"[Bb]ecause {_NAME} was not found",
)


_REQUIRED = re.compile(r"you require ([^,\n]*)")


_COLLECTING = re.compile(
    rf"(?:Collecting|Building wheel for|Running setup\.py install for) {_NAME}"
)


_NO_PACKAGE = re.compile(
    r"E: (?:Unable to locate package ([a-z0-9.+-]+)|Package '?([a-z0-9.+-]+)'? has no installation"
    r" candidate)"
)


def is_refusal(log: str) -> bool:
    """Return whether a requirement caused the installer's failure."""
    return REFUSAL.search(log) is not None and trouble(log) is None


def trouble(log: str) -> Trouble | None:
    """Return the problem between an installer and its index, or None."""
    return next((one for one in UNREACHABLE if one.sign.search(log)), None)


def refused_distributions(log: str) -> list[str]:
    """Return the distributions that a failed installer (pip, uv) names as the reason."""
    names = [normal(match) for pattern in _REFUSED for match in re.findall(pattern, log) if match]
    # uv: "you require tensorflow-cpu{…}==2.21.* and scipy==1.9.*, we can conclude …"
    for phrase in _REQUIRED.findall(log):
        names += [normal(name) for name in re.findall(rf"(?:^| and ){_NAME}", phrase)]
    current = ""
    for line in log.splitlines():
        collecting = _COLLECTING.search(line)
        current = collecting[1] if collecting else current
        if current and (
            "finished with status 'error'" in line or "subprocess-exited-with-error" in line
        ):
            names.append(normal(current))
    return list(dict.fromkeys(names))


_NO_WHEEL = (
    # pip
    re.compile(
        r"Could not find a version that satisfies the requirement ([^\n(]+?) (?:\(from [^\n]*?\)"
        r" )?\(from versions: "
    ),
    # uv
    re.compile(
        rf"[Bb]ecause (?:all versions of )?({_NAME}(?:[<>=!~]=?[A-Za-z0-9.*+!]+)?) ha(?:s|ve) no"
        r" (?:usable )?wheels"
    ),
    re.compile(rf"Wheels are required for `({_NAME})`"),
)


def without_wheel(log: str) -> list[str]:
    """Return the requirements for which a failed installer (pip, uv) found no wheel.

    There is one for each distribution. The log does not reveal whether a source distribution
    exists.
    """
    names = (match[1].strip() for pattern in _NO_WHEEL for match in pattern.finditer(log))
    lines: dict[str, str] = {}
    for line in names:
        if name_of(line):
            lines.setdefault(name_of(line), line)
    return list(lines.values())


_NO_RELEASE = re.compile(
    r"(?:satisfies the requirement|[Bb]ecause there (?:is|are) no versions? of)"
    rf" ({_NAME})==([A-Za-z0-9.+!_-]+)"
)


def without_release(log: str) -> list[str]:
    """Return releases, as `name==version`, that pip or uv found the index to lack."""
    return [f"{normal(match[1])}=={match[match.re.groups]}" for match in _NO_RELEASE.finditer(log)]


_NO_TORCH = re.compile(
    r"(?:No matching distribution found for|[Bb]ecause there (?:is|are) no versions? of"
    r"|[Bb]ecause only|[Bb]ecause)\s+((?:torch|torchvision|torchaudio)\b\S*)"
)


def without_torch(log: str) -> str:
    """Return the distribution of PyTorch that an index lacks by an installer's output, or ""."""
    match = _NO_TORCH.search(log)
    return match[1].rstrip(".,;:") if match else ""


def compiler_problem(lines: Sequence[str], log: str, needed: Collection[str]) -> Trouble | None:
    """Return the problem of an imported distribution that cannot be compiled, or None.

    No version is left to loosen in that case.
    """
    bare = {line.name for line in map(read, lines) if line is not None and not line.versions}
    name = next(
        (
            name
            for name in map(normal, re.findall(NOT_BUILT, log))
            if name in bare and name in needed
        ),
        "",
    )
    if not name:
        return None
    packages = (
        ", ".join(tables()["system"].get(name, ()))
        or "the libraries that the compiler misses above"
    )
    remedy = (
        f"Install {packages} (the Debian names) and build again; for --backend docker, name them"
        " in apt.txt."
    )
    return Trouble(
        re.compile(re.escape(name)), f"{name} has to be compiled, and that fails", remedy
    )


def unknown_packages(log: str) -> set[str]:
    """Return the Debian packages that apt does not have."""
    return {one or other for one, other in _NO_PACKAGE.findall(log)}
