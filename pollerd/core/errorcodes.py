"""Error codes of recipients (`dsnerrorcode`) in words. Source: the vendor's table of delivery error codes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

WORDS: Final[Mapping[int, str]] = MappingProxyType(
    {
        0x1001: "unspecified error",
        0x1010: "unknown subscriber: the number is not in use",
        0x1011: "call barred: the subscriber may not receive this",
        0x1013: "absent subscriber: the phone is off or out of reach",
        0x1019: "not reachable",
        0x1021: "IMSI detached: the phone has left the network",
        0x1022: "no page response: the phone does not answer the network",
        0x1023: "subscriber busy",
        0x102A: "memory capacity exceeded: the phone can store no more messages",
        0x1030: "screening block: the network filters this message",
        0x1050: "internal routing error",
        0x1053: "message not delivered",
        0x1060: "invalid destination address",
        0x1090: "internal error",
        0x1091: "network time-out",
        0x1092: "insufficient funds",
        0x1902: "message class not configured",
        0x1903: "link not whitelisted",
        0x1904: "filtered by content",
    },
)


def words(code: str | None) -> str | None:
    """What a code such as `0x1010` means; None for none and for one that is not in the table."""
    if code is None:
        return None
    try:
        return WORDS.get(int(code, 0))
    except ValueError:
        return None
