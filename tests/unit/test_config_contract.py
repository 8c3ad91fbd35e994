"""Defaults and bounds of the keys, written down apart from the declarations: users rely on them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pollerd.config.environment import LoadContext
from pollerd.config.loader import build
from pollerd.config.reader import Diagnostics
from tests.unit.config_kit import Load, loader

DEFAULTS = """
[accounts.default]
base_url = "https://gatewayapi.com"
auth = "token"
[limits]
requests_per_second = 10.0
max_connections = 20
timeout = "15s"
[backoff]
policy = "adaptive"
polls_per_message = 5.0
factor = 1.5
min_interval = "2s"
max_interval = "1h"
not_found_grace = "15m"
scheduled_horizon = "30d"
give_up_after = "72h"
[store]
keep_finished = "30d"
[credit]
check_every = "15m"
[log]
level = "info"
format = "auto"
show_msisdn = false
"""

TABLES = {
    "outputs.socket": '[outputs.socket]\nmode = "0660"',
    "outputs.webhook": (
        '[outputs.webhook]\nurl = "http://localhost/"\nall_events = false\nallow_remote = false\n'
        'retry_after = ["60s", "120s", "360s", "24m", "2h", "12h"]'
    ),
    "outputs.sqlite": (
        '[[outputs.sqlite]]\npath = "x"\nstatement = "UPDATE a"\n'
        'retry_after = ["1s", "2s", "5s", "15s", "60s", "5m", "30m", "2h", "12h"]'
    ),
    "outputs.sql": (
        '[[outputs.sql]]\nurl = "postgresql://db/x"\nstatement = "UPDATE a"\n'
        'retry_after = ["1s", "2s", "5s", "15s", "60s", "5m", "30m", "2h", "12h"]'
    ),
    "sources.sql": '[[sources.sql]]\nurl = "postgresql://db/x"\nquery = "SELECT 1"\nevery = "5s"',
    "sources.sqlite": '[[sources.sqlite]]\npath = "x"\nquery = "SELECT 1"\nevery = "5s"',
}
LENGTHS = {
    "outputs.socket": 1,
    "outputs.webhook": 2,
    "outputs.sqlite": 3,
    "outputs.sql": 3,
    "sources.sqlite": 3,
    "sources.sql": 3,
}
"""Lines of each table that must stay: its header and the keys that have no default."""


@pytest.fixture
def read(tmp_path: Path) -> Load:
    return loader(tmp_path)


def test_what_is_not_set_is_as_the_contract_says(read: Load) -> None:
    assert read(DEFAULTS) == read("")


@pytest.mark.parametrize("table", TABLES)
def test_what_is_not_set_in_an_optional_table_is_as_the_contract_says(read: Load, table: str) -> None:
    bare = "\n".join(TABLES[table].splitlines()[: LENGTHS[table]])
    assert read(TABLES[table]) == read(bare)


BOUNDS = [
    ("accounts.default.overdue_after", '"999ms"', '"1s"', '"365d"', '"366d"'),
    ("limits.requests_per_second", "0", "0.001", "10000", "10001"),
    ("limits.max_connections", "0", "1", "40", "41"),
    ("limits.timeout", '"99ms"', '"100ms"', '"10m"', '"601s"'),
    ("backoff.polls_per_message", "0.9", "1", "1000", "1001"),
    ("backoff.factor", "0.9", "1", "100", "101"),
    ("backoff.first_poll_after", "-1", '"0s"', '"30d"', '"31d"'),
    ("backoff.min_interval", '"9ms"', '"10ms"', '"24h"', '"25h"'),
    ("backoff.max_interval", '"9ms"', '"10ms"', '"30d"', '"31d"'),
    ("backoff.not_found_grace", "-1", '"0s"', '"30d"', '"31d"'),
    ("backoff.scheduled_horizon", '"999ms"', '"1s"', '"3650d"', '"3651d"'),
    ("backoff.give_up_after", '"999ms"', '"1s"', '"365d"', '"366d"'),
    ("store.keep_finished", "-1", '"0s"', '"3650d"', '"3651d"'),
    ("outputs.webhook.retry_after", '["9ms"]', '["10ms"]', '["30d"]', '["31d"]'),
    ("outputs.webhook.retry_after", '["9ms"]', "[]", str(["1s"] * 20), str(["1s"] * 21)),
    ("credit.check_every", '"999ms"', '"1s"', '"30d"', '"31d"'),
]


@pytest.mark.parametrize(("key", "below", "least", "most", "above"), BOUNDS)
def test_a_key_takes_its_bounds_and_nothing_beyond(key: str, below: str, least: str, most: str, above: str) -> None:
    assert [refused(key, value) for value in (below, least, most, above)] == [True, False, False, True]


def refused(key: str, value: str) -> bool:
    """Whether the value itself is refused; that it does not fit another key's is another matter."""
    diagnostics = Diagnostics("x.toml")
    build(tomllib.loads(f"{key} = {value}"), LoadContext("x.toml", Path("/x"), {}), diagnostics)
    problems = [problem.expected for problem in diagnostics.finish() if problem.key == key]
    return any(not expected.startswith(("must be at most", "must be at least")) for expected in problems)
