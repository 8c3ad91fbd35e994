"""``[limits]`` and ``[accounts.NAME]``: who asks the gateway, and how much. The keys, and how they are read.

A struct's docstring is the text about its table that users read.
"""

# Declarations are read while the program runs: no `from __future__ import annotations` here.
import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec

from pollerd.config.addresses import BASE_URL, OWN_ADDRESSES, PROXY_URL, MaskedUrl, family_of, is_loopback
from pollerd.config.environment import LoadContext
from pollerd.config.key import Key, SecretKeys, Variants, fields, key_names
from pollerd.config.kinds import DAY, MINUTE, PATH, SINCE, TEXT, USERNAME, YEAR, choice, duration, number, whole
from pollerd.config.reader import Diagnostics, TomlTable, key_part
from pollerd.config.secret import (
    RESTART,
    AbsentSecret,
    EnvSecret,
    FileSecret,
    Origin,
    SealedSecret,
    Secret,
    SecretKind,
    SecretSource,
)
from pollerd.core.ids import DEFAULT_ACCOUNT

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
"""63 characters at most, as a label of DNS: an account's name is part of a credential's name and of metrics."""

GATEWAY_CONNECTIONS: Final = 40
"""Open connections that GatewayAPI allows one address, says its documentation."""


class TokenAuth(msgspec.Struct, frozen=True):
    """What GatewayAPI recommends. Without any of the keys, the token is the systemd credential named "token" (or
    "token-NAME", by the account's name), then the environment variable GATEWAYAPI_TOKEN when there is only one account.
    """

    source: Annotated[
        SecretSource,
        SecretKeys(
            "token",
            SecretKind.TOKEN,
            "A file with the token and nothing else, readable by the daemon's user alone.",
            file="/etc/pollerd/token",
            variable="GATEWAYAPI_TOKEN",
        ),
    ]


class BasicAuth(msgspec.Struct, frozen=True):
    """HTTP Basic, the older way. Without a key for it, the password is the systemd credential named "password"."""

    username: Annotated[str, Key(USERNAME, "The user name.", example="alice")]
    source: Annotated[
        SecretSource,
        SecretKeys(
            "password",
            SecretKind.PASSWORD,
            "A file with the password and nothing else.",
            file="/etc/pollerd/password",
            variable="GATEWAYAPI_PASSWORD",
        ),
    ]


class OAuth1(msgspec.Struct, frozen=True):
    """Two-legged OAuth 1.0a. Without a key for it, the secret is the systemd credential named "secret"."""

    key: Annotated[str, Key(TEXT, "The API key.", example="Create-an-API-Key")]
    source: Annotated[
        SecretSource,
        SecretKeys(
            "secret",
            SecretKind.TOKEN,
            "A file with the secret that belongs to the key, and nothing else.",
            file="/etc/pollerd/secret",
            variable="GATEWAYAPI_SECRET",
        ),
    ]


Auth = TokenAuth | BasicAuth | OAuth1
_SCHEMES: Final[Mapping[str, type[Auth]]] = MappingProxyType({"token": TokenAuth, "basic": BasicAuth, "oauth1": OAuth1})
_AUTH: Final = Variants(
    Key(choice(*_SCHEMES), "How pollerd proves who it is. The keys of each way follow."), "token", _SCHEMES
)


class LimitsConfig(msgspec.Struct, frozen=True):
    """What an account may ask of the gateway. [limits] is for every account, [accounts.NAME.limits] for that one alone,
    key by key.
    """

    requests_per_second: Annotated[float, Key(number(0, 10_000, above=True), "Requests a second at most.")] = 10.0
    max_connections: Annotated[
        int,
        Key(
            whole(1, GATEWAY_CONNECTIONS),
            f"Connections open at once, from each of source_addresses where there are any. The gateway allows "
            f"{GATEWAY_CONNECTIONS} from one address, whoever opens them: leave some to others.",
        ),
    ] = 20
    timeout: Annotated[float, Key(duration(0.1, 10 * MINUTE), "Time for one request as a whole.")] = 15.0


class IncomingConfig(msgspec.Struct, frozen=True):
    """Messages that people send to the account's numbers (MO), reported as message.received. They are read only where
    this table stands, at the account's pace. The gateway's call for it (GET /rest/mosms) was documented in 2021 and not
    verified since: pollerd doctor tries it.
    """

    every: Annotated[
        float,
        Key(
            duration(0.1, DAY),
            "How often it is asked. While nothing comes the interval grows, to six times as much or five minutes, "
            "whichever is less.",
        ),
    ] = 10.0
    since: Annotated[
        date | None,
        Key(
            SINCE,
            'Where the first look begins: "now" or a day in UTC. Later ones go on where the last one ended.',
            example="2026-11-01",
            unset='"now": what is there already is not reported',
        ),
    ] = None
    keep: Annotated[
        float,
        Key(
            duration(MINUTE, YEAR),
            "How long a text stays in the database. After it the event goes on without text.",
        ),
    ] = 7 * DAY


class AccountConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One table for each GatewayAPI account. A message that is handed over without an account belongs to "default"."""

    name: str
    base_url: Annotated[
        str,
        Key(
            BASE_URL,
            'The gateway. EU accounts are at "https://gatewayapi.eu"; a token is valid at one of the two.',
        ),
    ] = "https://gatewayapi.com"
    auth: Annotated[Auth, _AUTH]
    proxy: Annotated[
        MaskedUrl | None,
        Key(
            PROXY_URL,
            'The HTTP proxy to the gateway; "http://user:password@proxy:3128" works too.',
            example="http://proxy:3128",
            unset="HTTPS_PROXY and NO_PROXY of the environment hold",
        ),
    ] = None
    ca_file: Annotated[
        Path | None,
        Key(
            PATH,
            "Certificates of a private authority, PEM.",
            example="/etc/ssl/corp.pem",
            unset="SSL_CERT_FILE of the environment holds, else the system's own certificates",
        ),
    ] = None
    source_addresses: Annotated[
        tuple[str, ...] | None,
        Key(
            OWN_ADDRESSES,
            "Addresses of this machine over which the account's connections are spread, max_connections from each.",
            example=["192.0.2.10", "192.0.2.11"],
            unset="the system chooses one address for all",
        ),
    ] = None
    overdue_after: Annotated[
        float | None,
        Key(
            duration(1, YEAR),
            "Time after sending. A message that then has no final state is reported once, as message.overdue.",
            example="10m",
            unset="nothing is reported",
        ),
    ] = None
    limits: LimitsConfig = LimitsConfig()
    incoming: IncomingConfig | None = None

    @property
    def sources(self) -> tuple[str | None, ...]:
        """The addresses to open connections from; None stands for the one that the system chooses."""
        return self.source_addresses or (None,)

    @property
    def connections(self) -> int:
        """Connections that the account may have open from all its addresses together."""
        return self.limits.max_connections * len(self.sources)

    @property
    def renewal(self) -> str:
        """What a person does so that the daemon takes up another secret."""
        return self.auth.source.renewal


def read_accounts(root: TomlTable, limits: LimitsConfig) -> dict[str, AccountConfig]:
    """All accounts by name. Without any, there is one named ``default``."""
    tables = root.section("accounts")
    names = tables.names() or (DEFAULT_ACCOUNT,)
    accounts: dict[str, AccountConfig] = {}
    for name in names:
        if not _NAME.fullmatch(name):
            wrong = "an account's name is made of letters, digits, - and _ (63 at most)"
            root.diagnostics.add(tables.path(name), None, wrong)
        table = tables.section(name)
        auth = _AuthReader(table, name, only=len(names) == 1).read()
        own = table.section("limits").read(LimitsConfig, **msgspec.structs.asdict(limits))
        incoming = None if (found := table.subtable("incoming")) is None else found.read(IncomingConfig)
        account = table.read(AccountConfig, name=name, auth=auth, limits=own, incoming=incoming)
        accounts[name] = account
        _refuse_other_family(table, account)
    _warn(root.diagnostics, accounts)
    return accounts


def connections_by_address(accounts: Iterable[AccountConfig]) -> dict[tuple[str, str | None], dict[str, int]]:
    """By gateway host and source address (None: the one that the system chooses): the connections of each account."""
    found: dict[tuple[str, str | None], dict[str, int]] = {}
    for account in accounts:
        host = urlsplit(account.base_url).hostname or ""
        for address in account.sources:
            found.setdefault((host, address), {})[account.name] = account.limits.max_connections
    return found


def _refuse_other_family(table: TomlTable, account: AccountConfig) -> None:
    first_hop = account.base_url if account.proxy is None else account.proxy.reveal()
    family = family_of(urlsplit(first_hop).hostname or "")
    for address in account.source_addresses or ():
        if family is not None and family_of(address) != family:
            key = "base_url" if account.proxy is None else "proxy"
            wrong = f"{address} is no {family} address, but the host in {key} is: no connection leads from it to there"
            table.refuse("source_addresses", wrong)
            return


class _AuthReader(msgspec.Struct, frozen=True):
    table: TomlTable
    account: str
    only: bool

    def read(self) -> Auth:
        chosen: str = self.table.take("auth", _AUTH.key, _AUTH.default)
        struct = _SCHEMES[chosen]
        self._refuse_foreign(chosen)
        keys = next(field.marker for field in fields(struct) if isinstance(field.marker, SecretKeys))
        source = self.table.secret(keys)
        if source is None and self.table.sound("auth"):
            source = self._found_by_itself(keys)
        elif source is None:
            source = self.table.refused_secret("auth", keys.kind)
        return self.table.read_whole(struct, source=source) or TokenAuth(source)

    def _refuse_foreign(self, chosen: str) -> None:
        own, certain = key_names(_SCHEMES[chosen]), self.table.sound("auth")
        for name, struct in _SCHEMES.items():
            # Each is a key here, also where auth is wrong and it is unknown which ones belong.
            given = [key for key in key_names(struct) if key in self.table]
            for key in given if certain else ():
                if key not in own:
                    wrong = f'belongs to auth = "{name}", but auth is "{chosen}"; change auth, or remove this key'
                    self.table.refuse(key, wrong, secret=True)

    def _found_by_itself(self, keys: SecretKeys) -> SecretSource:
        context = self.table.context
        origin = Origin(context.file, self.table.path(keys.name))
        variable = "GATEWAYAPI_TOKEN"
        from_env: SecretSource | None = None
        # With several accounts it is unknown whose token the variable holds.
        if keys.name == "token" and self.only and context.env.get(variable):
            from_env = EnvSecret(variable, Secret(context.env[variable]), keys.kind, origin)
        if from_env is not None and context.built_in:
            return from_env
        credentials = [f"{keys.name}-{self.account}"]
        if self.only or self.account == DEFAULT_ACCOUNT:
            credentials.append(keys.name)
        for credential in credentials:
            found = credential_of(context, credential, keys.kind, origin) if _NAME.fullmatch(credential) else None
            if found is not None:
                return found
        return from_env or AbsentSecret(keys.kind, origin, self._ways(keys.name))

    def _ways(self, what: str) -> str:
        if self.table.context.built_in:
            return (
                "no token is given and no configuration was found; set the environment variable GATEWAYAPI_TOKEN, "
                "or write a configuration with token_file in it (pollerd config init), or give a systemd "
                'credential named "token"'
            )
        ways = (
            f'set {what}_file = "/etc/pollerd/{what}", or {what}_env to the name of an environment variable, or give a '
            f'systemd credential named "{what}"'
        )
        if self.table.context.credentials is None:
            return f"no {what} is given; {ways}"
        return f"no {what} is given; put it into /etc/pollerd/{what}, if the unit loads that, and {RESTART}; or {ways}"


def credential_of(context: LoadContext, name: str, kind: SecretKind, origin: Origin) -> SecretSource | None:
    """The systemd credential of this name, as this process has it, or as the service will."""
    path, service = context.credential(name), context.service
    if path is not None:
        return FileSecret(path, kind, origin, credential=name)
    if service is None or name not in service.credentials:
        return None
    loaded = service.credentials[name]
    if loaded is None:
        return SealedSecret(name, service.unit, kind, origin)
    return FileSecret(loaded, kind, origin, service.unit, name)


def _warn(diagnostics: Diagnostics, accounts: dict[str, AccountConfig]) -> None:
    for account in accounts.values():
        parts = urlsplit(account.base_url)
        host = parts.hostname or ""
        if parts.scheme == "http" and not is_loopback(host):
            diagnostics.warnings.append(
                f"accounts.{key_part(account.name)}.base_url: credentials go to {host} unencrypted; use https"
            )
        if account.source_addresses and account.proxy is not None:
            diagnostics.warnings.append(
                f"accounts.{key_part(account.name)}.source_addresses: the connections go to the proxy, and the gateway "
                f"counts the proxy's own address, unless the proxy gives each of these an address of its own"
            )
    for (host, address), each in connections_by_address(accounts.values()).items():
        if (total := sum(each.values())) > GATEWAY_CONNECTIONS:
            source = f" from {address}" if address else ""
            diagnostics.warnings.append(
                f"max_connections of all accounts at {host}{source} add up to {total}; the gateway allows "
                f"{GATEWAY_CONNECTIONS} from one address, so lower [limits] max_connections"
            )
    if DEFAULT_ACCOUNT not in accounts:
        diagnostics.warnings.append(
            f'messages handed over without an account belong to "{DEFAULT_ACCOUNT}", which is not configured; '
            "name the account with each, or add [accounts.default]"
        )
