"""Where packages come from on this machine: the operator's settings of pip, carried into builds and into no layer.

pip reads files and `PIP_*` variables that a build cannot see, and uv reads neither. What concerns the index is collected
here once and given to each in its own form.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

KEYS = (
    "index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries", "find-links", "only-binary",
    "prefer-binary",
)  # fmt: skip
"""Settings that make sense on another file system; a cache folder or a client certificate's path does not."""
LISTS = {"extra-index-url", "trusted-host", "find-links"}
SECTIONS = ("global", "install")
CERTIFICATES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_CREDENTIALS = re.compile(r"://[^/\s@]+@")


def settings(environ: Mapping[str, str] = os.environ, files: tuple[Path, ...] | None = None) -> dict[str, str]:
    """pip's settings of the index: its files in their order, over them the `PIP_*` variables.

    Args:
        environ: the environment.
        files: configuration files, later ones win; where pip looks unless given. Lists are separated by white space.
    """
    found: dict[str, str] = {}
    for path in config_files(environ) if files is None else files:
        found.update(_read(path))
    for key in (*KEYS, "cert"):
        value = environ.get("PIP_" + key.upper().replace("-", "_"))
        if value:
            found[key] = value
    links = [link for link in found.pop("find-links", "").split() if "://" in link]
    return {**found, "find-links": " ".join(links)} if links else found


def config_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where pip looks for its settings (pip's documentation, "Configuration")."""
    home = Path(environ.get("HOME") or "/")
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    mac = ("/Library/Application Support/pip/pip.conf",) if sys.platform == "darwin" else ()
    own = (home / "Library/Application Support/pip/pip.conf",) if sys.platform == "darwin" else ()
    shared = [Path(folder) / "pip" / "pip.conf" for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")]
    named = environ.get("PIP_CONFIG_FILE")
    return (
        *map(Path, mac), *shared, Path("/etc/pip.conf"), home / ".pip" / "pip.conf", *own, user / "pip" / "pip.conf",
        Path(sys.prefix) / "pip.conf", *((Path(named),) if named else ()),
    )  # fmt: skip


def _read(path: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        return {}  # pip itself says what is wrong with it
    return {
        key: " ".join(value.split())
        for section in SECTIONS
        if parser.has_section(section)
        for key, value in parser.items(section)
        if key in KEYS or key == "cert"
    }


def certificates(found: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> Path | None:
    """The bundle of certificates to trust instead of the usual one, None if nobody asked for one."""
    named = [found.get("cert"), *(environ.get(name) for name in CERTIFICATES)]
    return next((Path(path) for path in named if path and Path(path).is_file()), None)


def pip_conf(found: Mapping[str, str], *, cert: str = "", only_wheels: Sequence[str] = ()) -> str:
    """The same settings as a pip.conf for a build, "" where there are none.

    Where they hold a password, nothing is built from source: a source distribution runs its own code while pip
    can read this file.

    Args:
        found: the settings.
        cert: where the build will find the certificates.
        only_wheels: distributions that are not built from source. Here and not in the Dockerfile: a longer list makes no
            other image.
    """
    lines = {key: value for key, value in found.items() if key != "cert"}
    if cert:
        lines["cert"] = cert
    if _CREDENTIALS.search(" ".join(found.values())):
        lines["only-binary"] = ":all:"
    elif only_wheels and "only-binary" not in lines:
        lines["only-binary"] = ",".join(only_wheels)
    if not lines:
        return ""
    text = ["[global]"]
    for key, value in lines.items():
        text.append(f"{key} = " + ("\n    ".join(value.split()) if key in LISTS else value))
    return "\n".join(text) + "\n"


def variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What an installer on this machine needs of the environment: settings of pip and uv, and no secret of ours."""
    found = settings(environ)
    given = {name: value for name, value in environ.items() if name.startswith(("PIP_", "UV_"))}
    bundle = certificates(found, environ)
    uv = {
        "UV_DEFAULT_INDEX": found.get("index-url"),
        "UV_INDEX": found.get("extra-index-url"),
        "UV_INSECURE_HOST": found.get("trusted-host"),
        "UV_FIND_LINKS": ",".join(found.get("find-links", "").split()),
        "UV_HTTP_TIMEOUT": found.get("timeout"),
        "SSL_CERT_FILE": str(bundle) if bundle else None,
    }
    return {**_uv_file(environ), **{name: value for name, value in uv.items() if value}, **given}


def _uv_file(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that makes uv read the user's own settings, or none: it looks in the current folder otherwise."""
    home = Path(environ.get("HOME") or "/")
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "uv" / "uv.toml"
    own = next((path for path in (user, Path("/etc/uv/uv.toml")) if path.is_file()), None)
    return {"UV_NO_CONFIG": "1"} if own is None else {"UV_CONFIG_FILE": str(own)}
