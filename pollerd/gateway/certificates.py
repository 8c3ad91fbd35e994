"""Certificates that are refused for how they were made: what is wrong with them, and how they are made right.

These are the rules of RFC 5280 that Python 3.13 and later insist on (`ssl.VERIFY_X509_STRICT`), and no earlier one.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Flaw(NamedTuple):
    """What is wrong, beginning with whose certificate it is, and what it must be issued again with."""

    fault: str
    right: str

    @property
    def remedy(self) -> str:
        """What whoever issued the certificate does."""
        return f"have it issued again with {self.right}"


_AUTHORITY: Final = "the authority's certificate"
_ONE: Final = "a certificate of the chain"

# Numbers of OpenSSL's x509_vfy.h, which the ssl module passes on without names.
FLAWS: Final = {
    79: Flaw(f"{_AUTHORITY} does not say that it is an authority's", "basicConstraints = critical, CA:TRUE"),
    80: Flaw(f"{_ONE} limits the length of a path and is no authority's", "basicConstraints without a path length"),
    81: Flaw(f"{_AUTHORITY} limits the length of a path and may not sign", "keyUsage = critical, keyCertSign, cRLSign"),
    82: Flaw(f"{_ONE} may sign others and is no authority's", "keyUsage without keyCertSign"),
    83: Flaw(f"{_ONE} names no issuer", "an issuer"),
    84: Flaw(f"{_AUTHORITY} has no subject", "a subject"),
    85: Flaw(f"{_ONE} has no authorityKeyIdentifier", "authorityKeyIdentifier = keyid"),
    86: Flaw(f"{_AUTHORITY} has no subjectKeyIdentifier", "subjectKeyIdentifier = hash"),
    87: Flaw(f"{_ONE} has an empty subjectAltName", "the server's names in subjectAltName"),
    88: Flaw(f"{_ONE} has neither a subject nor a critical subjectAltName", "subjectAltName = critical, DNS:..."),
    89: Flaw(f"{_AUTHORITY} does not mark basicConstraints as critical", "basicConstraints = critical, CA:TRUE"),
    90: Flaw(f"{_ONE} marks authorityKeyIdentifier as critical", "authorityKeyIdentifier, not critical"),
    91: Flaw(f"{_ONE} marks subjectKeyIdentifier as critical", "subjectKeyIdentifier, not critical"),
    92: Flaw(f"{_AUTHORITY} has no keyUsage", "keyUsage = critical, keyCertSign, cRLSign"),
    93: Flaw(f"{_ONE} has extensions and is not of version 3", "version 3"),
}
