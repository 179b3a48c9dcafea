"""The operator's package index settings, passed to builds but stored in no layer.

pip reads files and `PIP_*` variables that a build cannot see, and uv reads neither. The settings
about the index are collected here once and given to each tool in its own form.
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
"""Settings that are valid on another file system.

Cache folders and client certificates are not.
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
    """Return pip's index settings: its files, overridden by the `PIP_*` variables.

    Args:
        environ: the environment.
        files: configuration files, of which later ones win; by default pip's own. White space
            separates the items of a list.
    """
    values: dict[str, str] = {}
    for path in config_files(environ) if files is None else files:
        values.update(_read(path))
    for key in (*KEYS, "cert"):
        value = environ.get("PIP_" + key.upper().replace("-", "_"))
        if value:
            values[key] = value
    links = [link for link in values.pop("find-links", "").split() if "://" in link]
    return {**values, "find-links": " ".join(links)} if links else values


def config_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the paths of pip's settings (pip's documentation, "Configuration")."""
    home = Path(environ.get("HOME") or "/")
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    mac = ("/Library/Application Support/pip/pip.conf",) if sys.platform == "darwin" else ()
    own = (home / "Library/Application Support/pip/pip.conf",) if sys.platform == "darwin" else ()
    shared = [
        Path(folder) / "pip" / "pip.conf"
        for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")
    ]
    configured = environ.get("PIP_CONFIG_FILE")
    return (
        *map(Path, mac),
        *shared,
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        *own,
        user / "pip" / "pip.conf",
        Path(sys.prefix) / "pip.conf",
        *((Path(configured),) if configured else ()),
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


def certificates(
    settings: Mapping[str, str], environ: Mapping[str, str] = os.environ
) -> Path | None:
    """Return the operator's certificate bundle, or None if none is configured."""
    paths = [settings.get("cert"), *(environ.get(name) for name in CERTIFICATES)]
    return next((Path(path) for path in paths if path and Path(path).is_file()), None)


def pip_conf(settings: Mapping[str, str], *, cert: str = "") -> str:
    """Return the settings as a pip.conf for a build; "" if there are none.

    Args:
        settings: the settings.
        cert: path of the certificates in the build.
    """
    lines = {key: value for key, value in settings.items() if key != "cert"}
    if cert:
        lines["cert"] = cert
    if not lines:
        return ""
    text = ["[global]"]
    for key, value in lines.items():
        text.append(f"{key} = " + ("\n    ".join(value.split()) if key in LISTS else value))
    return "\n".join(text) + "\n"


def without_indexes(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a step that uses one other index only."""
    indexes = ("index-url", "extra-index-url", "find-links")
    return {key: value for key, value in settings.items() if key not in indexes}


def proxy_script(environ: Mapping[str, str] = os.environ) -> str:
    """Return the proxies as shell commands; "" if there are none."""
    proxies = [(name, environ[name]) for name in PROXIES if environ.get(name)]
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in proxies)


class Mask:
    """Removes the credentials in the operator's URLs from the output of installers.

    pip hides a password before a host, but no token in a path or a query, and no password of a
    proxy. Of a URL on one of the operator's hosts, only the host and the last part of the path
    remain. User names and passwords are removed wherever they occur, plain or percent-encoded.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        index = settings(environ)
        addresses = [
            *(
                url
                for key in ("index-url", "extra-index-url", "find-links", "proxy")
                for url in index.get(key, "").split()
            ),
            *(environ[name] for name in PROXIES if "no_" not in name.lower() and environ.get(name)),
            *(
                value
                for name, value in environ.items()
                if name.startswith("UV_")
                for value in re.split(r"[\s,]+", value)
            ),
        ]
        urls = [url for url in addresses if "/" in url or "@" in url]
        self._hosts = {_host(url) for url in urls} - {""}
        self._words = sorted(
            {word for url in urls for word in _credentials(url)}, key=len, reverse=True
        )

    def __call__(self, text: str) -> str:
        """Return the text without credentials."""
        text = _URL.sub(self._shortened, text)
        for word in self._words:
            text = text.replace(word, HIDDEN)
        return text

    def _shortened(self, match: re.Match[str]) -> str:
        authority, _, path = match["rest"].partition("/")
        host = _host(match[0])
        if host not in self._hosts and "@" not in authority:
            return match[0]
        last = re.split(r"[?#]", path)[0].rstrip("/").rpartition("/")[2]
        if not host or not path:
            return f"{match['scheme']}://{host}"
        return (
            f"{match['scheme']}://{host}/…/{last}"
            if "." in last
            else f"{match['scheme']}://{host}/…"
        )


def without_credentials(url: str) -> str:
    """Return a URL without its user name and password.

    Example:
        >>> without_credentials("http://user:pass/word@proxy.example:3128")
        'http://proxy.example:3128'
    """
    scheme, separator, rest = url.rpartition("://") if "://" in url else ("", "", url)
    return scheme + separator + rest.rpartition("@")[2]


def _without_scheme(url: str) -> str:
    return url.partition("://")[2] or url


def _host(url: str) -> str:
    """Return host and port of a URL, even with special characters in its password."""
    rest = _without_scheme(url)
    return re.split(r"[/?#]", rest.rpartition("@")[2] if "@" in rest else rest)[0].lower()


def _credentials(url: str) -> Iterable[str]:
    """Return the user name and password of a URL, and the parts that could be a token.

    Those are longer parts of its path and its query.
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
    """Return an installer's variables: settings of pip and uv, no secret of mlops."""
    index = settings(environ)
    own = {name: value for name, value in environ.items() if name.startswith(("PIP_", "UV_"))}
    bundle = certificates(index, environ)
    uv = {
        "UV_DEFAULT_INDEX": index.get("index-url"),
        "UV_INDEX": index.get("extra-index-url"),
        "UV_INSECURE_HOST": index.get("trusted-host"),
        "UV_FIND_LINKS": ",".join(index.get("find-links", "").split()),
        "UV_HTTP_TIMEOUT": index.get("timeout"),
        "SSL_CERT_FILE": str(bundle) if bundle else None,
    }
    return {**_uv_file(environ), **{name: value for name, value in uv.items() if value}, **own}


def variables_for(index: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of an installer that knows one index only."""
    index_settings = without_indexes(settings(environ))
    bundle = certificates(index_settings, environ)
    pip = {f"PIP_{key.upper().replace('-', '_')}": value for key, value in index_settings.items()}
    uv = {
        "UV_INSECURE_HOST": index_settings.get("trusted-host", ""),
        "UV_HTTP_TIMEOUT": index_settings.get("timeout", ""),
        "SSL_CERT_FILE": str(bundle) if bundle else "",
    }
    return {
        **{name: value for name, value in {**pip, **uv}.items() if value},
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": index,
        "UV_DEFAULT_INDEX": index,
        "UV_NO_CONFIG": "1",
    }


def _uv_file(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that makes uv read the user's own settings, if any.

    Otherwise uv searches the current folder for settings.
    """
    home = Path(environ.get("HOME") or "/")
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "uv" / "uv.toml"
    own = next((path for path in (user, Path("/etc/uv/uv.toml")) if path.is_file()), None)
    return {"UV_NO_CONFIG": "1"} if own is None else {"UV_CONFIG_FILE": str(own)}
