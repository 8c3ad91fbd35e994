"""``[limits]`` and ``[accounts.NAME]``: who asks the gateway, and how much."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec

from pollerd.config.environment import LoadContext
from pollerd.config.kinds import Choice, base_url, duration, is_loopback, number, proxy_url, text, whole
from pollerd.config.reader import Diagnostics, TomlTable, Wrong, key_part
from pollerd.config.secret import (
    RESTART,
    AbsentSecret,
    EnvSecret,
    FileSecret,
    InlineSecret,
    Origin,
    SealedSecret,
    Secret,
    SecretKind,
    SecretSource,
)
from pollerd.config.values import AccountConfig, Auth, BasicAuth, LimitsConfig, OAuth1, TokenAuth

DEFAULT_ACCOUNT = "default"
DEFAULT_BASE_URL = "https://gatewayapi.com"
GATEWAY_CONNECTIONS = 40
"""Open connections that the gateway allows one address."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class _Scheme(msgspec.Struct, frozen=True):
    """One way to authenticate: the key that says who, if any, and the key that holds the secret."""

    who: str | None
    secret: str
    kind: SecretKind

    def key_names(self) -> tuple[str, ...]:
        who = (self.who,) if self.who else ()
        return (*who, self.secret, f"{self.secret}_file", f"{self.secret}_env")


_TOKEN = _Scheme(None, "token", SecretKind.TOKEN)
_SCHEMES = {
    "token": _TOKEN,
    "basic": _Scheme("username", "password", SecretKind.PASSWORD),
    "oauth1": _Scheme("key", "secret", SecretKind.TOKEN),
}
_SCHEME = Choice({name: name for name in _SCHEMES})


def read_limits(table: TomlTable, base: LimitsConfig) -> LimitsConfig:
    """The limits of this table; what it leaves away is taken from ``base``."""
    limits = LimitsConfig(
        requests_per_second=table.take("requests_per_second", number(0, 10_000, above=True), base.requests_per_second),
        max_connections=table.take("max_connections", whole(1, GATEWAY_CONNECTIONS), base.max_connections),
        timeout=table.take("timeout", duration(0.1, 600), base.timeout),
    )
    table.close()
    return limits


def read_accounts(root: TomlTable, limits: LimitsConfig, context: LoadContext) -> dict[str, AccountConfig]:
    """All accounts by name. Without any, there is one named ``default``."""
    tables = root.section("accounts")
    names = tables.names() or (DEFAULT_ACCOUNT,)
    accounts: dict[str, AccountConfig] = {}
    for name in names:
        if not _NAME.fullmatch(name):
            root.diagnostics.add(
                tables.path(name), None, "an account's name is made of letters, digits, - and _ (63 at most)"
            )
        table = tables.section(name)
        accounts[name] = _Reader(table, context, only=len(names) == 1).account(name, limits)
    _warn(root.diagnostics, accounts)
    return accounts


class _Reader(msgspec.Struct, frozen=True):
    table: TomlTable
    context: LoadContext
    only: bool

    def account(self, name: str, limits: LimitsConfig) -> AccountConfig:
        table = self.table
        account = AccountConfig(
            name=name,
            base_url=table.take("base_url", base_url, DEFAULT_BASE_URL),
            auth=self._auth(name),
            limits=read_limits(table.section("limits"), limits),
            proxy=table.take("proxy", proxy_url),
            ca_file=table.take("ca_file", self.context.path),
            overdue_after=table.take("overdue_after", duration(1, 365 * 86400)),
        )
        table.close()
        return account

    def _auth(self, name: str) -> Auth:
        chosen = self.table.take("auth", _SCHEME, "token")
        scheme = _SCHEMES[chosen]
        self._refuse_foreign(chosen)
        who = self._who(scheme)
        source = read_secret(self.table, scheme.secret, scheme.kind, self.context)
        if source is None and self.table.sound("auth"):
            source = self._found_by_itself(name, scheme)
        elif source is None:
            source = _refused(scheme.kind, self.context, self.table.path("auth"))
        if chosen == "basic":
            return BasicAuth(who, source)
        return OAuth1(who, source) if chosen == "oauth1" else TokenAuth(source)

    def _who(self, scheme: _Scheme) -> str:
        if scheme.who is None:
            return ""
        kind = _username if scheme.who == "username" else text
        return self.table.require(scheme.who, kind) or ""

    def _refuse_foreign(self, chosen: str) -> None:
        certain = self.table.sound("auth")
        for name, scheme in _SCHEMES.items():
            given = [key for key in scheme.key_names() if key in self.table]
            if name == chosen or not certain:
                continue
            for key in given:
                wrong = f'belongs to auth = "{name}", but auth is "{chosen}"; change auth, or remove this key'
                self.table.refuse(key, wrong, secret=True)

    def _found_by_itself(self, account: str, scheme: _Scheme) -> SecretSource:
        origin = Origin(self.context.file, self.table.path(scheme.secret))
        variable = "GATEWAYAPI_TOKEN"
        from_env: SecretSource | None = None
        # With several accounts nobody could say whose token the variable holds.
        if scheme is _TOKEN and self.only and self.context.env.get(variable):
            from_env = EnvSecret(variable, Secret(self.context.env[variable]), scheme.kind, origin)
        if from_env is not None and self.context.built_in:
            return from_env
        credentials = [f"{scheme.secret}-{account}"]
        if self.only or account == DEFAULT_ACCOUNT:
            credentials.append(scheme.secret)
        for credential in credentials:
            found = self._credential(credential, scheme.kind, origin) if _NAME.fullmatch(credential) else None
            if found is not None:
                return found
        return from_env or AbsentSecret(scheme.kind, origin, self._ways(scheme))

    def _credential(self, name: str, kind: SecretKind, origin: Origin) -> SecretSource | None:
        path, service = self.context.credential(name), self.context.service
        if path is not None:
            return FileSecret(path, kind, origin, credential=name)
        if service is None or name not in service.credentials:
            return None
        loaded = service.credentials[name]
        if loaded is None:
            return SealedSecret(name, service.unit, kind, origin)
        return FileSecret(loaded, kind, origin, service.unit, name)

    def _ways(self, scheme: _Scheme) -> str:
        what = scheme.secret
        if self.context.built_in:
            return (
                "no token is given and no configuration was found; set the environment variable GATEWAYAPI_TOKEN, "
                "or write a configuration with token_file in it (pollerd config init), or give a systemd "
                'credential named "token"'
            )
        ways = (
            f'set {what}_file = "/etc/pollerd/{what}", or {what}_env to the name of an environment variable, or give a '
            f'systemd credential named "{what}"'
        )
        if self.context.credentials is None:
            return f"no {what} is given; {ways}"
        return f"no {what} is given; put it into /etc/pollerd/{what}, if the unit loads that, and {RESTART}; or {ways}"


