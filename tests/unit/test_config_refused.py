"""Configurations that are refused: one case a line, each with the key and the words it is refused with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pollerd.config import ConfigError, Problem
from tests.unit.config_kit import Load, loader


@pytest.fixture
def read(tmp_path: Path) -> Load:
    return loader(tmp_path)


def problems(read: Load, text: str, **options: Any) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        read(text, **options)
    return caught.value.problems


SOURCES = "[accounts.default]\nsource_addresses = {}\n"
SOURCE_KEY = "accounts.default.source_addresses"
REFUSED = [
    ("an unknown table has a near name", "[limit]", "limit", "is not a key here; did you mean limits?"),
    ("an unknown key has a near name", "[log]\nlevle = 1", "log.levle", "did you mean level?"),
    (
        "a key of another table is sent there",
        "[accounts.default]\nmax_connections = 3",
        "accounts.default.max_connections",
        "did you mean [accounts.default.limits] max_connections?",
    ),
    ("a key that resembles nothing has no hint", "zzzzzz = 1", "zzzzzz", "is not a key here"),
    ("a key with a bracket is quoted", '[log]\n"a[" = 1', 'log."a["', "is not a key here"),
    ("a key that is not printable is escaped", '"a\\n" = 1', '"a\\n"', "is not a key here"),
    ("true is no number", "[limits]\nmax_connections = true", "limits.max_connections", "= true: must be a whole"),
    ("true is no rate", "[limits]\nrequests_per_second = true", "limits.requests_per_second", "= true: must be a"),
    ("true is no duration", "[limits]\ntimeout = true", "limits.timeout", "= true: must be a duration"),
    ("a balance is finite", "[credit]\nwarn_below = inf", "credit.warn_below", "must be a finite number"),
    ("a balance is a number", "[credit]\nwarn_below = nan", "credit.warn_below", "must be a finite number"),
    ("41 connections are too many", "[limits]\nmax_connections = 41", "limits.max_connections", "from 1 to 40"),
    ("no connection is too few", "[limits]\nmax_connections = 0", "limits.max_connections", "from 1 to 40"),
    ("a host is no source address", SOURCES.format('["db1"]'), SOURCE_KEY, "must be an IP address of this machine"),
    ("a network is no source address", SOURCES.format('["192.0.2.0/24"]'), SOURCE_KEY, "must be an IP address"),
    ("any address is none to go out from", SOURCES.format('["0.0.0.0"]'), SOURCE_KEY, "must be an IP address"),
    ("nor is a multicast one", SOURCES.format('["ff02::1"]'), SOURCE_KEY, "must be an IP address"),
    ("nor a link-local one", SOURCES.format('["fe80::1"]'), SOURCE_KEY, "link-local one reaches no gateway"),
    ("a mapped address is shown", SOURCES.format('["::ffff:192.0.2.1"]'), SOURCE_KEY, 'did you mean "192.0.2.1"?'),
    ("one address is an array too", SOURCES.format('"192.0.2.1"'), SOURCE_KEY, "must be an array of 1 to 16"),
    ("no address is no array", SOURCES.format("[]"), SOURCE_KEY, "must be an array of 1 to 16"),
    ("an address stands there once", SOURCES.format('["::1", "0:0::1"]'), SOURCE_KEY, "::1 is there twice"),
    (
        "an address cannot reach the other family",
        SOURCES.format('["192.0.2.1", "::1"]') + 'base_url = "http://127.0.0.1:80"',
        SOURCE_KEY,
        "::1 is no IPv4 address, but the host in base_url is",
    ),
    (
        "nor a proxy of the other family",
        SOURCES.format('["192.0.2.1"]') + 'proxy = "http://[::1]:3128"',
        SOURCE_KEY,
        "192.0.2.1 is no IPv6 address, but the host in proxy is",
    ),
    ("2.0 is no whole number", "[limits]\nmax_connections = 2.0", "limits.max_connections", "whole number"),
    ("no requests is no rate", "[limits]\nrequests_per_second = 0", "limits.requests_per_second", "above 0"),
    ("nan is no rate", "[limits]\nrequests_per_second = nan", "limits.requests_per_second", "= nan: must be"),
    ("inf is no rate", "[limits]\nrequests_per_second = inf", "limits.requests_per_second", "to 10000"),
    (
        "a number too large for a float is refused",
        f"[limits]\nrequests_per_second = 1{'0' * 400}",
        "limits.requests_per_second",
        "a number of more than 60 digits: must be",
    ),
    ("a duration needs a unit", '[limits]\ntimeout = "15"', "limits.timeout", 'such as "250ms"'),
    ("a duration is not negative", "[backoff]\nmin_interval = -1", "backoff.min_interval", "from 10ms"),
    ("an interval of zero would be a flood", '[backoff]\nmin_interval = "0s"', "backoff.min_interval", "10ms"),
    ("a duration has no blank", '[limits]\ntimeout = "15 s"', "limits.timeout", '= "15 s"'),
    ("other scripts' digits are no digits", '[limits]\ntimeout = "\u0661\u0665s"', "limits.timeout", "such as"),
    ("a date is no duration", "[limits]\ntimeout = 2026-01-01", "limits.timeout", "= 2026-01-01: must be"),
    (
        "a time of day is no day",
        '[accounts.default.incoming]\nsince = "2026-11-01T08:00"',
        "accounts.default.incoming.since",
        'must be "now" or a day',
    ),
    (
        "the year 1 is no day that the gateway knows",
        "[accounts.default.incoming]\nsince = 0001-01-01",
        "accounts.default.incoming.since",
        "a day from 2000-01-01 on",
    ),
    (
        "a number is no day",
        "[accounts.default.incoming]\nsince = 20261101",
        "accounts.default.incoming.since",
        'must be "now" or a day',
    ),
    ("incoming is a table", "[accounts.default]\nincoming = true", "accounts.default.incoming", "must be a table"),
    (
        "a text is kept for a minute at least",
        '[accounts.default.incoming]\nkeep = "0s"',
        "accounts.default.incoming.keep",
        "from 1m",
    ),
    ("a word has to be one of the list", '[log]\nlevel = "warn"', "log.level", 'did you mean "warning"?'),
    ("words are in lower case", '[backoff]\npolicy = "Adaptive"', "backoff.policy", 'did you mean "adaptive"?'),
    ("yes is not true", '[log]\nshow_msisdn = "yes"', "log.show_msisdn", "must be true or false"),
    (
        "the least interval is not above the greatest",
        '[backoff]\nmin_interval = "2h"',
        "backoff.min_interval",
        'must be at most max_interval, which is "1h"',
    ),
    (
        "the blame goes to the key that was written",
        '[backoff]\nmax_interval = "1s"',
        "backoff.max_interval",
        'must be at least min_interval, which is "2s"',
    ),
    (
        "a grace longer than the end makes no sense",
        '[backoff]\nnot_found_grace = "2h"\ngive_up_after = "1h"',
        "backoff.not_found_grace",
        "must be at most give_up_after",
    ),
    (
        "nor one longer than the horizon",
        '[backoff]\nnot_found_grace = "2h"\nscheduled_horizon = "1h"',
        "backoff.not_found_grace",
        "must be at most scheduled_horizon",
    ),
    ("an account is a table", '[accounts]\ntoken = "hunter2"', "accounts.token", "must be a table: [accounts.token]"),
    ("an account's name is plain", '[accounts."a b"]', 'accounts."a b"', "letters, digits"),
    ("a URL has a scheme", '[accounts.default]\nbase_url = "gatewayapi.com"', "accounts.default.base_url", "URL"),
    ("ftp is no gateway", '[accounts.default]\nbase_url = "ftp://x"', "accounts.default.base_url", "such as"),
    (
        "the path is added by itself",
        '[accounts.default]\nbase_url = "https://gatewayapi.com/rest"',
        "accounts.default.base_url",
        "must end after the host",
    ),
    (
        "the newer API cannot be polled",
        '[accounts.default]\nbase_url = "https://messaging.gatewayapi.eu"',
        "accounts.default.base_url",
        'no way to read a status; did you mean "https://gatewayapi.eu"?',
    ),
    ("a port is a number", '[accounts.default]\nbase_url = "http://x:y"', "accounts.default.base_url", "URL"),
    ("brackets must close", '[accounts.default]\nbase_url = "http://[::1"', "accounts.default.base_url", "URL"),
    *(
        (
            f"a raw {raw} in a proxy's password is refused",
            f"[accounts.default]\nproxy = 'http://joe:p{raw}ss@proxy:3128'",
            "accounts.default.proxy",
            '"http://***@proxy:3128": must have its user and password percent-encoded (%40 for @, %3A for :',
        )
        for raw in ("@", ":", "%", "%4", "#", "/", "?", "[", " ", "\\", "\u00e9", "@:%#")
    ),
    ("SOCKS is not HTTP", '[accounts.default]\nproxy = "socks5://p"', "accounts.default.proxy", "SOCKS"),
    (
        "there is one token, not two",
        '[accounts.default]\ntoken_env = "T"\ntoken_file = "t"',
        "accounts.default.token_env",
        "must be left out, token_file is given already",
    ),
    (
        "a user name is no part of a token",
        '[accounts.default]\nusername = "bob"',
        "accounts.default.username",
        'belongs to auth = "basic", but auth is "token"',
    ),
    (
        "basic needs a user name",
        '[accounts.default]\nauth = "basic"\npassword = "x"',
        "accounts.default.username",
        "is missing",
    ),
    (
        "a user name cannot hold a colon",
        '[accounts.default]\nauth = "basic"\nusername = "a:b"\npassword = "x"',
        "accounts.default.username",
        "colon",
    ),
    ("oauth1 needs a key", '[accounts.default]\nauth = "oauth1"\nsecret = "x"', "accounts.default.key", "is missing"),
    (
        "a variable's name is not a token",
        '[accounts.default]\ntoken_env = "not-a-name"',
        "accounts.default.token_env",
        "must be the name of an environment variable",
    ),
    ("rights are octal text", "[outputs.socket]\nmode = 660", "outputs.socket.mode", 'such as "0660"'),
    ("9 is no octal digit", '[outputs.socket]\nmode = "0690"', "outputs.socket.mode", "octal"),
    (
        "a socket's path has 107 bytes",
        f'[control]\nsocket = "/run/{"x" * 103}"',
        "control.socket",
        "at most 107 bytes",
    ),
    (
        "one path has one purpose",
        '[store]\npath = "x"\n[outputs.file]\npath = "./a/../x"',
        "outputs.file.path",
        "is the path of store.path as well",
    ),
    (
        "the events do not go where the token is",
        '[accounts.default]\ntoken_file = "t"\n[outputs.file]\npath = "t"',
        "accounts.default.token_file",
        "is the path of outputs.file.path as well",
    ),
    (
        "the database does not overwrite its configuration",
        '[store]\npath = "pollerd.toml"',
        "store.path",
        "is the path of the configuration file as well",
    ),
    ("a path is not empty", '[store]\npath = ""', "store.path", "must not be empty"),
    ("a path has no zero byte", '[store]\npath = "a\\u0000b"', "store.path", "control characters"),
    ("an output is a table", 'outputs.file = "x"', "outputs.file", "must be a table: [outputs.file]"),
    ("metrics listen on host and port", '[metrics]\nlisten = "9464"', "metrics.listen", '"HOST:PORT"'),
    ("a port ends at 65535", '[web]\nlisten = "localhost:70000"', "web.listen", '"HOST:PORT"'),
    ("a webhook needs its URL", "[outputs.webhook]", "outputs.webhook.url", "is missing"),
    (
        "a public address must be wanted",
        '[outputs.webhook]\nurl = "http://8.8.8.8/"',
        "outputs.webhook.url",
        "allow_remote = true",
    ),
    (
        "a route says what it takes",
        '[outputs.webhook]\nurl = "http://[::1]/"\n[[outputs.webhook.routes]]\nurl = "http://localhost/"',
        "outputs.webhook.routes[0]",
        "userref_prefix, account or both",
    ),
    (
        "a route's account exists",
        '[outputs]\nwebhook = {url = "http://10.0.0.1", routes = [{url = "http://localhost/", account = "eu"}]}',
        "outputs.webhook.routes[0].account",
        "is not the name of an account",
    ),
    ("routes are an array", '[outputs.webhook]\nurl = "http://x/"\nroutes = 1', "outputs.webhook.routes", "[[outputs"),
    ("a command is an array", '[outputs.exec]\ncommand = "ls -l"', "outputs.exec.command", "array of texts"),
    ("a command is not empty", "[outputs.exec]\ncommand = []", "outputs.exec.command", "array of texts"),
    ("the database is no folder", '[store]\npath = "."', "store.path", "is a folder; name a file in it"),
    (
        "two servers have two addresses",
        '[metrics]\nlisten = "127.0.0.1:9464"\n[web]\nlisten = "127.0.0.1:9464"',
        "web.listen",
        '= "127.0.0.1:9464": is the address of metrics.listen as well',
    ),
    *(
        (
            f"a query that {name} is refused",
            f'[[sources.sqlite]]\npath = "x.db"\nquery = "{sql}"',
            "sources.sqlite[0].query",
            words,
        )
        for name, sql, words in (
            ("writes", "DELETE FROM x", "must be a SELECT"),
            ("is misspelt", "SELEC 1", "must be a SELECT"),
            ("is a comment", "-- SELECT 1", "must be a SELECT"),
            ("is two statements", "SELECT ';'; DELETE FROM x", "must be a single statement"),
            ("has a parameter of an event", "SELECT :id", "names :id, a query has :after and :limit alone"),
            ("has half a page", "SELECT id FROM x WHERE id > :after ORDER BY id", "must name both :after and :limit"),
            ("has no order", "SELECT id FROM x WHERE id > :after LIMIT :limit", "must have ORDER BY"),
            ("orders only within", "SELECT (SELECT 1 ORDER BY 1) > :after LIMIT :limit", "must have ORDER BY"),
        )
    ),
    *(
        (
            f"a statement with {name} is refused",
            f'[[outputs.sqlite]]\npath = "x.db"\nstatement = "{sql}"',
            "outputs.sqlite[0].statement",
            words,
        )
        for name, sql, words in (
            ("an unknown field", "UPDATE a SET b = :status, c = :nope", "names :nope, which no event has; fields are"),
            ("a place instead of a name", "UPDATE a SET b = ?", "must have named parameters only"),
            ("a second one behind it", "UPDATE a SET b = :id; DELETE FROM a", "must be a single statement"),
        )
    ),
    *(
        (f"a database's URL {name}", f'[[sources.sql]]\nurl = "{url}"\nquery = "SELECT 1"', "sources.sql[0].url", words)
        for name, url, words in (
            ("is of a kind that is known", "db2://h/x", "must begin with one of postgresql, mysql, mariadb, mssql"),
            ("has a near kind", "postgres://h/x", "did you mean postgresql://?"),
            (
                "has no asynchronous driver",
                "postgresql+asyncpg://h/x",
                "must name a driver that works here: postgresql",
            ),
            ("has an encoded password", "postgresql://u:p@w@h/x", "percent-encoded"),
            ("has no # in a password", "postgresql://u:p#w@h/x", '"postgresql://***@h/x": must be a URL such as'),
            ("has no password among its options", "postgresql://h/x?Password=y", "must not hold Password"),
            ("has no whole connection string", "mssql+pyodbc://?odbc_connect=x", "must not hold odbc_connect"),
            ("is no memory", "sqlite://", "must name a file"),
            ("has a port that is a number", "postgresql://h:x/y", "must be a URL such as"),
        )
    ),
    (
        "a password has one place",
        '[[outputs.sql]]\nurl = "mysql://u:first@h/x"\npassword_file = "p"\nstatement = "UPDATE a"',
        "outputs.sql[0].url",
        '"mysql://***@h/x": must not hold a password as well',
    ),
    (
        "a parameter has a colon",
        '[[outputs.sql]]\nurl = "mssql://h/x"\nstatement = "UPDATE a SET b = @status"',
        "outputs.sql[0].statement",
        "must have its parameters as :name, not @status",
    ),
    (
        "the own database is no source through SQLAlchemy either",
        '[store]\npath = "x.db"\n[[sources.sql]]\nurl = "sqlite:///x.db"\nquery = "SELECT 1"',
        "sources.sql[0].url",
        "is the path of store.path as well",
    ),
    ("a source needs a query", '[[sources.sqlite]]\npath = "x.db"', "sources.sqlite[0].query", "is missing"),
    (
        "the own database is no source",
        '[store]\npath = "x.db"\n[[sources.sqlite]]\npath = "x.db"\nquery = "SELECT 1"',
        "sources.sqlite[0].path",
        "is the path of store.path as well",
    ),
    *(
        (sentence, f'[[outputs.sqlite]]\npath = "x"\nstatement = "UPDATE a"\n{line}', f"outputs.sqlite[0].{key}", words)
        for sentence, line, key, words in (
            ("what no row means is one of two", 'no_row = "park"', "no_row", 'must be "retry" or "ignore"'),
            ("a schedule is an array", 'retry_after = "1s"', "retry_after", "must be an array of up to 20 durations"),
            ("an account is a configured one", 'account = "x"', "account", "is not the name of an account"),
            ("a prefix is not empty", 'userref_prefix = ""', "userref_prefix", "must not be empty"),
        )
    ),
    (
        "the second target is counted",
        '[[outputs.sqlite]]\npath = "x"\nstatement = "UPDATE a"\n[[outputs.sqlite]]\npath = "y"',
        "outputs.sqlite[1].statement",
        "is missing",
    ),
]


@pytest.mark.parametrize(("sentence", "text", "key", "words"), REFUSED, ids=[case[0] for case in REFUSED])
def test_refused(read: Load, sentence: str, text: str, key: str, words: str) -> None:
    (problem,) = problems(read, text)
    assert problem.key == key, sentence
    assert words in str(problem), sentence
    assert "\n" not in str(problem)


def test_a_wrong_auth_makes_no_key_of_any_way_to_authenticate_unknown(read: Load) -> None:
    text = '[accounts.default]\nauth = "tokn"\nusername = "bob"\npassword_file = "p"\nsecret_env = "S"\ntoken = "t"'
    assert [problem.key for problem in problems(read, text, secrets=True)] == ["accounts.default.auth"]


def test_ten_mistakes_are_named_in_one_go_in_the_order_of_the_file(read: Load) -> None:
    text = """\
