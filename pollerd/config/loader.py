"""From a file, the environment and the built-in defaults to one :class:`Config`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from pollerd.base.duration import render_duration
from pollerd.config import store_url
from pollerd.config.accounts import LimitsConfig, credential_of, read_accounts
from pollerd.config.addresses import is_loopback
from pollerd.config.databases import DatabaseUrl, missing
from pollerd.config.environment import FindService, LoadContext, blank
from pollerd.config.key import Key, values
from pollerd.config.kinds import PathKind, socket_fits
from pollerd.config.lines import LineIndex
from pollerd.config.outputs import OutputReader
from pollerd.config.problem import ConfigError, show
from pollerd.config.reader import Diagnostics, TomlTable
from pollerd.config.search import SYSTEM_FILE, ConfigFile, find
from pollerd.config.secret import FileSecret, InlineSecret, Origin, SecretKind, SecretSource, check_secrets
from pollerd.config.service_rights import unreadable
from pollerd.config.sources import read_sources
from pollerd.config.store_url import PASSWORD_CREDENTIAL, StoreUrl
from pollerd.config.tables import (
    BUILT_IN,
    BackoffConfig,
    ClusterConfig,
    Config,
    ControlConfig,
    CreditConfig,
    LogConfig,
    MetricsConfig,
    StoreConfig,
    WebConfig,
)

Served = TypeVar("Served", MetricsConfig, WebConfig)


def load(
    path: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    *,
    secrets: bool = False,
    system: Path = SYSTEM_FILE,
    service: FindService | None = None,
) -> Config:
    """The configuration in force. Raises :class:`ConfigError` with every problem there is.

    Looked for: ``path``, ``$POLLERD_CONFIG``, ``./pollerd.toml``, ``/etc/pollerd/config.toml``, built-in defaults.
    Secrets are read only when somebody asks for them; with ``secrets`` each is tried once here, and what is
    wrong with them joins the other problems. ``service`` is asked for the service that uses the file found: what its
    unit gives it counts as given.
    """
    env = os.environ if env is None else env
    cwd = Path.cwd() if cwd is None else cwd
    document = find(path, env, cwd, system)
    if document is None:
        context = LoadContext(BUILT_IN, cwd, env, built_in=True)
        diagnostics = Diagnostics(context.file)
        return _finished(build({}, context, diagnostics), diagnostics, secrets=secrets)
    used_by = service(document.path) if service is not None else None
    context = LoadContext(str(document.path), document.path.absolute().parent, env, service=used_by)
    diagnostics = Diagnostics(context.file, LineIndex(document.text))
    config = build(document.data, context, diagnostics)
    _warn_of_open_file(config, document, diagnostics)
    if secrets:
        diagnostics.extend(tuple(unreadable(config, used_by)))
    return _finished(config, diagnostics, secrets=secrets)


def build(data: Mapping[str, object], context: LoadContext, diagnostics: Diagnostics) -> Config:
    """Read the whole document. What is wrong goes to the diagnostics; the value then holds defaults instead."""
    root = TomlTable(diagnostics, "", data, context)
    limits = root.section("limits").read(LimitsConfig)
    accounts = read_accounts(root, limits)
    cluster = root.section("cluster").read(ClusterConfig)
    store = _store(root.section("store"), cluster.name)
    reader = OutputReader(store.path, frozenset(accounts))
    config = Config(
        accounts=accounts,
        limits=limits,
        backoff=_backoff(root.section("backoff")),
        store=store,
        cluster=cluster,
        outputs=reader.outputs(root),
        sources=read_sources(root),
        control=_control(root.section("control"), store.path),
        metrics=_served(root.subtable("metrics"), MetricsConfig),
        web=_served(root.subtable("web"), WebConfig),
        credit=root.section("credit").read(CreditConfig),
        log=root.section("log").read(LogConfig),
        source=context.file,
    )
    _refuse_shared_paths(config, context, diagnostics)
    _refuse_shared_port(config, diagnostics)
    return config


def _finished(config: Config, diagnostics: Diagnostics, *, secrets: bool) -> Config:
    if secrets:
        try:
            diagnostics.warnings += check_secrets(config.secret_sources())
        except ConfigError as error:
            # A key that was refused already is not reported as unreadable too.
            refused = {problem.key for problem in diagnostics.problems}
            diagnostics.extend(tuple(problem for problem in error.problems if problem.key not in refused))
        _check_authorities(config, diagnostics)
        _check_libraries(config, diagnostics)
    problems = diagnostics.finish()
    if problems:
        raise ConfigError(problems)
    return replace(config, warnings=tuple(dict.fromkeys(diagnostics.warnings)))


def _store(table: TomlTable, member: str | None) -> StoreConfig:
    store = replace(table.read(StoreConfig, path=Path()), member=member or "")
    if store.url is not None:
        if "path" in table:
            table.refuse("url", "must not stand beside path: the store is in one place; keep one of them")
        if store.url.password is not None:
            store = _with_password(table, store, store.url)
        elif store.password is None:
            store = replace(store, password=_given_password(table))
    else:
        for key, given in (("password", store.password is not None), ("lossless", store.lossless)):
            if given:
                table.refuse(key, "belongs to url, which is not set")
    if not table.holds("path"):
        return replace(store, path=table.context.state_folder() / "pollerd.db")
    if _is_folder(store.path):
        table.refuse("path", f"is a folder; name a file in it, such as {store.path / 'pollerd.db'}")
    return store


def _with_password(table: TomlTable, store: StoreConfig, url: StoreUrl) -> StoreConfig:
    """A password that stands in the URL is a secret like any other."""
    if store.password is not None or url.password is None:
        table.refuse("url", "must not hold a password as well: the table has a key for it; keep one of them")
        return store
    secret = InlineSecret(url.password, SecretKind.PASSWORD, Origin(table.context.file, table.path("url")))
    return replace(store, url=replace(url, password=None), password=secret)


def _given_password(table: TomlTable) -> SecretSource | None:
    """The systemd credential; None: where it is empty the user may need no password, or libpq has it from elsewhere."""
    origin = Origin(table.context.file, table.path("password"))
    found = credential_of(table.context, PASSWORD_CREDENTIAL, SecretKind.PASSWORD, origin)
    try:
        return None if isinstance(found, FileSecret) and blank(found.path) else found
    except FileNotFoundError:
        return None
    except OSError:
        return found


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # Somebody else's folder: only its owner can say.
        return False


def _control(table: TomlTable, store: Path) -> ControlConfig:
    default = table.context.socket_folder(store) / "control.sock"
    control = table.read(ControlConfig, socket=default)
    if control.socket != default or socket_fits(default):
        return control
    if table.sound("socket"):
        table.diagnostics.warnings.append(
            f"no control socket: the default path {default} is too long for one; set a shorter [control] socket"
        )
    return ControlConfig(None)


def _backoff(table: TomlTable) -> BackoffConfig:
    backoff = table.read(BackoffConfig)
    if "not_found_grace" not in table:
        # Whoever shortens one of the others alone does not want a grace that is longer than it.
        grace = min(backoff.not_found_grace, backoff.give_up_after, backoff.scheduled_horizon)
        backoff = replace(backoff, not_found_grace=grace)
    _compare(table, "min_interval", backoff.min_interval, "max_interval", backoff.max_interval)
    _compare(table, "not_found_grace", backoff.not_found_grace, "give_up_after", backoff.give_up_after)
    _compare(table, "not_found_grace", backoff.not_found_grace, "scheduled_horizon", backoff.scheduled_horizon)
    if backoff.first_poll_after is not None:
        _compare(table, "first_poll_after", backoff.first_poll_after, "give_up_after", backoff.give_up_after)
    return backoff


def _compare(table: TomlTable, low: str, low_value: float, high: str, high_value: float) -> None:
    if low_value <= high_value or not table.sound(low, high):
        return
    # The problem is at a key that was written; the other one may be a default that is not seen.
    if low in table:
        table.refuse(low, f'must be at most {high}, which is "{render_duration(high_value)}"')
    else:
        table.refuse(high, f'must be at least {low}, which is "{render_duration(low_value)}"')


def _served(table: TomlTable | None, struct: type[Served]) -> Served | None:
    found = None if table is None else table.read_whole(struct)
    if table is not None and found is not None and not is_loopback(found.listen.host):
        table.diagnostics.warnings.append(
            f"{table.path('listen')}: {found.listen} can be reached from other machines and asks for no password; "
            "prefer 127.0.0.1"
        )
    return found


class _Use(msgspec.Struct, frozen=True):
    """A path and what it is for. Only uses that are not ``own`` may share one."""

    key: str
    path: Path
    own: bool


def _uses(config: Config, context: LoadContext) -> Iterator[_Use]:
    if not context.built_in:
        yield _Use("the configuration file", context.base / Path(context.file).name, own=True)
    for suffix in ("-wal", "-shm") if config.store.url is None else ():
        yield _Use("the database's own " + suffix, Path(f"{config.store.path}{suffix}"), own=True)
    for key, declared, value in values(config):
        if isinstance(value, FileSecret):
            yield _Use(value.origin.key, value.path, own=False)
        elif isinstance(value, Path):
            own = isinstance(declared, Key) and isinstance(declared.kind, PathKind) and declared.kind.own
            yield _Use(key, value, own=own)
        elif isinstance(value, DatabaseUrl) and value.kind == "sqlite":
            yield _Use(key, Path(value.place), own=False)


def _refuse_shared_paths(config: Config, context: LoadContext, diagnostics: Diagnostics) -> None:
    first: dict[Path, _Use] = {}
    # What must have its path for itself comes first: the problem is at what was put there as well.
    for use in sorted(_uses(config, context), key=lambda use: not use.own):
        other = first.setdefault(use.path, use)
        if other is not use and (use.own or other.own):
            wrong = f"is the path of {other.key} as well; every purpose needs a path of its own"
            diagnostics.add(use.key, show(str(use.path)), wrong)


def _refuse_shared_port(config: Config, diagnostics: Diagnostics) -> None:
    if config.web is None or config.metrics is None:
        return
    listen = config.web.listen
    if listen == config.metrics.listen and listen.port:
        wrong = "is the address of metrics.listen as well; give one of them another port"
        diagnostics.add("web.listen", show(str(listen)), wrong)


def _check_authorities(config: Config, diagnostics: Diagnostics) -> None:
    for account in config.accounts.values():
        if account.ca_file is None:
            continue
        try:
            with account.ca_file.open("rb"):
                pass
        except OSError as error:
            wrong = f"cannot be read ({error.strerror}); name a readable PEM file"
            diagnostics.add(f"accounts.{account.name}.ca_file", show(str(account.ca_file)), wrong)


def _check_libraries(config: Config, diagnostics: Diagnostics) -> None:
    for key, _, value in values(config):
        if isinstance(value, DatabaseUrl | StoreUrl):
            wrong = missing(value) if isinstance(value, DatabaseUrl) else store_url.missing()
            if wrong:
                diagnostics.add(key, show(value.text), wrong)


def _warn_of_open_file(config: Config, document: ConfigFile, diagnostics: Diagnostics) -> None:
    if document.world_readable and any(isinstance(s, InlineSecret) for s in config.secret_sources()):
        diagnostics.warnings.append(
            f"{document.path} holds a secret and can be read by every user of this machine; "
            f"run: chmod o= {document.path}"
        )
