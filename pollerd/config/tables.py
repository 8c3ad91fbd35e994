"""The tables of the configuration, each key declared once: type, bounds, default and what it is for.

A docstring is the text about its table in config.example.toml, docs/configuration.md and the manual page. Durations are
seconds, and paths are absolute once they are read. Bounds refuse typing errors, such as a forgotten unit or a digit too
many, and are wide otherwise. Where a bound has another reason, a comment beside it gives it.
"""

# Annotations are read while the program runs: no `from __future__ import annotations` here.
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec

from pollerd.config.accounts import AccountConfig, LimitsConfig
from pollerd.config.addresses import LISTEN, Listen
from pollerd.config.key import Heading, Key, SecretKeys, values
from pollerd.config.kinds import DAY, FLAG, HOUR, MINUTE, OWN_PATH, SOCKET_PATH, TEXT, YEAR, choice, duration, number
from pollerd.config.outputs import OutputsConfig
from pollerd.config.secret import SecretKind, SecretSource, check_secrets
from pollerd.config.sources import SourcesConfig
from pollerd.config.store_url import STORE_URL, StoreUrl

BUILT_IN: Final = "built-in defaults"
"""``Config.source`` when no file was found."""


class BackoffConfig(msgspec.Struct, frozen=True):
    """How long to wait between two polls of a message."""

    policy: Annotated[
        Literal["adaptive", "exponential"],
        Key(
            choice("adaptive", "exponential"),
            '"adaptive" learns how long each network takes, "exponential" waits longer by a fixed factor each time.',
        ),
    ] = "adaptive"
    polls_per_message: Annotated[
        float,
        Key(
            number(1, 1000),
            "For adaptive: the average number of polls of a message with one recipient. With each doubling of its "
            "recipients a message takes a fifth of this more, up to 3.2 times as much at 1,000.",
        ),
    ] = 5.0
    factor: Annotated[
        float, Key(number(1, 100), "For exponential: how many times the interval before each interval is.")
    ] = 1.5
    first_poll_after: Annotated[
        float | None,
        Key(
            duration(0, 30 * DAY),
            'Time from sending to the first poll; "0s" polls at once.',
            example="2s",
            unset="exponential takes 2s, adaptive chooses",
        ),
    ] = None
    min_interval: Annotated[float, Key(duration(0.01, DAY), "The shortest interval.")] = 2.0
    max_interval: Annotated[
        float,
        Key(
            duration(0.01, 30 * DAY),
            "The longest interval. At the default, the last of many recipients may wait up to six times as long.",
        ),
    ] = HOUR
    not_found_grace: Annotated[
        float,
        Key(
            duration(0, 30 * DAY),
            'How long "not found" may mean "not there yet": it is polled at short intervals, then a warning follows.',
        ),
    ] = 15 * MINUTE
    scheduled_horizon: Annotated[
        float,
        Key(duration(1, 10 * YEAR), "How long to wait for a message that was never seen and has no sendtime."),
    ] = 30 * DAY
    give_up_after: Annotated[
        float,
        Key(
            duration(1, YEAR),
            "Time after which polling stops without a final state: from sending, or from sendtime + validity_period if "
            "that is later.",
        ),
    ] = 3 * DAY


class StoreConfig(msgspec.Struct, frozen=True):
    """The database with messages, events and what was learned: an SQLite file, or PostgreSQL."""

    path: Annotated[
        Path,
        Key(
            OWN_PATH,
            "The database's file.",
            example="/var/lib/pollerd/pollerd.db",
            unset="pollerd.db in $STATE_DIRECTORY, else in the user's state folder",
        ),
    ]
    url: Annotated[
        StoreUrl | None,
        Key(
            STORE_URL,
            "Experimental: the store in PostgreSQL 14 or later instead of a file (pip install 'pollerd[postgresql]'). "
            "Several hosts may be named, and libpq's options follow a ?. TLS is required, and the server's name "
            "checked, unless sslmode says otherwise or the host is a socket's folder.",
            example="postgresql://pollerd@db.example/pollerd",
            unset="the file in path",
        ),
    ] = None
    password: Annotated[
        SecretSource | None,
        SecretKeys(
            "password",
            SecretKind.PASSWORD,
            "A file with the password of the URL's user. It is read again for each new connection. Without a key for "
            'it, the password is the systemd credential named "database-password", if there is one.',
            file="/etc/pollerd/database-password",
            variable="DATABASE_PASSWORD",
        ),
    ] = None
    lossless: Annotated[
        bool,
        Key(
            FLAG,
            "Your word that no failover of PostgreSQL loses a commit: every replica that may take over is synchronous, "
            "or the disk is shared. Event numbers go on without a jump then. Set it on every machine, or on none.",
        ),
    ] = False
    keep_finished: Annotated[float, Key(duration(0, 10 * YEAR), "How long a finished message can still be shown.")] = (
        30 * DAY
    )
    keep_events: Annotated[
        float | None,
        Key(
            duration(0, 10 * YEAR),
            "How long an event that every output has reported can still be read, and how long one is kept that an "
            "output could not deliver; it names the recipient.",
            example="30d",
            unset="as keep_finished",
        ),
    ] = None
    group_writes: Annotated[
        bool,
        Key(
            FLAG,
            "Lets members of the folder's group write the database themselves, with plain SQL. They can then change or "
            "delete all that is in it, and hold up the daemon by a long transaction.",
        ),
    ] = False

    member: str = ""
    """The name of this daemon among those that share a store in PostgreSQL; empty: the host's."""

    @property
    def where(self) -> str:
        """Where the store is kept, for people."""
        return str(self.path) if self.url is None else self.url.text

    @property
    def events_kept(self) -> float:
        """Seconds that events are kept."""
        return self.keep_finished if self.keep_events is None else self.keep_events


