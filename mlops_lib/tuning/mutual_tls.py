"""What the chief of a search and its workers on other machines show each other: certificates of an
authority of its own.

The authority signs two certificates and forgets its key, so nobody can ever be a third. Both sides
believe in it alone (no name service, no authority of the system), and it travels to the workers
with the search's token.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from mlops_lib import atomic
from mlops_lib.errors import UsageError
from mlops_lib.runner import protocol

CHIEF = "chief.mlops.invalid"
WORKER = "worker.mlops.invalid"
"""Names in the certificates; the chief's is what workers ask for, whatever its address is."""
LASTS = datetime.timedelta(days=3650)
ASKEW = datetime.timedelta(days=2)
"""Clocks of machines may differ by so much."""


@dataclass(frozen=True)
class Certificates:
    """Of one search."""

    chief: dict[str, str]
    """The chief's `authority`, `certificate` and `key`, as PEM."""
    worker: dict[str, str]
    """The same for its workers."""


def of(run_dir: Path) -> Certificates:
    """The certificates of the run's search, made at first.

    Raises:
        UsageError: what makes them is not installed.
    """
    place = run_dir / protocol.SEARCH_CERTIFICATES
    if not place.exists():
        descriptor = os.open(
            run_dir / f".{protocol.SEARCH_CERTIFICATES}",
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC,
            0o600,
        )
        with os.fdopen(descriptor, "w") as stream:
            stream.write(_made())
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(run_dir / f".{protocol.SEARCH_CERTIFICATES}", place)
        (run_dir / f".{protocol.SEARCH_CERTIFICATES}").unlink()
    found = atomic.read_json(place)
    return Certificates(**found)


def _made() -> str:
    """Both sides' certificates, as JSON."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    except ImportError:
        raise UsageError(
            "workers of other machines need certificates, and what makes them is not installed",
            where="listen",
            remedy="pip install 'mlops_lib[scale]'",
        ) from None
    # no two alike: what an authority of this name has not signed is then plain
    named = f"search {secrets.token_hex(8)}"
    now = datetime.datetime.now(datetime.timezone.utc)
    authority = ec.generate_private_key(ec.SECP256R1())

    def signed(subject: str, key: ec.EllipticCurvePrivateKey, *more: x509.ExtensionType) -> str:
        """The authority's own certificate without `more`; anybody else's with it."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, named)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - ASKEW)
            .not_valid_after(now + LASTS)
            .add_extension(x509.BasicConstraints(ca=not more, path_length=None), critical=True)
        )
        for one in more:
            builder = builder.add_extension(one, critical=False)
        certificate: bytes = builder.sign(authority, hashes.SHA256()).public_bytes(
            serialization.Encoding.PEM
        )
        return certificate.decode()

    root = signed(named, authority)

    def side(name: str, use: x509.ObjectIdentifier) -> dict[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        certificate = signed(name, key, names, x509.ExtendedKeyUsage([use]))
        return {"authority": root, "certificate": certificate, "key": private.decode()}

    made = {
        "chief": side(CHIEF, ExtendedKeyUsageOID.SERVER_AUTH),
        "worker": side(WORKER, ExtendedKeyUsageOID.CLIENT_AUTH),
    }
    return json.dumps(made)
