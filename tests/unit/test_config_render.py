"""The effective configuration as TOML, and the example that names every key."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from pollerd.config import Config, load
from pollerd.config.environment import LoadContext
from pollerd.config.example import starter_toml
from pollerd.config.loader import build
from pollerd.config.problem import mask_url
from pollerd.config.reader import Diagnostics
from pollerd.config.render import effective_toml

ROOT = Path(__file__).resolve().parents[2]

EVERYTHING = """
[accounts.default]
token_file = "token"
proxy = "http://proxy:3128"
ca_file = "corp.pem"
source_addresses = ["192.0.2.10", "2001:db8::1"]
[accounts.default.incoming]
every = "20s"
since = 2026-11-01
[accounts.old]
base_url = "https://gatewayapi.eu"
auth = "basic"
username = "bob"
password_env = "PASSWORD"
[accounts.signed]
auth = "oauth1"
key = "k"
secret_file = "secret"
[accounts.signed.limits]
timeout = 0.1234567
max_connections = 2
[limits]
max_connections = 3
[backoff]
policy = "exponential"
first_poll_after = "0s"
min_interval = "10ms"
[store]
path = "x.db"
keep_finished = "36h"
[outputs.file]
path = "x.ndjson"
[outputs.socket]
path = "x.sock"
mode = "0600"
[outputs.webhook]
url = "http://localhost:1/x?y=z"
secret_env = "W"
all_events = true
[[outputs.webhook.routes]]
userref_prefix = "a"
account = "old"
url = "http://localhost:2/"
secret_file = "route"
[outputs.exec]
command = ["cat", ""]
[[outputs.sqlite]]
path = "y.db"
statement = "UPDATE a"
[[sources.sqlite]]
path = "y.db"
query = '''SELECT
1'''
every = "250ms"
[[outputs.sql]]
url = "postgresql+psycopg2://shop@db/shop?sslmode=require"
password_file = "database"
statement = "UPDATE a"
[[sources.sql]]
url = "mariadb://shop@db:3307/shop"
password_env = "W"
query = "SELECT 1"
every = "1s"
[control]
socket = "c.sock"
[credit]
warn_below = 100
[metrics]
listen = "[::1]:1"
[web]
listen = "localhost:2"
[log]
level = "debug"
"""


def read(path: Path, text: str) -> Config:
    path.write_text(text, encoding="utf-8")
    env = {"PASSWORD": "p", "W": "w"}
    return load(path, env, path.parent, system=path.parent / "none")


@pytest.mark.parametrize("text", ["", EVERYTHING], ids=["nothing", "everything"])
def test_what_is_shown_loads_again_as_the_same_configuration(tmp_path: Path, text: str) -> None:
    first = read(tmp_path / "a.toml", text)
    shown = effective_toml(first)
    second = read(tmp_path / "b.toml", shown)
    assert effective_toml(second) == shown
    # Secrets know the file that names them.
    again = replace(second, source="", accounts={}, outputs=first.outputs, sources=first.sources)
    assert again == replace(first, source="", accounts={})
    assert [account.limits for account in second.accounts.values()] == [
        account.limits for account in first.accounts.values()
    ]


def test_tables_without_anything_in_them_are_not_shown(tmp_path: Path) -> None:
    assert all(tomllib.loads(effective_toml(read(tmp_path / "a.toml", ""))).values())


def test_a_webhooks_url_is_shown_without_what_may_be_a_key(tmp_path: Path) -> None:
    text = """
[accounts.default]
[outputs.webhook]
url = "http://localhost:1/hook?key=first-secret"
[[outputs.webhook.routes]]
account = "default"
url = "http://localhost:2/hook?a=1&key=second-secret"
"""
    shown = effective_toml(read(tmp_path / "a.toml", text))
    webhook = tomllib.loads(shown)["outputs"]["webhook"]
    assert webhook["url"] == "http://localhost:1/hook?***"
    assert webhook["routes"][0]["url"] == "http://localhost:2/hook?***"
    assert "secret" not in shown


URLS = [
    ("a plain URL stays", "http://localhost/a/b", "http://localhost/a/b"),
    ("the query goes whole", "http://localhost/?a=1&b=2", "http://localhost/?***"),
    ("user and password go", "http://bob:pass@localhost/", "http://***@localhost/"),
    ("a lone user, who may be a key, goes too", "http://key@localhost/", "http://***@localhost/"),
    ("both", "https://bob:pass@localhost/x?k=v", "https://***@localhost/x?***"),
]


@pytest.mark.parametrize(("sentence", "url", "shown"), URLS, ids=[case[0] for case in URLS])
def test_mask_url(sentence: str, url: str, shown: str) -> None:
    assert mask_url(url) == shown, sentence


@pytest.mark.parametrize("table", ["[[sources.sql]]\nquery", "[[outputs.sql]]\nstatement"])
def test_a_databases_password_is_never_shown(tmp_path: Path, table: str) -> None:
    sql = "SELECT 1" if "query" in table else "UPDATE a"
    text = f'{table} = "{sql}"\nurl = "mysql://bob:hunter%2Dtwo@db/shop?ssl_ca=/ca.pem"'
    config = read(tmp_path / "a.toml", text)
    shown = effective_toml(config)
    assert 'url = "mysql://bob@db/shop?ssl_ca=/ca.pem"\n' in shown
    assert 'password = "***"\n' in shown
    assert "hunter" not in shown + repr(config) + str(config)
    (source,) = [each for each in config.secret_sources() if each.origin.key.endswith("sql[0].url")]
    assert source.read().reveal() == "hunter-two"


def test_every_key_that_is_taken_is_shown(tmp_path: Path) -> None:
    shown = tomllib.loads(effective_toml(read(tmp_path / "a.toml", EVERYTHING)))
    given = tomllib.loads(EVERYTHING)
    assert keys_of(given) <= keys_of(shown)


def keys_of(value: object, path: str = "") -> set[str]:
    if isinstance(value, list):
        return {key for each in value for key in keys_of(each, path)}
    if not isinstance(value, dict):
        return {path} if path != "limits.max_connections" else set()
    return {key for name, each in value.items() for key in keys_of(each, f"{path}.{name}".lstrip("."))}


@dataclass(frozen=True)
class Setting:
    """One line of the example: ``#key = value  # remark``."""

    table: str
    name: str
    text: str
    example: bool


