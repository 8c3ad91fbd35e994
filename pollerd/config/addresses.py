"""Addresses in the configuration: URLs, hosts and ports, and which are of this machine or of a private network."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

from pollerd.config.kinds import Kind, Wrong, text
from pollerd.config.problem import mask_url, mask_userinfo

MOST_SOURCES: Final = 16
"""Source addresses of one account: 640 connections, far more than one daemon can keep busy."""
PERCENT_ENCODED = "percent-encoded (%40 for @, %3A for :, %25 for %, %23 for #, %2F for /)"
"""How a user and password stand in a URL."""
_ENCODED = r"([A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*"
_USERINFO = re.compile(f"{_ENCODED}(:{_ENCODED})?")
"""RFC 3986, 3.2.1, but with one colon at most: a second one is part of the password."""
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?\.?", re.ASCII)
_PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))


class MaskedUrl:
    """A URL that may hold credentials: prints with ``***`` in their place."""

    __slots__ = ("__url",)

    def __init__(self, url: str) -> None:
        self.__url = url

    def reveal(self) -> str:
        return self.__url

    def __str__(self) -> str:
        return mask_userinfo(self.__url)

    def __repr__(self) -> str:
        return f"MaskedUrl({mask_userinfo(self.__url)!r})"

    def __eq__(self, other: object) -> bool:
        return self.__url == other.__url if isinstance(other, MaskedUrl) else NotImplemented

    def __hash__(self) -> int:
        return hash((MaskedUrl, self.__url))


def _own_address(value: object) -> str:
    """An IP address that an interface may have, in its usual form."""
    right = 'must be an IP address of this machine, such as "192.0.2.10"'
    found = _address(text(value))
    if found is None or found.is_multicast or found.is_unspecified or str(found) == "255.255.255.255":
        raise Wrong(right)
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            raise Wrong(right, near=f'"{found.ipv4_mapped}"')
        if found.is_link_local:
            raise Wrong(f"{right}; a link-local one reaches no gateway")
    return str(found)


def _own_addresses(value: object) -> tuple[str, ...]:
    right = f'must be an array of 1 to {MOST_SOURCES} IP addresses of this machine: ["192.0.2.10", "192.0.2.11"]'
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_SOURCES:
        raise Wrong(right)
    found = tuple(map(_own_address, value))
    twice = next((each for place, each in enumerate(found) if each in found[:place]), None)
    if twice is not None:
        raise Wrong(f"must name each address once; {twice} is there twice")
    return found


class Listen(msgspec.Struct, frozen=True):
    """A TCP address to serve HTTP on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _listen(value: object) -> Listen:
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


def _base_url(value: object) -> str:
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


def _webhook_url(value: object) -> str:
    parts = _http_url(value, "http://127.0.0.1:8080/status")
    if "@" in parts.netloc:
        raise Wrong("must not hold credentials; the receiver checks the signature made with secret_file")
    if parts.fragment:
        raise Wrong("must not hold a fragment (#...)")
    return parts.geturl()


def _proxy_url(value: object) -> MaskedUrl:
    userinfo, at, _ = text(value).partition("://")[2].rpartition("@")
    if at and not _USERINFO.fullmatch(userinfo):
        raise Wrong(f"must have its user and password {PERCENT_ENCODED}")
    parts = _http_url(value, "http://proxy:3128")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise Wrong('must end after the port, as in "http://proxy:3128"')
    return MaskedUrl(f"{parts.scheme}://{parts.netloc}")


OWN_ADDRESSES: Final = Kind("IP addresses", _own_addresses, f"1 to {MOST_SOURCES}", list)
LISTEN: Final = Kind("host and port", _listen, render=str)
BASE_URL: Final = Kind("URL", _base_url)
WEBHOOK_URL: Final = Kind("URL", _webhook_url, render=mask_url)
PROXY_URL: Final = Kind("URL", _proxy_url, render=str)


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


def family_of(host: str) -> Literal["IPv4", "IPv6"] | None:
    """The family of a host that is written as an address; None for a name."""
    address = _address(host)
    if address is None:
        return None
    return "IPv4" if address.version == 4 else "IPv6"


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
