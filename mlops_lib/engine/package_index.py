"""Where packages come from on this machine: the operator's settings of pip, carried into builds and
into no layer.

pip reads files and `PIP_*` variables that a build cannot see, and uv reads neither. What concerns
the index is collected here once and given to each in its own form.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote

KEYS = (
    "index-url",
    "extra-index-url",
    "trusted-host",
    "proxy",
    "timeout",
    "default-timeout",
    "retries",
    "find-links",
)
"""Settings that make sense on another file system; a cache folder or a client certificate's path
does not.
"""
LISTS = {"extra-index-url", "trusted-host", "find-links"}
SECTIONS = ("global", "install")
CERTIFICATES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>[^\s'\"<>)\]}]+)", re.IGNORECASE)
HIDDEN = "****"


def settings(
    environ: Mapping[str, str] = os.environ, files: tuple[Path, ...] | None = None
) -> dict[str, str]:
    """pip's settings of the index: its files in their order, over them the `PIP_*` variables.

    Args:
        environ: the environment.
        files: configuration files, later ones win; where pip looks unless given. Lists are
            separated by white space.
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
    shared = [
        Path(folder) / "pip" / "pip.conf"
        for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")
    ]
    named = environ.get("PIP_CONFIG_FILE")
    return (
        *map(Path, mac),
        *shared,
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        *own,
        user / "pip" / "pip.conf",
        Path(sys.prefix) / "pip.conf",
        *((Path(named),) if named else ()),
    )


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


def pip_conf(found: Mapping[str, str], *, cert: str = "") -> str:
    """The same settings as a pip.conf for a build, "" where there are none.

    Args:
        found: the settings.
        cert: where the build will find the certificates.
    """
    lines = {key: value for key, value in found.items() if key != "cert"}
    if cert:
        lines["cert"] = cert
    if not lines:
        return ""
    text = ["[global]"]
    for key, value in lines.items():
        text.append(f"{key} = " + ("\n    ".join(value.split()) if key in LISTS else value))
    return "\n".join(text) + "\n"


def proxy_script(environ: Mapping[str, str] = os.environ) -> str:
    """The proxies as commands of a shell, "" where there are none."""
    given = [(name, environ[name]) for name in PROXIES if environ.get(name)]
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in given)


class Mask:
    """Hides the credentials of the operator's URLs in what installers print.

    pip hides a password before a host, but no token in a path or a query, and a proxy's not at all.
    Of an address of one of the operator's hosts only the host and the last part of the path are
    left; a user's name and password are left out wherever they stand, as they are or
    percent-encoded.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        found = settings(environ)
        given = [
            *(
                url
                for key in ("index-url", "extra-index-url", "find-links", "proxy")
                for url in found.get(key, "").split()
            ),
            *(environ[name] for name in PROXIES if "no_" not in name.lower() and environ.get(name)),
            *(
                value
                for name, value in environ.items()
                if name.startswith("UV_")
                for value in re.split(r"[\s,]+", value)
            ),
        ]
        urls = [url for url in given if "/" in url or "@" in url]
        self._hosts = {_host(url) for url in urls} - {""}
        self._words = sorted(
            {word for url in urls for word in _credentials(url)}, key=len, reverse=True
        )

    def __call__(self, text: str) -> str:
        """The text without credentials."""
        text = _URL.sub(self._shortened, text)
        for word in self._words:
            text = text.replace(word, HIDDEN)
        return text

    def _shortened(self, found: re.Match[str]) -> str:
        authority, _, path = found["rest"].partition("/")
        host = _host(found[0])
        if host not in self._hosts and "@" not in authority:
            return found[0]
        last = re.split(r"[?#]", path)[0].rstrip("/").rpartition("/")[2]
        if not host or not path:
            return f"{found['scheme']}://{host}"
        return (
            f"{found['scheme']}://{host}/…/{last}"
            if "." in last
            else f"{found['scheme']}://{host}/…"
        )


def without_credentials(url: str) -> str:
    """A URL without its user's name and password.

    Example:
        >>> without_credentials("http://user:pass/word@proxy.example:3128")
        'http://proxy.example:3128'
    """
    scheme, found, rest = url.rpartition("://") if "://" in url else ("", "", url)
    return scheme + found + rest.rpartition("@")[2]


def _without_scheme(url: str) -> str:
    return url.partition("://")[2] or url


def _host(url: str) -> str:
    """The host and port of a URL, whatever its user's name and password hold."""
    rest = _without_scheme(url)
    return re.split(r"[/?#]", rest.rpartition("@")[2] if "@" in rest else rest)[0].lower()


def _credentials(url: str) -> Iterable[str]:
    """What a URL has before its host, and what else of it could be a token: longer parts of its
    path and its query.
    """
    rest = _without_scheme(url)
    user, _, place = rest.rpartition("@")
    words = [user, user.partition(":")[2]]  # a user without a password is a token
    path, _, query = place.partition("?")
    words += [part for part in path.split("/")[1:] if len(part) >= 16]
    words += [value.rpartition("=")[2] for value in query.split("&")]
    for word in words:
        for form in (word, unquote(word), quote(word, safe=""), quote(unquote(word), safe="")):
            if len(form) >= 4 and form not in ("simple", "index"):
                yield form


def variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What an installer on this machine needs of the environment: settings of pip and uv, and no
    secret of ours.
    """
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
    """Return the variable that makes uv read the user's own settings, or none: it looks in the
    current folder otherwise.
    """
    home = Path(environ.get("HOME") or "/")
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "uv" / "uv.toml"
    own = next((path for path in (user, Path("/etc/uv/uv.toml")) if path.is_file()), None)
    return {"UV_NO_CONFIG": "1"} if own is None else {"UV_CONFIG_FILE": str(own)}
