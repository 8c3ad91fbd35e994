"""The signature in `X-Gwapi-Signature`: a JWT whose payload is the posted body, byte for byte."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from jwt import InvalidKeyError, PyJWS
from jwt.algorithms import HMACAlgorithm

from pollerd.base.errors import OutputError
from pollerd.config import ConfigError, SecretSource
from pollerd.config.secret import SecretKind

logger = logging.getLogger(__name__)

HEADER: Final = "X-Gwapi-Signature"


class _AnyLength(HMACAlgorithm):
    """HS256 as the vendor has it: a short secret is warned of where it is read, not with every post."""

    def check_key_length(self, key: bytes) -> str | None:
        """Nothing to say about any length."""
        return None


class Signer:
    """Signs with the secret that its source holds; without a source there is no signature.

    `protect` gets each secret before it is used. Raises OutputError when the secret cannot be had at the start;
    later the last good one is kept.
    """

    def __init__(self, source: SecretSource | None, url: str, protect: Callable[[str], None] | None = None) -> None:
        self._protect = protect
        self._source = source
        self._url = url
        self._jws = PyJWS(algorithms=[])
        self._jws.register_algorithm("HS256", _AnyLength(HMACAlgorithm.SHA256))
        self._secret = ""
        self._fingerprint = None if source is None else source.fingerprint()
        if source is not None:
            try:
                self._secret = self._read(source)
            except ConfigError as error:
                raise OutputError(str(error)) from error

    def headers(self, body: bytes) -> dict[str, str]:
        """The signature's header for a body; none without a secret."""
        if self._source is None:
            return {}
        return {HEADER: self._jws.encode(body, self._secret, algorithm="HS256")}

    def reload(self) -> None:
        """Check the secret's source again."""
        source = self._source
        fingerprint = None if source is None else source.fingerprint()
        if source is None or fingerprint is None or fingerprint == self._fingerprint:
            return
        self._fingerprint = fingerprint
        try:
            secret = self._read(source)
        except (ConfigError, OutputError) as error:
            logger.error(
                "webhook %s: the new secret cannot be used, the old one stays: %s",
                self._url,
                error,
                extra={"event": "webhook_secret_unusable"},
            )
            return
        if secret != self._secret:
            self._secret = secret
            logger.info("webhook %s: the secret was replaced", self._url, extra={"event": "webhook_secret_replaced"})

    def _read(self, source: SecretSource) -> str:
        secret = source.read().reveal()
        if self._protect is not None:
            self._protect(secret)
        try:
            self._jws.encode(b"{}", secret, algorithm="HS256")
        except InvalidKeyError as error:
            raise OutputError(f"webhook {self._url}: the secret cannot sign ({error}); choose another one") from error
        if (weakness := SecretKind.SIGNING.weakness(secret)) is not None:
            logger.warning("webhook %s: the secret %s", self._url, weakness, extra={"event": "webhook_secret_weak"})
        return secret
