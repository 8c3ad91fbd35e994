"""What a running daemon takes up of a changed configuration, and what needs a restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from pollerd.config.accounts import AccountConfig
from pollerd.config.key import values
from pollerd.config.outputs import OutputsConfig
from pollerd.config.tables import Config


def in_force(old: Config, new: Config) -> Config:
    """The configuration of a daemon that runs with `old` and has taken up of `new` what it can: limits, backoff,
    balance, log, overdue_after, source_addresses, and the outputs that keep their names.
    """
    return replace(
        old,
        accounts={name: _account(account, new.accounts.get(name)) for name, account in old.accounts.items()},
        limits=new.limits,
        backoff=new.backoff,
        outputs=_outputs(old.outputs, new.outputs),
        credit=new.credit,
        log=new.log,
        warnings=new.warnings,
    )


def _account(old: AccountConfig, new: AccountConfig | None) -> AccountConfig:
    if new is None:
        return old
    taken = replace(old, limits=new.limits, overdue_after=new.overdue_after)
    # Addresses of another family belong to another gateway or proxy, which only a restart takes up.
    if (old.base_url, old.proxy) == (new.base_url, new.proxy):
        taken = replace(taken, source_addresses=new.source_addresses)
    return taken


def _outputs(old: OutputsConfig, new: OutputsConfig) -> OutputsConfig:
    # File and socket settle what is at their paths before the first event of a start.
    taken: dict[str, object] = {}
    if old.webhook is not None and new.webhook is not None:
        taken["webhook"] = new.webhook
    if old.exec is not None and new.exec is not None:
        taken["exec"] = new.exec
    if [output.path for output in old.sqlite] == [output.path for output in new.sqlite]:
        taken["sqlite"] = new.sqlite
    if [output.url.place for output in old.sql] == [output.url.place for output in new.sql]:
        taken["sql"] = new.sql
    return replace(old, **taken)


def changed(old: Config, new: Config) -> tuple[str, ...]:
    """The keys that are not the same in both, by their paths; an account that only one of them has is one name."""
    before, after = dict(_values(old)), dict(_values(new))
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return tuple(dict.fromkeys(_named(key, old, new) for key in keys if not _inherited(key, keys, before, after)))


def _values(config: Config) -> Iterator[tuple[str, object]]:
    for key, _, value in values(config):
        yield key, value


def _named(key: str, old: Config, new: Config) -> str:
    for name in old.accounts.keys() ^ new.accounts.keys():
        if key.startswith(f"accounts.{name}."):
            return f"accounts.{name}"
    return key


def _inherited(key: str, keys: list[str], before: Mapping[str, object], after: Mapping[str, object]) -> bool:
    """Whether an account's limit changed only since that of all accounts did."""
    common = f"limits.{key.rpartition('.')[2]}"
    if not key.startswith("accounts.") or ".limits." not in key or common not in keys:
        return False
    return before.get(key) == before.get(common) and after.get(key) == after.get(common)