[accounts.default]
bas_url = "https://gatewayapi.com"
auth = "tokn"
[limits]
requests_per_second = -1
max_connections = 400
timeout = "soon"
[backoff]
policy = 7
min_interval = "2h"
[outputs.socket]
mode = "rw"
[log]
show_msisdn = 1
colour = true
"""
    found = problems(read, text, secrets=True)
    assert [(problem.key, problem.line) for problem in found] == [
        ("accounts.default.bas_url", 2),
        ("accounts.default.auth", 3),
        ("limits.requests_per_second", 5),
        ("limits.max_connections", 6),
        ("limits.timeout", 7),
        ("backoff.policy", 9),
        ("backoff.min_interval", 10),
        ("outputs.socket.mode", 12),
        ("log.show_msisdn", 14),
        ("log.colour", 15),
    ]
    assert found[0].near == "base_url"
    assert str(found[3]).endswith("pollerd.toml:6: limits.max_connections = 400: must be a whole number from 1 to 40")


def test_broken_toml_is_one_problem_with_its_line(read: Load) -> None:
    (problem,) = problems(read, "[log]\nlevel = = 1\n[limits]\nmax_connections = 400\n")
    assert problem.line == 2
    assert "is not valid TOML" in str(problem)


def test_lines_are_found_below_texts_of_many_lines_and_in_arrays_of_tables(read: Load) -> None:
    text = '''\
[[sources.sqlite]]
path = "a.db"
query = """
SELECT id
every = 7
"""
every = -1
[[sources.sqlite]]
path = "b.db"
query = "SELECT 1"
every = "x"
'''
    found = [(problem.key, problem.line) for problem in problems(read, text)]
    assert found == [("sources.sqlite[0].every", 7), ("sources.sqlite[1].every", 11)]


def test_a_wrong_path_of_an_output_hides_no_problem_of_the_database(read: Load) -> None:
    found = problems(read, '[store]\npath = "."\n[outputs.file]\npath = ""')
    assert [problem.key for problem in found] == ["store.path", "outputs.file.path"]


@pytest.mark.parametrize(
    ("query", "warned"),
    [
        ("SELECT id FROM x LIMIT 100", True),
        ("SELECT id FROM x ORDER BY id FETCH FIRST 10 ROWS ONLY", True),
        ("SELECT id FROM x WHERE id > :after ORDER BY id LIMIT :limit", False),
        ("SELECT id FROM x WHERE id IN (SELECT id FROM y LIMIT 1)", False),
        ("SELECT id, 'LIMIT' FROM x -- LIMIT 1", False),
    ],
)
def test_a_query_that_always_gives_the_same_few_rows_is_warned_of(read: Load, query: str, warned: bool) -> None:
    config = read(f'[accounts.default]\n[[sources.sql]]\nurl = "mysql://h/x"\nquery = "{query}"')
    said = [text for text in config.warnings if text.startswith("sources.sql[0].query: has a bound of its own")]
    assert bool(said) is warned


def test_a_driver_has_to_be_installed_before_the_daemon_starts(read: Load) -> None:
    text = '[accounts.default]\ntoken = "a-token"\n[[outputs.sql]]\nurl = "oracle://h/x"\nstatement = "UPDATE a"'
    assert read(text).outputs.sql[0].url.driver == "oracledb", "what is only shown needs no driver"
    (problem,) = problems(read, text, secrets=True)
    assert (problem.key, problem.value) == ("outputs.sql[0].url", '"oracle://h/x"')
    assert "needs the Python library oracledb, which is not installed here: run" in problem.expected
    assert "-m pip install 'oracledb' " in problem.expected
