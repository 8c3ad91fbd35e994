"""What the client must know of a vendor: where to ask, who asks, and what an answer means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from multidict import CIMultiDict
from yarl import URL

from pollerd.core.incoming import Dates, IncomingDenied, IncomingPage
from pollerd.core.model import NotFound, Outcome, Rejected, Trouble
from pollerd.core.ports import Balance

Headers = CIMultiDict[str]


class ErrorAnswer(NamedTuple):
    """An answer with any status but 200: what it means, its body with the secrets masked, and the vendor's code."""

    outcome: NotFound | Rejected | Trouble
    text: str
    code: int | None


class IncomingErrorAnswer(NamedTuple):
    """The same for a request for incoming messages."""

    outcome: IncomingDenied | Trouble
    text: str


class Vendor(Protocol):
    """A vendor's HTTP interface as one account sees it. Nothing here does I/O but `reload`, which may read a file.

    `headers` of an answer are its HTTP headers, `body` is as sent, perhaps compressed, and may be anything at all.
    """

    @property
    def balance_url(self) -> URL:
        """Where the account's credit is read."""
        ...

    def message_url(self, message_id: int) -> URL:
        """Where the status of a message is read."""
        ...

    def incoming_url(self, dates: Dates, page: int) -> URL:
        """Where a page (from 1 on) of the messages is read that came in on these days."""
        ...

    def headers(self, url: URL) -> Headers:
        """The headers of one GET of `url`, credentials among them. The caller must not change them."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every text that must be masked wherever it turns up."""
        ...

    def reload(self) -> bool:
        """Read the secret's source again; True when requests carry another secret from now on."""
        ...

    def read_message(self, body: bytes, headers: Mapping[str, str], message_id: int) -> Outcome:
        """The outcome of a 200 answer from `message_url`."""
        ...

    def read_balance(self, body: bytes, headers: Mapping[str, str]) -> Balance | Trouble:
        """What a 200 answer from `balance_url` says."""
        ...

    def read_error(
        self, status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str], now: float
    ) -> ErrorAnswer:
        """What an answer with any other status means. `now` (wall clock) is for a `Retry-After` that is a date."""
        ...

    def read_incoming(self, body: bytes, headers: Mapping[str, str]) -> IncomingPage | Trouble:
        """What a 200 answer from `incoming_url` says."""
        ...

    def read_incoming_error(
        self, status: int, headers: Mapping[str, str], body: bytes, redact: Callable[[str], str], now: float
    ) -> IncomingErrorAnswer:
        """What an answer from there with any other status means."""
        ...
