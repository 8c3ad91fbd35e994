"""Private authorities as people make them by hand: what one of their certificates lacks is named."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

FLAWS = ["basicConstraints", "keyUsage", "subjectKeyIdentifier", "authorityKeyIdentifier"]
REFUSED = bool(ssl.create_default_context().verify_flags & ssl.VERIFY_X509_STRICT)
"""Whether this Python refuses them: 3.13 and later do."""


def flawed(flaw: str, folder: Path) -> tuple[Path, ssl.SSLContext]:
    """The authority's certificate as a file, and the context of a server at 127.0.0.1 and localhost."""
    authority, key = _key(), _key()
    name = _name("Corner Shop CA")
    extensions: list[tuple[str, x509.ExtensionType, bool]] = [
        ("basicConstraints", x509.BasicConstraints(ca=True, path_length=None), flaw != "basicConstraints"),
        ("keyUsage", _may_sign(), True),
        ("subjectKeyIdentifier", x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), False),
    ]
    root = _signed(name, name, authority, authority, [e for e in extensions if e[0] != flaw or flaw == FLAWS[0]])
    hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    extensions = [
        ("subjectAltName", x509.SubjectAlternativeName(hosts), False),
        ("authorityKeyIdentifier", x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False),
    ]
    leaf = _signed(_name("127.0.0.1"), name, key, authority, [e for e in extensions if e[0] != flaw])
    (folder / "flawed.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(
        leaf.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return folder / "flawed.pem", context


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _may_sign() -> x509.KeyUsage:
    uses: dict[str, Any] = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    return x509.KeyUsage(key_cert_sign=True, crl_sign=True, **uses)


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    extensions: list[tuple[str, x509.ExtensionType, bool]],
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=90))
    )
    for _, extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signer, hashes.SHA256())
