"""What it means when no answer came at all: every failure of the way there, by name."""

from __future__ import annotations

import errno
import ssl
from typing import Final

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientHttpProxyError,
    ClientPayloadError,
    ClientProxyConnectionError,
    ClientResponseError,
    ClientSSLError,
    ServerDisconnectedError,
)

from pollerd.config.addresses import PERCENT_ENCODED
from pollerd.core.model import HoldReason, Trouble
from pollerd.gateway.certificates import FLAWS
from pollerd.gateway.connection import BrokenConnectionError
from pollerd.gateway.text import clean

_LONGEST_DETAIL: Final = 300  # Characters of an error that are kept: they stand in events and in one line of status.

# Numbers of OpenSSL's x509_vfy.h, which the ssl module passes on without names.
_CERTIFICATE: Final = {
    9: "its certificate is not valid yet; check this machine's clock",
    10: "its certificate has expired; whoever answers there must renew it (or this machine's clock is wrong)",
    18: "its certificate is self-signed; if it is your own, name it in ca_file",
    19: "its certificate comes from an authority that is not trusted here; if it is your own, name it in ca_file",
    20: "its certificate comes from an authority that is not known here; if it is your own, name it in ca_file",
    21: "its certificate cannot be traced to an authority; if it is your own, name the authority in ca_file",
    23: "its certificate has been revoked",
    62: "its certificate is for another host name; check base_url and the proxies in between",
    64: "its certificate is for another IP address; check base_url and the proxies in between",
}
_CONNECT: Final = {
    errno.ECONNREFUSED: ("refused", "nothing listens there, or a firewall refuses"),
    errno.ECONNRESET: ("reset", "the connection was reset while it was being set up"),
    errno.ENETUNREACH: ("no_route", "this machine has no route to it; check the network"),
    errno.EHOSTUNREACH: ("no_route", "this machine has no route to it; check the network"),
    errno.ETIMEDOUT: ("timeout", "it did not answer in time; check firewall and network"),
    errno.EMFILE: ("no_descriptors", "this process has no file descriptors left; raise LimitNOFILE"),
    errno.ENFILE: ("no_descriptors", "this machine has no file descriptors left"),
}


def trouble(error: ClientError | OSError, host: str) -> Trouble:
    """The `Trouble` of a request to `host` that got no whole answer. The text may hold secrets."""
    kind, text = _named(error)
    return Trouble(HoldReason.UNREACHABLE, kind, clean(f"{host}: {text}", _LONGEST_DETAIL))


def _named(error: BaseException) -> tuple[str, str]:
    match error:
        case ClientHttpProxyError(status=407):
            who = f"check the user and password in proxy, {PERCENT_ENCODED}"
            return "proxy_auth", f"the proxy wants other credentials (407); {who}"
        case ClientHttpProxyError(status=status):
            return "proxy", f"the proxy refuses to connect ({status})"
        case ClientProxyConnectionError():
            return "proxy", f"the proxy cannot be reached: {_connect(error)[1]}"
        case ClientConnectorDNSError():
            return "dns", "its name cannot be resolved; check the name server and base_url"
        case ClientConnectorCertificateError():
            return "tls", _certificate(error.certificate_error)
        case ClientSSLError():
            return "tls", f"no secure connection: {_tls(error)}"
        case ClientConnectorError():
            return _connect(error)
        case TimeoutError():
            return "timeout", "no complete answer within the timeout"
        case _:
            return _broken(error)


def _broken(error: BaseException) -> tuple[str, str]:
    match error:
        case BrokenConnectionError(__cause__=ServerDisconnectedError()):
            return "disconnected", "the connection was closed without an answer"
        case BrokenConnectionError() | ConnectionError():
            return "reset", "the connection was reset before the answer came"
        case ClientPayloadError():
            return "truncated", "the connection ended in the middle of the answer"
        case ClientResponseError():
            return "malformed", "what came back is not HTTP that can be read"
        case OSError(strerror=str(reason)):
            return "connection", reason
        case _:
            return "connection", f"the request failed: {error or type(error).__name__}"


def _connect(error: ClientConnectorError) -> tuple[str, str]:
    cause = error.os_error
    # uvloop gives no number when a connection ends during the TLS handshake.
    number = errno.ECONNRESET if cause.errno is None and isinstance(cause, ConnectionError) else cause.errno
    known = _CONNECT.get(number or 0)
    if known is not None:
        return known
    return "connection", f"no connection: {cause.strerror or cause or type(cause).__name__}"


def _certificate(error: Exception) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be verified: {error}"
    if (flaw := FLAWS.get(error.verify_code)) is not None:
        return f"its certificate is refused: {flaw.fault}; {flaw.remedy}"
    return _CERTIFICATE.get(error.verify_code, f"its certificate cannot be verified: {error.verify_message}")


def _tls(error: ClientSSLError) -> str:
    reason = getattr(error.os_error, "reason", None)
    if reason == "WRONG_VERSION_NUMBER":
        return "what answers there does not speak TLS; check base_url and the proxies in between"
    return str(reason or error.os_error.strerror or error.os_error).replace("_", " ").lower()
