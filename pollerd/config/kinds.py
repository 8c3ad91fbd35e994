"""What a value must be: each kind turns a TOML value into its meaning or says what would be right."""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import SplitResult, urlsplit

import msgspec

from pollerd.base.duration import FORM, parse_duration, render_duration
from pollerd.config.reader import Kind, Wrong
from pollerd.config.values import Listen, MaskedUrl

T = TypeVar("T")

LONGEST_SOCKET_PATH = 107
"""Bytes that the kernel leaves for a Unix socket's path (``sun_path`` without its closing zero)."""

PERCENT_ENCODED = "percent-encoded (%40 for @, %3A for :, %25 for %, %23 for #, %2F for /)"
"""How a user and password stand in a URL."""
_ENCODED = r"([A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*"
_USERINFO = re.compile(f"{_ENCODED}(:{_ENCODED})?")
"""RFC 3986, 3.2.1, but with one colon at most: a second one is part of the password."""
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?\.?", re.ASCII)
_PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
_MODE = re.compile(r"0?[0-7]{3}", re.ASCII)


def flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise Wrong("must be true or false, without quotes")


def text(value: object) -> str:
    """A text that is not empty and stands on one line."""
    if not isinstance(value, str):
        raise Wrong("must be a text in quotes")
    if not value.strip():
        raise Wrong("must not be empty")
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
        raise Wrong("must not hold control characters")
    return value


