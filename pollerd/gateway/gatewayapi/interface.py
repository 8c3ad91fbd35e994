"""GatewayAPI's REST interface for one account. Source: the vendor's REST documentation, in `gatewayapi.com/docs`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from yarl import URL

from pollerd.config import AccountConfig
from pollerd.core.incoming import Dates, IncomingPage
from pollerd.core.model import Outcome, Trouble
from pollerd.core.ports import Balance
from pollerd.gateway.gatewayapi.answers import (
    read_balance,
    read_error,
    read_incoming,
    read_incoming_error,
    read_message,
)
from pollerd.gateway.gatewayapi.auth import RequestSigner
from pollerd.gateway.vendor import ErrorAnswer, Headers, IncomingErrorAnswer

_PER_PAGE: Final = 200
"""Incoming messages on a page: the most that the vendor's documentation allows."""


class GatewayApi:
    """Fulfils `gateway.vendor.Vendor`.

    Raises :class:`pollerd.config.ConfigError` when the account's secret cannot be read.
    """

    def __init__(self, account: AccountConfig) -> None:
        base = URL(account.base_url)
        self._messages = base / "rest" / "mtsms"
        self._path = self._messages.raw_path
        self._credentials = RequestSigner(account)
        self._incoming = base / "rest" / "mosms"
        self.balance_url = base / "rest" / "me"

    def message_url(self, message_id: int) -> URL:
        return self._messages.with_path(f"{self._path}/{message_id}", encoded=True)

    def incoming_url(self, dates: Dates, page: int) -> URL:
        return self._incoming.with_query(
            {"from": dates.first, "to": dates.last, "page": str(page), "per_page": str(_PER_PAGE)}
        )

    def headers(self, url: URL) -> Headers:
        return self._credentials.headers(url)

    @property
    def secrets(self) -> tuple[str, ...]:
        return self._credentials.secrets

    def reload(self) -> bool:
        return self._credentials.reload()

    def read_message(self, body: bytes, headers: Mapping[str, str], message_id: int) -> Outcome:
        return read_message(body, headers, message_id)

    def read_balance(self, body: bytes, headers: Mapping[str, str]) -> Balance | Trouble:
        return read_balance(body, headers)

    def read_error(
        self, status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str], now: float
    ) -> ErrorAnswer:
        return read_error(status, headers, body, redact, now)

    def read_incoming(self, body: bytes, headers: Mapping[str, str]) -> IncomingPage | Trouble:
        return read_incoming(body, headers)

    def read_incoming_error(
        self, status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str], now: float
    ) -> IncomingErrorAnswer:
        return read_incoming_error(status, headers, body, redact, now)
