"""From a file, the environment and the built-in defaults to one :class:`Config`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from pollerd.base.duration import render_duration
from pollerd.config.accounts import read_accounts, read_limits
from pollerd.config.environment import FindService, LoadContext
from pollerd.config.kinds import Choice, duration, flag, is_loopback, listen, number, socket_fits
from pollerd.config.lines import LineIndex
from pollerd.config.outputs import OutputReader
from pollerd.config.problem import ConfigError, show
from pollerd.config.reader import Diagnostics, TomlTable
from pollerd.config.search import SYSTEM_FILE, ConfigFile, find
from pollerd.config.secret import FileSecret, InlineSecret
from pollerd.config.values import (
    BUILT_IN,
    DEFAULT_KEEP_FINISHED,
    BackoffConfig,
    Config,
    ControlConfig,
    CreditConfig,
    LimitsConfig,
    Listen,
    LogConfig,
    MetricsConfig,
    StoreConfig,
    WebConfig,
    check_secrets,
)

_DAY = 86400.0
_POLICIES: Mapping[str, Literal["adaptive", "exponential"]] = {
    "adaptive": "adaptive",
    "exponential": "exponential",
}
_LEVELS: Mapping[str, Literal["debug", "info", "warning", "error"]] = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
}
_FORMATS: Mapping[str, Literal["auto", "text", "json", "journal"]] = {
    "auto": "auto",
    "text": "text",
    "json": "json",
    "journal": "journal",
}


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
    return _finished(config, diagnostics, secrets=secrets)


def build(data: Mapping[str, object], context: LoadContext, diagnostics: Diagnostics) -> Config:
    """Read the whole document. What is wrong goes to the diagnostics; the value then holds defaults instead."""
    root = TomlTable(diagnostics, "", data)
    accounts = read_accounts(root, read_limits(root.section("limits"), LimitsConfig()), context)
    store = _store(root.section("store"), context)
    reader = OutputReader(context, store.path, frozenset(accounts))
    config = Config(
        accounts=accounts,
        store=store,
        outputs=reader.outputs(root),
        control=_control(root.section("control"), context, store.path),
        source=context.file,
        backoff=_backoff(root.section("backoff")),
        credit=_credit(root.section("credit")),
        log=_log(root.section("log")),
        metrics=None if (found := _listen(root.subtable("metrics"))) is None else MetricsConfig(found),
        web=None if (found := _listen(root.subtable("web"))) is None else WebConfig(found),
        sources=reader.sources(root),
    )
    root.close()
    _refuse_shared_paths(config, context, diagnostics)
    _refuse_shared_port(config, diagnostics)
    return config


def _finished(config: Config, diagnostics: Diagnostics, *, secrets: bool) -> Config:
    if secrets:
        try:
            diagnostics.warnings += check_secrets(config.secret_sources())
        except ConfigError as error:
            # A key that was refused already need not be told off for being unreadable as well.
            refused = {problem.key for problem in diagnostics.problems}
            diagnostics.extend(tuple(problem for problem in error.problems if problem.key not in refused))
        _check_authorities(config, diagnostics)
    problems = diagnostics.finish()
    if problems:
        raise ConfigError(problems)
    return replace(config, warnings=tuple(dict.fromkeys(diagnostics.warnings)))


def _store(table: TomlTable, context: LoadContext) -> StoreConfig:
    path = table.take("path", context.path)
    store = StoreConfig(
        path=path if path is not None else context.state_folder() / "pollerd.db",
        keep_finished=table.take("keep_finished", duration(0, 3650 * _DAY), DEFAULT_KEEP_FINISHED),
    )
    if _is_folder(store.path):
        table.refuse("path", f"is a folder; name a file in it, such as {store.path / 'pollerd.db'}")
    table.close()
    return store


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # Somebody else's folder: only its owner can say.
        return False


def _control(table: TomlTable, context: LoadContext, store: Path) -> ControlConfig:
    given = table.take("socket", context.path.socket)
    table.close()
    if given is not None:
        return ControlConfig(given)
    default = context.socket_folder(store) / "control.sock"
    if socket_fits(default):
        return ControlConfig(default)
    if table.sound("socket"):
        table.diagnostics.warnings.append(
            f"no control socket: the default path {default} is too long for one; set a shorter [control] socket"
        )
    return ControlConfig(None)


def _backoff(table: TomlTable) -> BackoffConfig:
    default = BackoffConfig()
    give_up_after = table.take("give_up_after", duration(1, 365 * _DAY), default.give_up_after)
    horizon = table.take("scheduled_horizon", duration(1, 3650 * _DAY), default.scheduled_horizon)
    backoff = BackoffConfig(
        policy=table.take("policy", Choice(_POLICIES), default.policy),
        polls_per_message=table.take("polls_per_message", number(1, 1000), default.polls_per_message),
        factor=table.take("factor", number(1, 100), default.factor),
        first_poll_after=table.take("first_poll_after", duration(0, 30 * _DAY)),
        min_interval=table.take("min_interval", duration(0.01, _DAY), default.min_interval),
        max_interval=table.take("max_interval", duration(0.01, 30 * _DAY), default.max_interval),
        # Who shortens one of the others alone has not asked for a longer grace than that.
        not_found_grace=table.take(
            "not_found_grace", duration(0, 30 * _DAY), min(default.not_found_grace, give_up_after, horizon)
        ),
        scheduled_horizon=horizon,
        give_up_after=give_up_after,
    )
    _compare(table, "min_interval", backoff.min_interval, "max_interval", backoff.max_interval)
    _compare(table, "not_found_grace", backoff.not_found_grace, "give_up_after", backoff.give_up_after)
    _compare(table, "not_found_grace", backoff.not_found_grace, "scheduled_horizon", backoff.scheduled_horizon)
    if backoff.first_poll_after is not None:
        _compare(table, "first_poll_after", backoff.first_poll_after, "give_up_after", backoff.give_up_after)
    table.close()
    return backoff


def _compare(table: TomlTable, low: str, low_value: float, high: str, high_value: float) -> None:
    if low_value <= high_value or not table.sound(low, high):
        return
    # The blame goes to a key that was written; the other one may be a default nobody sees.
    if low in table:
        table.refuse(low, f'must be at most {high}, which is "{render_duration(high_value)}"')
    else:
        table.refuse(high, f'must be at least {low}, which is "{render_duration(low_value)}"')


def _credit(table: TomlTable) -> CreditConfig:
    credit = CreditConfig(
        warn_below=table.take("warn_below", number(-math.inf, math.inf)),
        check_every=table.take("check_every", duration(1, 30 * _DAY), CreditConfig().check_every),
    )
    table.close()
    return credit


def _log(table: TomlTable) -> LogConfig:
    default = LogConfig()
    log = LogConfig(
        level=table.take("level", Choice(_LEVELS), default.level),
        format=table.take("format", Choice(_FORMATS), default.format),
        show_msisdn=table.take("show_msisdn", flag, default.show_msisdn),
    )
    table.close()
    return log


def _listen(table: TomlTable | None) -> Listen | None:
    if table is None:
        return None
    found = table.require("listen", listen)
    if found is not None and not is_loopback(found.host):
        table.diagnostics.warnings.append(
            f"{table.path('listen')}: {found} can be reached from other machines and asks for no password; "
            "prefer 127.0.0.1"
        )
    table.close()
    return found


class _Use(msgspec.Struct, frozen=True):
    """A path and what it is for. Only uses that are not ``own`` may share one."""

    key: str
    path: Path
    own: bool


def _uses(config: Config, context: LoadContext) -> Iterator[_Use]:
    if not context.built_in:
        yield _Use("the configuration file", context.base / Path(context.file).name, own=True)
    yield _Use("store.path", config.store.path, own=True)
    for suffix in ("-wal", "-shm"):
        yield _Use("the database's own " + suffix, Path(f"{config.store.path}{suffix}"), own=True)
    if config.outputs.file is not None:
        yield _Use("outputs.file.path", config.outputs.file.path, own=True)
    if config.outputs.socket is not None:
        yield _Use("outputs.socket.path", config.outputs.socket.path, own=True)
    if config.control.socket is not None:
        yield _Use("control.socket", config.control.socket, own=True)
    for source in config.secret_sources():
        if isinstance(source, FileSecret):
            yield _Use(source.origin.key, source.path, own=False)
    for account in config.accounts.values():
        if account.ca_file is not None:
            yield _Use(f"accounts.{account.name}.ca_file", account.ca_file, own=False)
    for i, output in enumerate(config.outputs.sqlite):
        yield _Use(f"outputs.sqlite[{i}].path", output.path, own=False)
    for i, origin in enumerate(config.sources.sqlite):
        yield _Use(f"sources.sqlite[{i}].path", origin.path, own=False)


def _refuse_shared_paths(config: Config, context: LoadContext, diagnostics: Diagnostics) -> None:
    first: dict[Path, _Use] = {}
    for use in _uses(config, context):
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


def _warn_of_open_file(config: Config, document: ConfigFile, diagnostics: Diagnostics) -> None:
    if document.world_readable and any(isinstance(s, InlineSecret) for s in config.secret_sources()):
        diagnostics.warnings.append(
            f"{document.path} holds a secret and can be read by every user of this machine; "
            f"run: chmod o= {document.path}"
        )
