"""A package index of our own on this machine, for builds and for attacks on them."""

from __future__ import annotations

import base64
import datetime
import hashlib
import http.server
import io
import ipaddress
import ssl
import tarfile
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

SECRET = "tr0ub4dor-and-3"


class PackageIndex:
    """A simple index (PEP 503) that serves small wheels, wants a password, and can be made to wait."""

    def __init__(self, *, password: str = SECRET) -> None:
        self._scheme = "http"
        self._password = password
        self.wheels: dict[str, bytes] = {}
        self.passwords: set[str] = set()
        self.paths: list[str] = []
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        index = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.answer(self)

            def do_HEAD(self) -> None:
                index.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Answer)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, host: str = "127.0.0.1") -> str:
        user = f"builder:{self._password}@" if self._password else ""
        return f"{self._scheme}://{user}{host}:{self.port}/simple/"

    def encrypt(self, folder: Path) -> Path:
        """From now on it answers by TLS only; the bundle of certificates that trusts it."""
        bundle, own = folder / "authority.pem", folder / "own.pem"
        authority, certificate = _certificates()
        bundle.write_bytes(authority)
        own.write_bytes(certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "https"
        return bundle

    def add_sdist(
        self,
        name: str,
        version: str = "1.0",
        *,
        backend: str,
        files: Mapping[str, str] | None = None,
    ) -> None:
        """A source distribution that is built by a backend of its own, the text of a module."""
        project = (
            '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n'
            f'[project]\nname = "{name}"\nversion = "{version}"\n'
        )
        info = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            for path, text in {
                "pyproject.toml": project,
                "own.py": backend,
                "PKG-INFO": info,
                **(files or {}),
            }.items():
                entry = tarfile.TarInfo(f"{name}-{version}/{path}")
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))
        self.wheels[f"{name}-{version}.tar.gz"] = content.getvalue()

    def add(
        self,
        name: str,
        version: str = "1.0",
        *,
        requires: str = "",
        files: Mapping[str, str] | None = None,
    ) -> None:
        """A wheel with one module of the same name, and further files."""
        info = f"{name}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + (
            f"Requires-Dist: {requires}\n" if requires else ""
        )
        files = {
            f"{name}.py": f"version = {version!r}\n",
            f"{info}/METADATA": metadata,
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            **(files or {}),
        }
        record = (
            "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items())
            + f"{info}/RECORD,,\n"
        )
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for path, text in {**files, f"{info}/RECORD": record}.items():
                archive.writestr(path, text)
        self.wheels[f"{name}-{version}-py3-none-any.whl"] = content.getvalue()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Basic ")
        password = base64.b64decode(given).decode().partition(":")[2]
        self.passwords.add(password)
        parts = unquote(request.path).strip("/").split("/")
        self.paths.append(request.path)
        if password != self._password:
            self._send(request, 401, b"")
        elif parts[0] == "files" and parts[-1] in self.wheels:
            if request.command == "GET":
                self.asked.set()
                self.go_on.wait(60)
            self._send(request, 200, self.wheels[parts[-1]])
        else:
            names = [
                wheel
                for wheel in self.wheels
                if wheel.startswith(parts[-1].replace("-", "_") + "-")
            ]
            links = "".join(f'<a href="/files/{name}">{name}</a>' for name in names)
            self._send(
                request, 200 if names else 404, f"<html><body>{links}</body></html>".encode()
            )

    def _send(
        self, request: http.server.BaseHTTPRequestHandler, status: int, content: bytes
    ) -> None:
        request.send_response(status)
        if status == 401:
            request.send_header("WWW-Authenticate", 'Basic realm="index"')
        request.send_header(
            "Content-Type",
            "text/html" if not content.startswith(b"PK") else "application/octet-stream",
        )
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(content)

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()


def _certificates() -> tuple[bytes, bytes]:
    """An authority's certificate, and a key with the certificate that it gave to 127.0.0.1; all
    PEM.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority, key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])

    def signed(name: str, whose: ec.EllipticCurvePrivateKey, more: x509.ExtensionType) -> bytes:
        subject, issuer = (
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, one)])
            for one in (name, "a company's authority")
        )
        number, until = x509.random_serial_number(), now + datetime.timedelta(1)
        builder = x509.CertificateBuilder(issuer, subject, whose.public_key(), number, now, until)
        certificate = builder.add_extension(more, critical=False).sign(authority, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM)

    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    root = signed(
        "a company's authority", authority, x509.BasicConstraints(ca=True, path_length=None)
    )
    return root, private + signed("a company's index", key, address)


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
