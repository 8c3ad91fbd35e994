"""The configuration as frozen values. Durations are seconds, paths are absolute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import msgspec

from pollerd.config.problem import ConfigError, Problem, mask_userinfo
from pollerd.config.secret import SecretSource, UnseenError

BUILT_IN = "built-in defaults"
"""``Config.source`` when no file was found."""
DEFAULT_KEEP_FINISHED = 30 * 86400.0
DEFAULT_SOCKET_MODE = 0o660
DEFAULT_EVERY = 5.0
DEFAULT_RETRY_AFTER = (60.0, 120.0, 360.0, 1440.0, 7200.0, 43200.0)
"""The vendor's own schedule: seconds to wait after each failed attempt."""
DEFAULT_ROW_RETRY_AFTER = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0)
"""Seconds to wait for a row after each failed attempt: an application writes it a moment after sending, or when a batch
is through; half a day later most likely never.
"""


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


class TokenAuth(msgspec.Struct, frozen=True):
    """``Authorization: Token ...``, what the vendor recommends."""

    source: SecretSource


class BasicAuth(msgspec.Struct, frozen=True):
    """HTTP Basic; the source gives the password."""

    username: str
    source: SecretSource


class OAuth1(msgspec.Struct, frozen=True):
    """Two-legged OAuth 1.0a; the source gives the secret that belongs to the key."""

    key: str
    source: SecretSource


Auth = TokenAuth | BasicAuth | OAuth1


class LimitsConfig(msgspec.Struct, frozen=True):
    """What one account may ask of the gateway."""

    requests_per_second: float = 10.0
    max_connections: int = 20
    timeout: float = 15.0


class AccountConfig(msgspec.Struct, frozen=True):
    """One set of credentials at one gateway. Without ``proxy`` and ``ca_file`` the environment decides."""

    name: str
    base_url: str
    auth: Auth
    limits: LimitsConfig
    proxy: MaskedUrl | None = None
    ca_file: Path | None = None
    overdue_after: float | None = None

    @property
    def renewal(self) -> str:
        """What a person does so that the daemon takes up another secret."""
        return self.auth.source.renewal


class BackoffConfig(msgspec.Struct, frozen=True):
    """When a message is looked at again. ``first_poll_after`` None: the policy chooses."""

    policy: Literal["adaptive", "exponential"] = "adaptive"
    polls_per_message: float = 5.0
    factor: float = 1.5
    first_poll_after: float | None = None
    min_interval: float = 2.0
    max_interval: float = 3600.0
    not_found_grace: float = 900.0
    scheduled_horizon: float = 2592000.0
    give_up_after: float = 259200.0


class StoreConfig(msgspec.Struct, frozen=True):
    path: Path
    keep_finished: float = DEFAULT_KEEP_FINISHED


class FileOutputConfig(msgspec.Struct, frozen=True):
    path: Path


class SocketOutputConfig(msgspec.Struct, frozen=True):
    path: Path
    mode: int = DEFAULT_SOCKET_MODE


class WebhookRouteConfig(msgspec.Struct, frozen=True):
    """Where events of one account, or of userrefs that begin so, go instead. Both given: both must hold."""

    url: str
    userref_prefix: str | None = None
    account: str | None = None
    secret: SecretSource | None = None


class WebhookOutputConfig(msgspec.Struct, frozen=True):
    """``allow_remote`` False: receivers at loopback and private addresses only. ``retry_after``: seconds to wait after
    each failed attempt; after one more an event is parked.
    """

    url: str
    secret: SecretSource | None = None
    all_events: bool = False
    allow_remote: bool = False
    retry_after: tuple[float, ...] = DEFAULT_RETRY_AFTER
    routes: tuple[WebhookRouteConfig, ...] = ()


class ExecOutputConfig(msgspec.Struct, frozen=True):
    """Program and arguments, started without a shell."""

    command: tuple[str, ...]