def statement(value: object) -> str:
    """SQL: may run over several lines, so that only emptiness and the zero byte are refused."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise Wrong("must be an SQL statement in quotes")
    return value


def command(value: object) -> tuple[str, ...]:
    """Program and arguments, as the operating system takes them."""
    right = 'must be an array of texts, the program first: ["/usr/local/bin/handle-events", "--batch"]'
    if not isinstance(value, list) or not value or not isinstance(value[0], str) or not value[0].strip():
        raise Wrong(right)
    parts = [part for part in value if isinstance(part, str) and "\0" not in part]
    if len(parts) != len(value):
        raise Wrong(right)
    return tuple(parts)


def whole(low: int, high: int) -> Kind[int]:
    def kind(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise Wrong(f"must be a whole number from {low} to {high}")

    return kind


def number(low: float, high: float, *, above: bool = False) -> Kind[float]:
    """A finite number within the bounds; with ``above`` the lower one itself is refused."""
    bounds = f"above {low:g} and up to {high:g}" if above else f"from {low:g} to {high:g}"
    right = "must be a finite number" if math.isinf(high) else f"must be a number {bounds}"

    def kind(value: object) -> float:
        found = _finite(value)
        if found is None or not low <= found <= high or (above and found == low):
            raise Wrong(right)
        return found

    return kind


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def duration(low: float, high: float) -> Kind[float]:
    """Seconds within the bounds, from a text with a unit or from a number of seconds."""

    def kind(value: object) -> float:
        bounds = f"from {render_duration(low)} to {render_duration(high)}"
        try:
            found = parse_duration(value) if isinstance(value, str) else _finite(value)
        except ValueError:
            found = None
        if found is None or not low <= found <= high:
            raise Wrong(f"must be {FORM}, or a number of seconds, {bounds}")
        return found

    return kind


def durations(low: float, high: float, most: int) -> Kind[tuple[float, ...]]:
    """Up to `most` durations, in seconds."""
    each = duration(low, high)

    def kind(value: object) -> tuple[float, ...]:
        if not isinstance(value, list) or len(value) > most:
            raise Wrong(f'must be an array of up to {most} durations, such as ["60s", "2h"]')
        return tuple(map(each, value))

    return kind


class Choice(msgspec.Struct, Generic[T], frozen=True):
    """One of a few words."""

    words: Mapping[str, T]

    def __call__(self, value: object) -> T:
        if isinstance(value, str) and value in self.words:
            return self.words[value]
        right = "must be " + " or ".join(f'"{word}"' for word in self.words)
        close = difflib.get_close_matches(str(value).lower(), self.words, n=1) if isinstance(value, str) else []
        raise Wrong(right, near=f'"{close[0]}"' if close else None)


def mode(value: object) -> int:
    """File rights, always as octal text: a bare number would be read as decimal by TOML."""
    if isinstance(value, str) and _MODE.fullmatch(value):
        return int(value, 8)
    raise Wrong('must be the rights as octal text, such as "0660"')


class PathKind(msgspec.Struct, frozen=True):
    """An absolute path. Relative ones start at ``base``, and ``~`` stands for ``home``."""

    base: Path
    home: str | None = None

    def __call__(self, value: object) -> Path:
        found = text(value)
        if self.home and (found == "~" or found.startswith("~/")):
            found = self.home + found[1:]
        # "a/../b" must compare equal to "b"; symbolic links are left to the operating system.
        return Path(os.path.normpath(self.base / found))

    def socket(self, value: object) -> Path:
        found = self(value)
        if socket_fits(found):
            return found
        raise Wrong(f"must be at most {LONGEST_SOCKET_PATH} bytes long as an absolute path, as Unix sockets need")


def socket_fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= LONGEST_SOCKET_PATH


def listen(value: object) -> Listen:
    """``HOST:PORT``."""
    right = 'must be "HOST:PORT", such as "127.0.0.1:9464"'
    try:
        parts = urlsplit(f"//{text(value)}")
        port = parts.port
    except ValueError:
        raise Wrong(right) from None
    bare = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    if not bare or not parts.hostname or port is None or not _is_host(parts.hostname):
        raise Wrong(right)
    return Listen(parts.hostname, port)


def base_url(value: object) -> str:
    """Scheme, host and port of a gateway, without a slash at the end."""
    parts = _http_url(value, "https://gatewayapi.com")
    if "@" in parts.netloc:
        raise Wrong("must not hold credentials; put them into token_file, or username and password_file")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise Wrong('must end after the host, as in "https://gatewayapi.com"; the path is added by itself')
    if (parts.hostname or "").startswith("messaging.gatewayapi."):
        raise Wrong(
            "must be the older API: the messaging hosts have no way to read a status",
            near='"https://' + (parts.hostname or "").removeprefix("messaging.") + '"',
        )
    return f"{parts.scheme}://{parts.netloc}"


def webhook_url(value: object) -> str:
    parts = _http_url(value, "http://127.0.0.1:8080/status")
    if "@" in parts.netloc:
        raise Wrong("must not hold credentials; the receiver checks the signature made with secret_file")
    if parts.fragment:
        raise Wrong("must not hold a fragment (#...)")
    return parts.geturl()


def proxy_url(value: object) -> MaskedUrl:
    userinfo, at, _ = text(value).partition("://")[2].rpartition("@")
    if at and not _USERINFO.fullmatch(userinfo):
        raise Wrong(f"must have its user and password {PERCENT_ENCODED}")
    parts = _http_url(value, "http://proxy:3128")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise Wrong('must end after the port, as in "http://proxy:3128"')
    return MaskedUrl(f"{parts.scheme}://{parts.netloc}")


def _http_url(value: object, example: str) -> SplitResult:
    right = f'must be a URL such as "{example}"'
    found = text(value)
    try:
        parts = urlsplit(found)
        port = parts.port
    except ValueError:
        raise Wrong(right) from None
    if parts.scheme.startswith("socks"):
        raise Wrong(f"must be an HTTP proxy, which SOCKS is not: {right.removeprefix('must be ')}")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise Wrong(right)
    if " " in found or not found.isascii() or not _is_host(parts.hostname):
        raise Wrong(f"{right}, its host in ASCII")
    return parts


def _is_host(host: str) -> bool:
    if _address(host) is not None:
        return True
    labels = host.removesuffix(".").split(".")
    return _HOST.fullmatch(host) is not None and all(0 < len(label) < 64 for label in labels)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether the host means this machine, without asking any name server."""
    address = _address(host)
    if address is not None:
        return address.is_loopback
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def is_private(address: str) -> bool:
    """Whether an IP address is of this machine (loopback) or of a private network (RFC 1918, RFC 4193).

    Link-local addresses are neither: in a cloud, instance metadata is served on one.
    """
    found = _address(address)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found is not None and (found.is_loopback or any(found in network for network in _PRIVATE))


def is_foreign_address(host: str) -> bool:
    """Whether the host is written as an address that is not private. Names are judged when resolved."""
    return _address(host) is not None and not is_private(host)