def _username(value: object) -> str:
    found = text(value)
    if ":" in found:
        raise Wrong("must not hold a colon, which HTTP Basic cannot carry in a user name")
    return found


def _variable(value: object) -> str:
    if isinstance(value, str) and _VARIABLE.fullmatch(value):
        return value
    raise Wrong("must be the name of an environment variable, not the secret itself")


def read_secret(table: TomlTable, name: str, kind: SecretKind, context: LoadContext) -> SecretSource | None:
    """Where ``name``, ``name_file`` or ``name_env`` says the secret is; None when none of them does."""
    forms = (name, f"{name}_file", f"{name}_env")
    given = [key for key in forms if key in table]
    for key in given[1:]:
        table.refuse(key, f"must be left out, {given[0]} is given already; keep one of them", secret=True)

    def inline(value: object) -> Secret:
        if not isinstance(value, str):
            raise Wrong("must be a text in quotes")
        fault = kind.fault(value, literal=True)
        if fault is not None:
            raise Wrong(fault)
        return Secret(value)

    secret = table.take(forms[0], inline, secret=True)
    path = table.take(forms[1], context.path)
    variable = table.take(forms[2], _variable, secret=True)
    if secret is not None:
        return InlineSecret(secret, kind, Origin(context.file, table.path(forms[0])))
    if path is not None:
        origin = Origin(context.file, table.path(forms[1]))
        return FileSecret(path, kind, origin, credential=context.credential_at(path))
    if variable is not None:
        found = context.env.get(variable)
        value = None if found is None else Secret(found)
        return EnvSecret(variable, value, kind, Origin(context.file, table.path(forms[2])))
    if given:
        return _refused(kind, context, table.path(given[0]))
    return None


def _refused(kind: SecretKind, context: LoadContext, key: str) -> SecretSource:
    """Stands in for a secret whose key has its problem already, so that it is not called missing too."""
    return AbsentSecret(kind, Origin(context.file, key), "cannot be used as it stands")


def _warn(diagnostics: Diagnostics, accounts: dict[str, AccountConfig]) -> None:
    connections: dict[str, int] = {}
    for account in accounts.values():
        parts = urlsplit(account.base_url)
        host = parts.hostname or ""
        connections[host] = connections.get(host, 0) + account.limits.max_connections
        if parts.scheme == "http" and not is_loopback(host):
            diagnostics.warnings.append(
                f"accounts.{key_part(account.name)}.base_url: credentials go to {host} unencrypted; use https"
            )
    for host, total in connections.items():
        if total > GATEWAY_CONNECTIONS:
            diagnostics.warnings.append(
                f"max_connections of all accounts at {host} add up to {total}; the gateway allows "
                f"{GATEWAY_CONNECTIONS} from one address, so lower [limits] max_connections"
            )
    if DEFAULT_ACCOUNT not in accounts:
        diagnostics.warnings.append(
            f'messages handed over without an account belong to "{DEFAULT_ACCOUNT}", which is not configured; '
            "name the account with each, or add [accounts.default]"
        )
