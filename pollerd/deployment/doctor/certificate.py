"""Who a certificate is for, who issued it and until when it holds, read from its DER form (RFC 5280).

Python decodes only certificates that it has verified; the one that matters here is the one it refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec

_SEQUENCE: Final = 0x30  # DER tags, as ITU-T X.690 has them.
_SET: Final = 0x31  # DER tag.
_OID: Final = 0x06  # DER tag of an object identifier.
_UTC_TIME: Final = 0x17  # DER tag of a time whose year has two digits.
_VERSION: Final = 0xA0  # DER tag of the one field that may be missing: RFC 5280, 4.1.
_COMMON_NAME: Final = bytes.fromhex("550403")
_ORGANISATION: Final = bytes.fromhex("55040a")
_UNIT: Final = bytes.fromhex("55040b")
_ENCODINGS: Final = {0x0C: "utf-8", 0x1E: "utf-16-be", 0x1C: "utf-32-be"}


class Certificate(msgspec.Struct, frozen=True):
    """Names as `CN=..., O=...`; instants are UNIX seconds."""

    subject: str
    issuer: str
    not_before: float
    not_after: float

    @property
    def self_signed(self) -> bool:
        return self.subject == self.issuer


def read(der: bytes) -> Certificate:
    """Raises ValueError when it is no certificate."""
    try:
        (_, whole), *_ = _elements(der)
        (_, body), *_ = _elements(whole)
        fields = [field for field in _elements(body) if field[0] != _VERSION]
        # serialNumber, signature, issuer, validity, subject
        issuer, validity, subject = (fields[index][1] for index in (2, 3, 4))
        begin, end = (_instant(*each) for each in _elements(validity))
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError("not a certificate") from error
    return Certificate(_name(subject), _name(issuer), begin, end)


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and content of each element in a row (X.690)."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data):
            raise ValueError("an element is cut short")
        yield tag, data[at : at + length]
        at += length


def _name(data: bytes) -> str:
    found: dict[bytes, str] = {}
    for tag, relative in _elements(data):
        if tag != _SET:
            continue
        for _, pair in _elements(relative):
            (kind, oid), (encoding, value) = list(_elements(pair))[:2]
            if kind == _OID:
                found.setdefault(oid, value.decode(_ENCODINGS.get(encoding, "latin-1"), "replace"))
    parts = (("CN", _COMMON_NAME), ("O", _ORGANISATION), ("OU", _UNIT))
    return ", ".join(f"{short}={found[oid]}" for short, oid in parts if oid in found) or "(no name)"


def _instant(tag: int, value: bytes) -> float:
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(value.decode("ascii"), form).replace(tzinfo=UTC).timestamp()
