"""The loader, case by case: what is taken, what is refused and in which words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from pollerd.config import Config
from tests.unit.config_kit import Load, loader


@pytest.fixture
def read(tmp_path: Path) -> Load:
    return loader(tmp_path)


TAKEN = [
    ("a number of seconds is a duration", "[limits]\ntimeout = 3", lambda c: c.accounts["default"].limits.timeout, 3.0),
    ("milliseconds are taken", '[limits]\ntimeout = "250ms"', lambda c: c.accounts["default"].limits.timeout, 0.25),
    ("days may have a fraction", '[store]\nkeep_finished = "1.5d"', lambda c: c.store.keep_finished, 129600.0),
    ("the first poll may be at once", '[backoff]\nfirst_poll_after = "0s"', lambda c: c.backoff.first_poll_after, 0.0),
    ("nothing said, the policy chooses", "[backoff]", lambda c: c.backoff.first_poll_after, None),
    ("an early end shortens the grace", '[backoff]\ngive_up_after = "1m"', lambda c: c.backoff.not_found_grace, 60.0),
    ("so does an early horizon", '[backoff]\nscheduled_horizon = "1m"', lambda c: c.backoff.not_found_grace, 60.0),
    ("a balance may be below zero", "[credit]\nwarn_below = -5", lambda c: c.credit.warn_below, -5.0),
    ("no balance is watched by default", "", lambda c: c.credit.warn_below, None),
    ("a slash at the end is harmless", '[accounts.default]\nbase_url = "https://gatewayapi.eu/"',
     lambda c: c.accounts["default"].base_url, "https://gatewayapi.eu"),
    ("rights are read as octal", '[outputs.socket]\nmode = "0600"', lambda c: c.outputs.socket.mode, 0o600),
    ("rights have a default", "[outputs.socket]", lambda c: c.outputs.socket.mode, 0o660),
    ("a socket alone leaves the file away", "[outputs.socket]", lambda c: c.outputs.file, None),
    ("an empty table of outputs is none", "[outputs]", lambda c: c.outputs.file.path.name, "events.ndjson"),
    ("a proxy keeps its credentials", '[accounts.default]\nproxy = "http://u:p@h:1"',
     lambda c: c.accounts["default"].proxy.reveal(), "http://u:p@h:1"),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "text", "get", "value"), TAKEN, ids=[case[0] for case in TAKEN])
def test_taken(read: Load, sentence: str, text: str, get: Callable[[Config], object], value: object) -> None:
    assert get(read(text)) == value, sentence


def test_an_account_overrides_the_limits_key_by_key(read: Load) -> None:
    config = read(
        "[limits]\nrequests_per_second = 3\nmax_connections = 4\n"
        "[accounts.default]\n[accounts.eu.limits]\nmax_connections = 9\n"
    )
    own, other = config.accounts["eu"].limits, config.accounts["default"].limits
    assert (own.requests_per_second, own.max_connections, own.timeout) == (3.0, 9, 15.0)
    assert own == replace(other, max_connections=9)


def test_relative_paths_start_at_the_file_and_a_tilde_is_home(read: Load, tmp_path: Path) -> None:
    config = read(
        '[store]\npath = "~/p.db"\n[outputs.file]\npath = "../e.ndjson"\n[control]\nsocket = "c.sock"',
        {"HOME": "/home/alice"},
    )
    assert config.store.path == Path("/home/alice/p.db")
    assert config.outputs.file is not None
    assert config.outputs.file.path == tmp_path.parent / "e.ndjson"
    assert config.control.socket == tmp_path / "c.sock"


def test_systemd_folders_are_the_defaults_and_the_first_of_several_counts(read: Load) -> None:
    env = {"STATE_DIRECTORY": "/var/lib/pollerd:/var/lib/x", "RUNTIME_DIRECTORY": "/run/pollerd:/run/x"}
    config = read("[outputs.socket]\n[outputs.file]", env)
    assert config.store.path == Path("/var/lib/pollerd/pollerd.db")
    assert config.control.socket == Path("/run/pollerd/control.sock")
    assert config.outputs.socket is not None
    assert config.outputs.socket.path == Path("/run/pollerd/events.sock")
    assert config.outputs.file is not None
    assert config.outputs.file.path == Path("/var/lib/pollerd/events.ndjson")


def test_without_systemd_everything_stands_beside_the_database(read: Load) -> None:
    config = read('[store]\npath = "/srv/p/pollerd.db"')
    assert config.control.socket == Path("/srv/p/control.sock")
    assert config.outputs.file is not None
    assert config.outputs.file.path == Path("/srv/p/events.ndjson")


def test_a_default_control_socket_with_too_long_a_path_is_left_away_with_a_warning(read: Load) -> None:
    config = read(f'[store]\npath = "/srv/{"x" * 100}/pollerd.db"')
    assert config.control.socket is None
    assert any("no control socket" in warning for warning in config.warnings)


WARNED = [
    ("the simulator's address needs no warning", 'base_url = "http://127.0.0.1:8000"', ""),
    ("nor does the machine's own name", 'base_url = "http://localhost:8000"', ""),
    ("nor the address of IPv6", 'base_url = "http://[::1]:8000"', ""),
    ("credentials in clear are warned about", 'base_url = "http://gw.example"', "unencrypted; use https"),
]


@pytest.mark.parametrize(("sentence", "text", "words"), WARNED, ids=[case[0] for case in WARNED])
def test_clear_text_to_other_machines_is_warned_about(read: Load, sentence: str, text: str, words: str) -> None:
    warnings = read(f"[accounts.default]\n{text}").warnings
    assert [words in warning for warning in warnings] == ([True] if words else []), sentence


def test_more_than_forty_connections_at_one_host_are_warned_about(read: Load) -> None:
    accounts = "[accounts.default]\n[accounts.b]\n[accounts.c]\n"
    (warning,) = read(accounts).warnings
    assert "add up to 60" in warning
    assert read(accounts + "[limits]\nmax_connections = 13").warnings == ()
    assert read('[accounts.default]\n[accounts.b]\n[accounts.c]\nbase_url = "https://gatewayapi.eu"').warnings == ()


def test_connections_are_counted_by_source_address(read: Load) -> None:
    accounts = '[accounts.default]\nsource_addresses = ["192.0.2.1", "2001:DB8::1"]\n[accounts.b]\n'
    config = read(f"{accounts}[accounts.b.limits]\nmax_connections = 40\n")
    assert config.warnings == ()
    assert config.accounts["default"].source_addresses == ("192.0.2.1", "2001:db8::1")
    assert (config.accounts["default"].connections, config.accounts["b"].connections) == (40, 40)
    shared = f'{accounts}source_addresses = ["192.0.2.1"]\n[limits]\nmax_connections = 21'
    (warning,) = read(shared).warnings
    assert "gatewayapi.com from 192.0.2.1 add up to 42" in warning
    (warning,) = read('[accounts.default]\nsource_addresses = ["192.0.2.1"]\nproxy = "http://proxy:3128"').warnings
    assert "the gateway counts the proxy's own address" in warning


def test_no_default_account_is_warned_about(read: Load) -> None:
    (warning,) = read("[accounts.eu]").warnings
    assert '"default", which is not configured' in warning


def test_sockets_and_ports_open_to_everybody_are_warned_about(read: Load) -> None:
    text = '[outputs.socket]\nmode = "0666"\n[web]\nlisten = "0.0.0.0:80"\n[metrics]\nlisten = "[::1]:80"'
    config = read(text)
    assert [warning.split(":")[0] for warning in config.warnings] == ["outputs.socket.mode", "web.listen"]
    assert config.metrics is not None
    assert str(config.metrics.listen) == "[::1]:80"


def test_the_accounts_cannot_be_changed(read: Load) -> None:
    accounts = read("").accounts
    with pytest.raises(TypeError):
        accounts["x"] = accounts["default"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("table", "key", "sql"),
    [
        ("sources", "query", "/* all */ SELECT id FROM sms; -- done"),
        ("sources", "query", "with open AS (SELECT 1 AS id) SELECT id FROM open"),
        ("sources", "query", "SELECT id FROM sms WHERE note <> ';'"),
        ("outputs", "statement", "UPDATE sms SET a = :status, b = ':nope', [c:d] = 'it''s :nope' -- :nope ?"),
        ("outputs", "statement", "INSERT INTO seen VALUES (@seq, $type, :id);"),
        ("outputs", "statement", "UPDATE a$nope SET `x?` = :observed_at"),
    ],
)
def test_sql_that_can_be_right_is_taken(read: Load, table: str, key: str, sql: str) -> None:
    config = read(f'[[{table}.sqlite]]\npath = "x.db"\n{key} = """{sql}"""')
    taken = config.sources.sqlite[0].query if table == "sources" else config.outputs.sqlite[0].statement
    assert taken == sql


@pytest.mark.parametrize(
    ("sql", "no_row"),
    [
        ("UPDATE sms SET a = :status WHERE id = :id", "retry"),
        ("update sms set a = :status where :source_id = id and [msisdn] = :msisdn; -- AND seq", "retry"),
        ("UPDATE sms SET a = :status WHERE CAST(trim(id) AS INTEGER) = :id RETURNING a = 1", "retry"),
        ("UPDATE sms SET a = (SELECT b FROM c WHERE d > :seq) WHERE id = :id OR ref = :userref", "retry"),
        ("UPDATE sms SET a = CASE WHEN :seq > seq AND 1 THEN :status ELSE a END WHERE id = :id", "retry"),
        ("WITH c AS (SELECT 1 WHERE 0 = 1) UPDATE sms SET a = :status WHERE id IN (:id, :source_id)", "retry"),
        ("UPDATE sms SET a = :status", "retry"),
        ("UPDATE sms SET a = :status WHERE id = :id AND seq < :seq", "ignore"),
        ("UPDATE sms SET a = :status WHERE id = :id AND final = 0", "ignore"),
        ("UPDATE sms SET a = :status WHERE (id = :id AND final = 0)", "ignore"),
        ("UPDATE sms SET a = :status WHERE id = :id AND a IS NOT 'DELIVERED'", "ignore"),
        ("UPDATE OR IGNORE sms SET a = :status WHERE id = :id", "ignore"),
        ("UPDATE IGNORE sms SET a = :status WHERE id = :id", "ignore"),
        ("UPDATE LOW_PRIORITY IGNORE sms SET a = :status WHERE id = :id", "ignore"),
        ("UPDATE ignore SET a = :status WHERE id = :id", "retry"),
        ("UPDATE ONLY sms SET a = :status::text WHERE id = CAST(:source_id AS bigint)", "retry"),
        ("INSERT OR IGNORE INTO sms VALUES (:id)", "ignore"),
        ("INSERT INTO sms VALUES (:id) ON CONFLICT DO UPDATE SET a = 1 WHERE id = :id", "ignore"),
        ("DELETE FROM sms WHERE id = :id", "ignore"),
    ],
)
def test_what_an_event_that_changes_no_row_means_where_nothing_is_said(read: Load, sql: str, no_row: str) -> None:
    table = f'[[outputs.sqlite]]\npath = "x.db"\nstatement = """{sql}"""\n'
    assert read(table).outputs.sqlite[0].rules.no_row == no_row
    other = "ignore" if no_row == "retry" else "retry"
    assert read(f'{table}no_row = "{other}"').outputs.sqlite[0].rules.no_row == other


def test_a_folder_that_may_not_be_entered_is_left_to_its_owner(read: Load) -> None:
    """A name too long for the file system fails for root, too, as a closed folder does for others."""
    assert read(f'[store]\npath = "/tmp/{"x" * 300}"').store.path.name == "x" * 300