def settings() -> list[Setting]:
    table = ""
    found = []
    for line in starter_toml().splitlines():
        header = re.fullmatch(r"#?(\[\[?[a-z.]+\]\]?)", line)
        if header is not None:
            table = header[1]
        setting = re.fullmatch(r"#?([a-z_0-9]+) = .*", line)
        if setting is not None:
            text = line.removeprefix("#")
            found.append(Setting(table, setting[1], text, "# example" in text))
    return found


def test_the_example_in_the_repository_is_the_one_in_the_package() -> None:
    assert (ROOT / "config.example.toml").read_text(encoding="utf-8") == starter_toml()


def test_the_example_loads_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(starter_toml(), encoding="utf-8")
    env = {"GATEWAYAPI_TOKEN": "x"}
    example = load(path, env, tmp_path, secrets=True, system=tmp_path / "none")
    path.write_text("", encoding="utf-8")
    assert load(path, env, tmp_path, secrets=True, system=tmp_path / "none") == example


def test_every_key_of_the_loader_is_in_the_example() -> None:
    diagnostics = Diagnostics("x")
    build(tomllib.loads(EVERYTHING), LoadContext("x", Path("/x"), {}), diagnostics)
    assert diagnostics.finish() == ()
    taken = {
        (re.sub(r"\[\d+\]", "", table), name)
        for table, names in diagnostics.known.items()
        for name in names
        if not table.startswith(("accounts.old", "accounts.signed"))
    }
    tables = {table for table, _ in taken} | {"accounts.old", "accounts.signed"}
    taken = {(table, name) for table, name in taken if f"{table}.{name}".lstrip(".") not in tables}
    shown = {(setting.table.strip("[]"), setting.name) for setting in settings()}
    assert shown == taken


STANDING = {
    "[accounts.default]": "",
    "[outputs.webhook]": 'url = "http://localhost/"\n',
    "[[outputs.webhook.routes]]": 'url = "http://localhost/"\naccount = "default"\n',
    "[[outputs.sqlite]]": 'path = "x"\nstatement = "UPDATE a"\n',
    "[[outputs.sql]]": 'url = "mysql://x/y"\nstatement = "UPDATE a"\n',
    "[[sources.sqlite]]": 'path = "x"\nquery = "SELECT 1"\n',
    "[[sources.sql]]": 'url = "mysql://x/y"\nquery = "SELECT 1"\n',
}


@pytest.mark.parametrize(
    "setting",
    [setting for setting in settings() if not setting.example],
    ids=lambda setting: f"{setting.table}{setting.name}",
)
def test_each_default_in_the_example_is_the_real_one(tmp_path: Path, setting: Setting) -> None:
    above = "[outputs.webhook]" if setting.table == "[[outputs.webhook.routes]]" else ""
    table = f"{above}\n{STANDING.get(above, '')}{setting.table}\n{STANDING.get(setting.table, '')}"
    assert read(tmp_path / "a.toml", f"{table}{setting.text}\n") == read(tmp_path / "a.toml", table)


@pytest.mark.parametrize(
    "setting",
    [setting for setting in settings() if setting.example],
    ids=lambda setting: f"{setting.table}{setting.name}",
)
def test_each_example_in_the_example_is_taken(setting: Setting) -> None:
    diagnostics = Diagnostics("x")
    table = f"{setting.table}\n"
    if setting.name in ("username", "password", "password_file", "password_env"):
        table += 'url = "postgresql://db/pollerd"\n' if setting.table == "[store]" else 'auth = "basic"\n'
    if setting.name in ("key", "secret", "secret_file", "secret_env") and "accounts" in table:
        table += 'auth = "oauth1"\n'
    build(tomllib.loads(f"{table}{setting.text}\n"), LoadContext("x", Path("/x"), {}), diagnostics)
    assert [problem for problem in diagnostics.finish() if "missing" not in problem.expected and problem.value] == []
