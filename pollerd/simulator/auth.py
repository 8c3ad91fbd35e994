"""Who may come in: every way of authentication that the vendor knows."""

import base64
from typing import Protocol

from aiohttp.web import BaseRequest
from oauthlib.oauth1 import RequestValidator, SignatureOnlyEndpoint

from pollerd.simulator.config import Credentials

# Error code and text of a refusal.
Refusal = tuple[int, str]

_NOTHING_GIVEN: Refusal = (0x0210, "Unauthorized: no credentials given")
_BAD_TOKEN: Refusal = (0x0229, "Unauthorized: invalid API token")
_BAD_USER: Refusal = (0x0211, "Unauthorized: invalid user name or password")
_BAD_SIGNATURE: Refusal = (0x0225, "Unauthorized: invalid OAuth signature")


class _OAuthRequest(Protocol):
    """The part of oauthlib's request that the validator reads."""

    nonce: str


class _Validator(RequestValidator):  # type: ignore[misc]  # oauthlib has no type information
    """Two-legged: keys and their secrets, no access tokens. A nonce is good once."""

    enforce_ssl = False
    dummy_client = "nobody"

    def __init__(self, secrets: dict[str, str]) -> None:
        super().__init__()
        self._secrets = secrets
        self._used: dict[tuple[str, str, str], None] = {}

    def check_client_key(self, client_key: str) -> bool:
        """The vendor's keys follow no documented form."""
        return bool(client_key)

    def check_nonce(self, nonce: str) -> bool:
        """Length and alphabet are the client's choice."""
        return bool(nonce)

    def validate_client_key(self, client_key: str, request: _OAuthRequest) -> bool:
        """Whether the key is known."""
        return client_key in self._secrets

    def get_client_secret(self, client_key: str, request: _OAuthRequest) -> str:
        """The key's secret; one that no client can have for the dummy."""
        return self._secrets.get(client_key, "\x00")

    def validate_timestamp_and_nonce(
        self,
        client_key: str,
        timestamp: str,
        nonce: str,
        request: _OAuthRequest,
        *,
        request_token: str | None = None,
        access_token: str | None = None,
    ) -> bool:
        """Refuses a replay; the age of the timestamp is checked by oauthlib."""
        entry = (client_key, timestamp, nonce)
        if entry in self._used:
            return False
        self._used[entry] = None
        if len(self._used) > 100_000:
            del self._used[next(iter(self._used))]
        return True


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Authenticator:
    """Checks one request at a time against fixed credentials."""

    def __init__(self, credentials: Credentials) -> None:
        self._anyone = credentials.anyone
        self._tokens = credentials.tokens
        self._accepted = frozenset(
            [f"Token {token}" for token in credentials.tokens]
            + [_basic(token, "") for token in credentials.tokens]
            + [_basic(user, password) for user, password in credentials.users]
        )
        self._oauth = SignatureOnlyEndpoint(_Validator(dict(credentials.oauth)))

    def refuse(self, request: BaseRequest) -> Refusal | None:
        """Why the request must not come in, or None when it may."""
        header = request.headers.get("Authorization")
        if self._anyone or header in self._accepted:
            return None
        if header is None:
            token = request.query.get("token")
            if token is None:
                return _NOTHING_GIVEN
            return None if token in self._tokens else _BAD_TOKEN
        if header.startswith("OAuth "):
            return None if self._signed(request) else _BAD_SIGNATURE
        return _BAD_TOKEN if header.startswith("Token ") else _BAD_USER

    def _signed(self, request: BaseRequest) -> bool:
        # A JSON body takes no part in the signature (RFC 5849, 3.4.1.3.1).
        headers = {"Authorization": request.headers["Authorization"]}
        try:
            valid, _ = self._oauth.validate_request(str(request.url), request.method, None, headers)
        except ValueError:
            # oauthlib raises it for a header that is no list of parameters.
            return False
        return bool(valid)
