"""Mutual TLS between the chief of a search and its workers on other machines.

The certificate authority signs two certificates and its key is discarded, so that no third one can
exist. Both sides trust this authority alone, regardless of host names and of the system's
authorities. It is sent to the workers with the search's token.
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
"""Names in the certificates.

Workers verify the chief's name, whatever its address is.
"""
LASTS = datetime.timedelta(days=3650)
CLOCK_TOLERANCE = datetime.timedelta(days=2)
"""Tolerated difference between the clocks of machines."""


@dataclass(frozen=True)
class Certificates:
    """The certificates of one search."""

    chief: dict[str, str]
    """The chief's `authority`, `certificate` and `key`, as PEM."""
    worker: dict[str, str]
    """The same for its workers."""


def of(run_dir: Path) -> Certificates:
    """Return the certificates of the run's search; the first call creates them.

    Raises:
        UsageError: the library that creates them is not installed.
    """
    place = run_dir / protocol.SEARCH_CERTIFICATES
    if not place.exists():
        descriptor = os.open(
            run_dir / f".{protocol.SEARCH_CERTIFICATES}",
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC,
            0o600,
        )
        with os.fdopen(descriptor, "w") as stream:
            stream.write(_create())
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(run_dir / f".{protocol.SEARCH_CERTIFICATES}", place)
        (run_dir / f".{protocol.SEARCH_CERTIFICATES}").unlink()
    found = atomic.read_json(place)
    return Certificates(**found)


def _create() -> str:
    """Create the certificates of both sides; return them as JSON."""
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

    def sign(subject: str, key: ec.EllipticCurvePrivateKey, *more: x509.ExtensionType) -> str:
        """Sign a certificate: the authority's own without `more`, any other with it."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, named)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_TOLERANCE)
            .not_valid_after(now + LASTS)
            .add_extension(x509.BasicConstraints(ca=not more, path_length=None), critical=True)
        )
        for one in more:
            builder = builder.add_extension(one, critical=False)
        certificate: bytes = builder.sign(authority, hashes.SHA256()).public_bytes(
            serialization.Encoding.PEM
        )
        return certificate.decode()

    root = sign(named, authority)

    def side(name: str, use: x509.ObjectIdentifier) -> dict[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        certificate = sign(name, key, names, x509.ExtendedKeyUsage([use]))
        return {"authority": root, "certificate": certificate, "key": private.decode()}

    made = {
        "chief": side(CHIEF, ExtendedKeyUsageOID.SERVER_AUTH),
        "worker": side(WORKER, ExtendedKeyUsageOID.CLIENT_AUTH),
    }
    return json.dumps(made)
