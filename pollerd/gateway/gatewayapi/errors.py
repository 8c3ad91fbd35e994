"""An answer outside 2xx, read once: masked text, the vendor's error fields, and whether the vendor wrote it at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import msgspec

from pollerd.gateway.body import MAX_ERROR_BYTES, DecodeError, unpack
from pollerd.gateway.foreign import is_page
from pollerd.gateway.gatewayapi.errorcodes import REFUSALS
from pollerd.gateway.text import clean

_LONGEST_DETAIL: Final = 300  # Characters of the vendor's message that are kept: as of any other failure.
_IN_MESSAGES: Final = (b'"recipients"', b'"mosms_id"', b'"messages"', b'"senttime"')
"""Fields of messages: what has them holds a text that somebody wrote."""
_PLACE: Final = re.compile(r"%(\d)")


class _WireError(msgspec.Struct):
    incident_uuid: Any = None
    code: Any = None
    message: Any = None
    variables: Any = None


_decoder: Final = msgspec.json.Decoder(_WireError)


class VendorError(msgspec.Struct):
    """`text` and `detail` are masked. `ours`: the body is in the vendor's form, `code` its error code if any.

    The vendor's form is a JSON object with an `incident_uuid` or an error code. Proxies and balancers write JSON too.
    """

    status: int
    headers: Mapping[str, str]
    text: str
    ours: bool
    code: int | None
    message: str

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str]) -> Self:
        """Read a body as sent, which may be packed, cut short or anything at all."""
        try:
            plain = unpack(body, headers.get("Content-Encoding", ""), MAX_ERROR_BYTES)
        except DecodeError:
            plain = b""
        # Masked as a whole and before anything is cut off: half a secret is still a secret.
        hidden = any(name in plain for name in _IN_MESSAGES)
        text = "(not shown: it holds a message)" if hidden else redact(plain.decode("utf-8", "replace"))
        error = _decoded(plain)
        if error is None:
            return cls(status, headers, text, False, None, "")
        code = _number(error.code)
        ours = code is not None or (isinstance(error.incident_uuid, str) and bool(error.incident_uuid))
        # In a message, `message` is its text.
        return cls(status, headers, text, ours, code, "" if hidden else redact(_filled(error)))

    @property
    def page(self) -> bool:
        """Whether the body is a web page, which the vendor does not write."""
        return not self.ours and is_page(self.text, self.headers)

    @property
    def detail(self) -> str:
        """One line for a person."""
        parts = [str(self.status)]
        if self.page:
            parts.append("with a web page")
        elif self.code is not None:
            parts.append(f"(0x{self.code:04X})")
        line = " ".join(parts)
        known = REFUSALS.get(self.code) if self.code is not None else None
        text = self.message or ("" if known is None else known.words)
        return clean(f"{line}: {text}" if text else line, _LONGEST_DETAIL)


def _decoded(body: bytes) -> _WireError | None:
    if body.lstrip()[:1] != b"{":
        return None
    try:
        return _decoder.decode(body)
    except (ValueError, RecursionError):
        return None


def _filled(error: _WireError) -> str:
    """The vendor's message with `%1` and so on replaced by its variables."""
    if not isinstance(error.message, str):
        return ""
    values = error.variables if isinstance(error.variables, list) else []

    def value(match: re.Match[str]) -> str:
        place = int(match[1]) - 1
        found = values[place] if 0 <= place < len(values) else None
        return str(found) if isinstance(found, str | int | float) else match[0]

    return _PLACE.sub(value, error.message)


def _number(code: object) -> int | None:
    """An error code, hex text such as `0x0213` or a number, within 32 bits."""
    try:
        number = int(code, 16) if isinstance(code, str) and len(code) <= 12 else code
    except ValueError:
        return None
    if isinstance(number, bool) or not isinstance(number, int):
        return None
    return number if 0 <= number < 2**32 else None