class ClusterConfig(msgspec.Struct, frozen=True):
    """This daemon among those that share a store in PostgreSQL: one of them polls at a time."""

    name: Annotated[str | None, Key(TEXT, "Its name.", example="db1", unset="the host's name")] = None


class ControlConfig(msgspec.Struct, frozen=True):
    """The socket that commands and programs talk to the daemon through."""

    # None: no control socket, because the path chosen by default is too long for one.
    socket: Annotated[
        Path | None,
        Key(
            SOCKET_PATH,
            "The control socket.",
            example="/run/pollerd/control.sock",
            unset="control.sock in $RUNTIME_DIRECTORY, else beside the database",
        ),
    ]


class MetricsConfig(msgspec.Struct, frozen=True):
    """Prometheus metrics on a TCP port; the control socket has them too, at /metrics. Every user of this machine can
    read a port on loopback; there are no phone numbers in it. Ask by address, by localhost, or by the machine's own
    name.
    """

    listen: Annotated[Listen, Key(LISTEN, "The address and port.", example="127.0.0.1:9464")]


class WebConfig(msgspec.Struct, frozen=True):
    """The status page for a browser: read-only, without a password, so keep it on loopback (or behind a proxy that asks
    for one). Every user of this machine can read it there.
    """

    listen: Annotated[Listen, Key(LISTEN, "The address and port.", example="127.0.0.1:8787")]


class CreditConfig(msgspec.Struct, frozen=True):
    """A warning when an account's balance runs low."""

    warn_below: Annotated[
        float | None,
        Key(
            number(),
            "A balance below this, in the account's currency, is reported once; 5 % above it ends the warning.",
            example=100.0,
            unset="the balance is not watched",
        ),
    ] = None
    check_every: Annotated[float, Key(duration(1, 30 * DAY), "How often the balance is read.")] = 15 * MINUTE


class LogConfig(msgspec.Struct, frozen=True):
    """The daemon's own log."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Key(choice("debug", "info", "warning", "error"), "The least important messages that are written."),
    ] = "info"
    format: Annotated[
        Literal["auto", "text", "json", "journal"],
        Key(
            choice("auto", "text", "json", "journal"),
            'The form of a line; "auto" is journal under systemd, else text.',
        ),
    ] = "auto"
    show_msisdn: Annotated[bool, Key(FLAG, "Writes phone numbers in full instead of masked.")] = False


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration in force. ``source`` is the file's path or ``built-in defaults``."""

    accounts: Annotated[Mapping[str, AccountConfig], Heading("Accounts")]
    limits: Annotated[LimitsConfig, Heading("Limits")] = LimitsConfig()
    backoff: Annotated[BackoffConfig, Heading("Polling")] = BackoffConfig()
    store: Annotated[StoreConfig, Heading("Database")]
    cluster: ClusterConfig = ClusterConfig()
    outputs: Annotated[OutputsConfig, Heading("Outputs")]
    sources: Annotated[SourcesConfig, Heading("Sources")] = SourcesConfig()
    control: Annotated[ControlConfig, Heading("Control socket, metrics, status page")]
    metrics: MetricsConfig | None = None
    web: WebConfig | None = None
    credit: Annotated[CreditConfig, Heading("Balance and log")] = CreditConfig()
    log: LogConfig = LogConfig()
    source: str = BUILT_IN
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A caller's dict would leave the frozen value open to change.
        msgspec.structs.force_setattr(self, "accounts", MappingProxyType(dict(self.accounts)))

    def secret_sources(self) -> tuple[SecretSource, ...]:
        """Every place a secret is read from."""
        return tuple(value for _, keys, value in values(self) if isinstance(keys, SecretKeys) and value is not None)

    def resolve_secrets(self) -> tuple[str, ...]:
        """Read every secret once; returns warnings about where they are kept.

        Raises :class:`ConfigError` with all that cannot be read or cannot be right.
        """
        return check_secrets(self.secret_sources())
