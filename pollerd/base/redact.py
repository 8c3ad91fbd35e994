"""Keeps secrets and telephone numbers out of whatever a gateway or a proxy sends back."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, unquote

MASK: Final = "***"
_SHORTEST: Final = 3  # Characters: shorter secrets would mask ordinary text.
# An incident's UUID is what the vendor's support asks for; the last of its groups may be all digits.
_MSISDN: Final = re.compile(
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(?<!\d)(?<!\d\.)\d{8,15}(?!\d)(?!\.\d)"
)
_SIGNATURE: Final = re.compile(r"""(oauth_signature=\\?["']?)[^"',&\s\\]+""")
_USERINFO: Final = re.compile(r"(?<=://)[^/?#\s@]*@")


class Redactor:
    """Masks the given secrets, in every form they travel in, and MSISDNs unless `show_msisdn`."""

    __slots__ = ("_secrets", "_show_msisdn")

    def __init__(self, secrets: Iterable[str], *, show_msisdn: bool = False) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= _SHORTEST}
        # The longest first: a secret that contains another must not leave its other half behind.
        ordered = sorted(forms, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._show_msisdn = show_msisdn

    def __call__(self, text: str) -> str:
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        text = _SIGNATURE.sub(rf"\1{MASK}", text)
        text = _USERINFO.sub(f"{MASK}@", text)
        return text if self._show_msisdn else _MSISDN.sub(_masked_number, text)


def _masked_number(match: re.Match[str]) -> str:
    number = match[0]
    if "-" in number:
        return number
    return number[:4] + "*" * (len(number) - 4)


def _forms(secret: str) -> Iterable[str]:
    yield secret
    yield quote(secret, safe="")
    yield quote(secret)
    yield unquote(secret)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield base64.b64encode(secret.encode("utf-8", "surrogatepass")).decode("ascii")