class TargetRules(msgspec.Struct, frozen=True):
    """Which events an output into a database takes, and what becomes of one that changes no row.

    ``no_row``: it is tried again, or is told all the same. ``retry_after``: seconds to wait after each failed attempt;
    after one more the event is parked. ``userref_prefix`` and ``account`` both given: both must hold.
    """

    no_row: Literal["retry", "ignore"]
    retry_after: tuple[float, ...] = DEFAULT_ROW_RETRY_AFTER
    userref_prefix: str | None = None
    account: str | None = None


class SqliteOutputConfig(msgspec.Struct, frozen=True):
    """``statement`` is run for each event; its named parameters are event fields."""

    path: Path
    statement: str
    rules: TargetRules


class OutputsConfig(msgspec.Struct, frozen=True):
    file: FileOutputConfig | None = None
    socket: SocketOutputConfig | None = None
    webhook: WebhookOutputConfig | None = None
    exec: ExecOutputConfig | None = None
    sqlite: tuple[SqliteOutputConfig, ...] = ()


class SqliteSourceConfig(msgspec.Struct, frozen=True):
    """``query`` is run every ``every`` seconds and gives the ids to follow."""

    path: Path
    query: str
    every: float = DEFAULT_EVERY


class SourcesConfig(msgspec.Struct, frozen=True):
    sqlite: tuple[SqliteSourceConfig, ...] = ()


class ControlConfig(msgspec.Struct, frozen=True):
    """``socket`` None: no control socket, because the path chosen by default is too long for one."""

    socket: Path | None


class CreditConfig(msgspec.Struct, frozen=True):
    """``warn_below`` None: the balance is not watched."""

    warn_below: float | None = None
    check_every: float = 900.0


class LogConfig(msgspec.Struct, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json", "journal"] = "auto"
    show_msisdn: bool = False


class Listen(msgspec.Struct, frozen=True):
    """A TCP address to serve HTTP on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class MetricsConfig(msgspec.Struct, frozen=True):
    listen: Listen


class WebConfig(msgspec.Struct, frozen=True):
    listen: Listen


class Config(msgspec.Struct, frozen=True):
    """Everything the daemon was told. ``source`` is the file's path or ``built-in defaults``."""

    accounts: Mapping[str, AccountConfig]
    store: StoreConfig
    outputs: OutputsConfig
    control: ControlConfig
    source: str = BUILT_IN
    backoff: BackoffConfig = BackoffConfig()
    credit: CreditConfig = CreditConfig()
    log: LogConfig = LogConfig()
    metrics: MetricsConfig | None = None
    web: WebConfig | None = None
    sources: SourcesConfig = SourcesConfig()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A caller's dict would leave the frozen value open to change.
        msgspec.structs.force_setattr(self, "accounts", MappingProxyType(dict(self.accounts)))

    def secret_sources(self) -> tuple[SecretSource, ...]:
        """Every place a secret is read from."""
        found = [account.auth.source for account in self.accounts.values()]
        webhook = self.outputs.webhook
        if webhook is not None:
            signing = [webhook.secret, *(route.secret for route in webhook.routes)]
            found += [source for source in signing if source is not None]
        return tuple(found)

    def resolve_secrets(self) -> tuple[str, ...]:
        """Read every secret once; returns warnings about where they are kept.

        Raises :class:`ConfigError` with all that cannot be read or cannot be right.
        """
        return check_secrets(self.secret_sources())


def check_secrets(sources: tuple[SecretSource, ...]) -> tuple[str, ...]:
    """Read every source; returns warnings, raises :class:`ConfigError` with all problems."""
    problems: list[Problem] = []
    unseen: list[str] = []
    weak: list[str] = []
    for source in sources:
        try:
            weak += weakness(source)
        except UnseenError as error:
            unseen.append(f"{error.told}; {error.next_step}")
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(tuple(problems))
    warnings = (source.warning() for source in sources)
    return tuple(dict.fromkeys([*unseen, *(text for text in warnings if text is not None), *weak]))


def weakness(source: SecretSource) -> tuple[str, ...]:
    """Read the source; what is unwise about the secret in it. Raises :class:`ConfigError`."""
    found = source.kind.weakness(source.read().reveal())
    return () if found is None else (f"{source.origin.key}: the secret {found}",)
