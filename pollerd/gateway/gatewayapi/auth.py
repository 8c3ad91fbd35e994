"""The three ways to say who we are, as request headers, with secrets that may be replaced while the daemon runs."""

from __future__ import annotations

import base64
import logging
from importlib.metadata import version
from typing import Final, Protocol

from multidict import CIMultiDict
from oauthlib.oauth1 import Client as OAuthSigner
from yarl import URL

from pollerd.config import AccountConfig, BasicAuth, ConfigError, OAuth1, Secret, TokenAuth
from pollerd.gateway.vendor import Headers

logger: Final = logging.getLogger("pollerd.gateway")

_COMMON: Final = {
    "User-Agent": f"pollerd/{version('pollerd')}",
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
}


class _Signer(Protocol):
    def headers(self, url: URL) -> Headers:
        """The headers of one GET request. The caller must not change them."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be seen: the secret and everything it can be had from."""
        ...


class _FixedHeaders:
    """The same `Authorization` for every request."""

    __slots__ = ("_headers", "secrets")

    def __init__(self, authorization: str, secret: str) -> None:
        self._headers = CIMultiDict(_COMMON, Authorization=authorization)
        self.secrets = (secret, authorization.partition(" ")[2])

    def headers(self, _url: URL) -> Headers:
        return self._headers


class _SignedHeaders:
    """OAuth 1.0a, two-legged: HMAC-SHA1 over each request, empty token and token secret."""

    __slots__ = ("_client", "secrets")

    def __init__(self, key: str, secret: str) -> None:
        self._client = OAuthSigner(key, client_secret=secret)
        self.secrets = (secret,)

    def headers(self, url: URL) -> Headers:
        _, signed, _ = self._client.sign(str(url))
        return CIMultiDict(_COMMON, **signed)


class RequestSigner:
    """Signs the requests of one account.

    Reading the secret for the first time may raise :class:`pollerd.config.ConfigError`; later the last good one is
    kept when its file is gone or wrong.
    """

    def __init__(self, account: AccountConfig) -> None:
        self._account = account
        self._fingerprint = account.auth.source.fingerprint()
        self._secret = account.auth.source.read()
        self._signer = _signer(account, self._secret)

    def headers(self, url: URL) -> Headers:
        """The headers of one GET of `url`."""
        return self._signer.headers(url)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every text that must be masked wherever it turns up."""
        return self._signer.secrets

    def reload(self) -> bool:
        """Read the secret's source again; True when requests are signed with another secret from now on."""
        source = self._account.auth.source
        fingerprint = source.fingerprint()
        if fingerprint is None or fingerprint == self._fingerprint:
            return False
        self._fingerprint = fingerprint
        try:
            secret = source.read()
        except ConfigError as error:
            logger.error(
                "account %s: the new secret cannot be used, the old one stays: %s",
                self._account.name,
                error,
                extra={"event": "credentials_unusable", "account": self._account.name},
            )
            return False
        if secret == self._secret:
            return False
        self._secret = secret
        self._signer = _signer(self._account, secret)
        logger.info(
            "account %s: credentials were replaced",
            self._account.name,
            extra={"event": "credentials_replaced", "account": self._account.name},
        )
        return True


def _signer(account: AccountConfig, secret: Secret) -> _Signer:
    revealed = secret.reveal()
    match account.auth:
        case TokenAuth():
            return _FixedHeaders(f"Token {revealed}", revealed)
        case BasicAuth(username=username):
            pair = f"{username}:{revealed}".encode()
            return _FixedHeaders(f"Basic {base64.b64encode(pair).decode('ascii')}", revealed)
        case OAuth1(key=key):
            return _SignedHeaders(key, revealed)
