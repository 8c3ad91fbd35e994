"""Where secrets come from, and that they go nowhere else."""

from __future__ import annotations

import codecs
import copy
import os
import pickle
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pollerd.config import BasicAuth, Config, ConfigError, OAuth1, Secret, TokenAuth, load
from pollerd.config.render import effective_toml

HIDDEN = "GoHiddenTokenValue123"
Load = Callable[..., Config]


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of a user whom file rights bind, as they do not bind root."""
    with tempfile.TemporaryDirectory() as folder:
        # Loaded late, and not readable for everybody everywhere.
        codecs.lookup("utf-8-sig")
        before = os.geteuid()
        if before == 0:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            if before == 0:
                os.seteuid(0)


@pytest.fixture
def read(tmp_path: Path) -> Load:
    def read(text: str, env: dict[str, str] | None = None, **options: Any) -> Config:
        path = tmp_path / "pollerd.toml"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o640)
        return load(path, env or {}, tmp_path, system=tmp_path / "none", **options)

    return read


def token(config: Config, account: str = "default") -> str:
    return config.accounts[account].auth.source.read().reveal()


def told(error: pytest.ExceptionInfo[ConfigError]) -> str:
    return "".join(traceback.format_exception(error.value)) + repr(error.value) + str(error.value)


def test_a_secret_shows_itself_nowhere_and_goes_into_no_pickle() -> None:
    secret = Secret(HIDDEN)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>40}", f"{secret!r}", repr([secret]), "%s" % secret]  # noqa: UP031
    assert not any(HIDDEN in text for text in shown)
    assert secret.reveal() == HIDDEN
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(secret, protocol)
    assert copy.deepcopy(secret) is secret
    assert not hasattr(secret, "__dict__")


def test_secrets_compare_by_value_and_with_nothing_else() -> None:
    assert Secret("a\u00e9\udcff") == Secret("a\u00e9\udcff")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_each_way_to_give_a_token(read: Load, tmp_path: Path) -> None:
    (tmp_path / "t").write_text(f"{HIDDEN}\n")
    (tmp_path / "t").chmod(0o600)
    table = "[accounts.default]\n"
    inline = read(f'{table}token = "{HIDDEN}"', secrets=True)
    named = read(f'{table}token_file = "t"', secrets=True)
    from_env = read(f'{table}token_env = "T"', {"T": HIDDEN}, secrets=True)
    assert [token(c) for c in (inline, named, from_env)] == [HIDDEN] * 3
    assert [c.warnings for c in (inline, named, from_env)] == [()] * 3


def test_basic_and_oauth1_have_a_name_beside_the_secret(read: Load) -> None:
    basic = read('[accounts.default]\nauth = "basic"\nusername = "bob"\npassword = "p w\u00e9 "', secrets=True)
    oauth = read('[accounts.default]\nauth = "oauth1"\nkey = "k"\nsecret_env = "S"', {"S": "x"}, secrets=True)
    assert isinstance(basic.accounts["default"].auth, BasicAuth)
    assert basic.accounts["default"].auth.username == "bob"
    assert token(basic) == "p w\u00e9 "
    assert isinstance(oauth.accounts["default"].auth, OAuth1)
    assert (oauth.accounts["default"].auth.key, token(oauth)) == ("k", "x")


def test_without_configuration_the_environment_gives_the_token(tmp_path: Path) -> None:
    config = load(None, {"GATEWAYAPI_TOKEN": HIDDEN}, tmp_path, secrets=True, system=tmp_path / "none")
    assert isinstance(config.accounts["default"].auth, TokenAuth)
    assert token(config) == HIDDEN


def test_commands_that_need_no_token_load_without_one(read: Load, tmp_path: Path) -> None:
    for config in (read(""), load(None, {}, tmp_path, system=tmp_path / "none")):
        with pytest.raises(ConfigError) as caught:
            config.resolve_secrets()
        (problem,) = caught.value.problems
        assert problem.key == "accounts.default.token"
        for way in ("token_file", "environment variable", 'systemd credential named "token"'):
            assert way in str(problem)
    with pytest.raises(ConfigError, match="no token is given"):
        read("", secrets=True)


def credentials(tmp_path: Path, **contents: str) -> dict[str, str]:
    folder = tmp_path / "credentials"
    folder.mkdir()
    for name, content in contents.items():
        (folder / name.replace("_", "-")).write_text(content)
        (folder / name.replace("_", "-")).chmod(0o400)
    return {"CREDENTIALS_DIRECTORY": str(folder)}


def test_a_systemd_credential_is_found_by_itself(read: Load, tmp_path: Path) -> None:
    env = credentials(tmp_path, token="one", token_eu="two", password="three")
    assert token(read("", env, secrets=True)) == "one"
    assert token(read("[accounts.x]", env, secrets=True), "x") == "one"
    both = read("[accounts.default]\n[accounts.eu]", env, secrets=True)
    assert (token(both), token(both, "eu")) == ("one", "two")
    basic = read('[accounts.default]\nauth = "basic"\nusername = "u"', env, secrets=True)
    assert token(basic) == "three"


def test_a_credential_is_given_to_no_other_account(read: Load, tmp_path: Path) -> None:
    env = credentials(tmp_path, token="one") | {"GATEWAYAPI_TOKEN": "four"}
    with pytest.raises(ConfigError) as caught:
        read("[accounts.default]\n[accounts.eu]", env, secrets=True)
    assert [problem.key for problem in caught.value.problems] == ["accounts.eu.token"]


def test_the_credential_comes_before_the_environment_only_when_there_is_a_file(read: Load, tmp_path: Path) -> None:
    env = credentials(tmp_path, token="one") | {"GATEWAYAPI_TOKEN": "four"}
    assert token(read("", env)) == "one"
    (tmp_path / "pollerd.toml").unlink()
    assert token(load(None, env, tmp_path, system=tmp_path / "none")) == "four"


def test_what_the_configuration_names_comes_before_a_credential(read: Load, tmp_path: Path) -> None:
    env = credentials(tmp_path, token="one") | {"T": "named"}
    assert token(read('[accounts.default]\ntoken_env = "T"', env)) == "named"


FILES = [
    ("an empty file is no token", b"", "is empty"),
    ("nor is a line end alone", b"\r\n", "is empty"),
    ("two lines are not one token", f"{HIDDEN}\nx\n".encode(), "more than one line"),
    ("a carriage return inside is refused", f"{HIDDEN}\rx".encode(), "more than one line"),
    ("a tab inside is refused", f"{HIDDEN}\tx".encode(), "a control character"),
    ("a zero byte is refused", f"{HIDDEN}\0".encode(), "a control character"),
    ("a letter outside ASCII is refused", f"{HIDDEN}\u00e9".encode(), "a character outside ASCII"),
    ("an invisible one is refused", f"{HIDDEN[:5]}\u200b{HIDDEN[5:]}".encode(), "an invisible one"),
    ("the word Token does not belong to it", f"Token {HIDDEN}".encode(), "a space"),
    ("UTF-16 is refused", HIDDEN.encode("utf-16"), "is not UTF-8 text"),
    ("bytes that are no text are refused", b"\xff" + HIDDEN.encode(), "is not UTF-8 text"),
    ("a file without end is refused", HIDDEN.encode() * 4000, "larger than 64 KiB"),
]


@pytest.mark.parametrize(("sentence", "content", "words"), FILES, ids=[case[0] for case in FILES])
def test_token_files_that_cannot_be_right(
    read: Load, tmp_path: Path, sentence: str, content: bytes, words: str
) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read('[accounts.default]\ntoken_file = "t"', secrets=True)
    (problem,) = caught.value.problems
    assert problem.key == "accounts.default.token_file", sentence
    assert problem.line == 2
    assert words in str(problem), sentence
    assert str(tmp_path / "t") in str(problem)
    assert HIDDEN not in told(caught)


def test_a_short_signing_secret_is_warned_of_by_its_key_and_no_other_secret_is(read: Load) -> None:
    tables = '[accounts.default]\ntoken = "t"\n[outputs.webhook]\nurl = "http://localhost:1/"\nsecret = "{}"\n'
    routes = '[[outputs.webhook.routes]]\naccount = "default"\nurl = "http://localhost:2/"\nsecret = "short"'
    (warning,) = read(tables.format("x" * 32) + routes, secrets=True).warnings
    assert warning.startswith("outputs.webhook.routes[0].secret: the secret is shorter than the 32 bytes")
    assert len(read(tables.format("x" * 31) + routes, secrets=True).warnings) == 2


KINDS = [
    ("token", "[accounts.default]\n"),
    ("password", '[accounts.default]\nauth = "basic"\nusername = "u"\n'),
    ("secret", '[accounts.default]\nauth = "oauth1"\nkey = "k"\n'),
    ("secret", '[accounts.default]\ntoken = "t"\n[outputs.webhook]\nurl = "http://localhost:1/"\n'),
]


def given(read: Load, folder: Path, kind: tuple[str, str], place: str, content: str) -> Config:
    """A configuration whose last secret is `content`, at one of the places that a secret comes from."""
    name, table = kind
    if place == "env":
        return read(f'{table}{name}_env = "S"', {"S": content})
    if place == "credential":
        return read(table, credentials(folder, **{name: content}))
    (folder / "s").write_text(content, newline="")
    return read(f'{table}{name}_file = "s"')


PLACES = [(kind, place) for kind in KINDS for place in ("file", "env", "credential")]
# The webhook's secret is never searched among the credentials.
PLACES.remove((KINDS[3], "credential"))
place_of = pytest.mark.parametrize(
    ("kind", "place"), PLACES, ids=[f"{'webhook' if 'webhook' in k[1] else k[0]}-{p}" for k, p in PLACES]
)


@place_of
@pytest.mark.parametrize("around", ["{}", "{}\n", "{}\r\n", "{}  \n", "{}\n\n", "\ufeff{}\r\n", "\ufeff {}", "\t{} "])
def test_what_editors_and_shells_leave_around_a_secret_is_taken_off(
    read: Load, tmp_path: Path, kind: tuple[str, str], place: str, around: str
) -> None:
    config = given(read, tmp_path, kind, place, around.format(HIDDEN))
    assert config.secret_sources()[-1].read().reveal() == HIDDEN


@place_of
@pytest.mark.parametrize("around", ['"{}"\n', "'{}'", '\ufeff"{}"\r\n', "\u201c{}\u201d", "`{}`", ' "{}" '])
def test_a_secret_in_quotes_is_refused(
    read: Load, tmp_path: Path, kind: tuple[str, str], place: str, around: str
) -> None:
    config = given(read, tmp_path, kind, place, around.format(HIDDEN))
    with pytest.raises(ConfigError, match="is in quotes; write the secret alone, without them") as caught:
        config.resolve_secrets()
    assert HIDDEN not in told(caught)


def test_quotes_within_the_quotes_of_the_configuration_are_a_passwords_own(read: Load) -> None:
    basic = read("[accounts.default]\nauth = 'basic'\nusername = 'u'\npassword = '\"x\"'", secrets=True)
    assert token(basic) == '"x"'
    with pytest.raises(ConfigError, match="is in quotes"):
        read("[accounts.default]\ntoken = '\"x\"'")


def test_a_missing_file_a_folder_and_a_fifo_are_named(read: Load, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, words in (("gone", "does not exist"), (".", "not a regular file"), ("fifo", "not a regular file")):
        with pytest.raises(ConfigError, match=words):
            read(f'[accounts.default]\ntoken_file = "{name}"').resolve_secrets()


def test_a_file_of_somebody_else_is_named(unprivileged: Path) -> None:
    (unprivileged / "t").write_text(HIDDEN)
    (unprivileged / "t").chmod(0)
    (unprivileged / "pollerd.toml").write_text('[accounts.default]\ntoken_file = "t"')
    with pytest.raises(ConfigError, match="may not be read by this user"):
        load(None, {}, unprivileged, secrets=True)


def test_files_that_everybody_can_read_are_warned_about(read: Load, tmp_path: Path) -> None:
    (tmp_path / "t").write_text(HIDDEN)
    (tmp_path / "t").chmod(0o644)
    (warning,) = read('[accounts.default]\ntoken_file = "t"', secrets=True).warnings
    assert f"chmod o= {tmp_path / 't'}" in warning

    path = tmp_path / "open.toml"
    path.write_text(f'[accounts.default]\ntoken = "{HIDDEN}"')
    path.chmod(0o644)
    (warning,) = load(path, {}, tmp_path).warnings
    assert "holds a secret" in warning
    assert HIDDEN not in warning


def test_a_changed_file_has_another_fingerprint_and_is_read_again(read: Load, tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text("first")
    source = read('[accounts.default]\ntoken_file = "t"').accounts["default"].auth.source
    before = source.fingerprint()
    assert source.fingerprint() == before
    (tmp_path / "new").write_text("second")
    (tmp_path / "new").replace(path)
    assert source.fingerprint() != before
    assert source.read().reveal() == "second"
    path.unlink()
    assert source.fingerprint() is None
    with pytest.raises(ConfigError, match="does not exist"):
        source.read()


def test_a_variable_that_is_not_set_is_named_but_a_pasted_token_is_not(read: Load) -> None:
    with pytest.raises(ConfigError, match="the environment variable SMS_TOKEN is not set"):
        read('[accounts.default]\ntoken_env = "SMS_TOKEN"', secrets=True)
    with pytest.raises(ConfigError, match="is not set") as caught:
        read(f'[accounts.default]\ntoken_env = "{HIDDEN}"', secrets=True)
    assert HIDDEN not in told(caught)


def test_all_secrets_that_fail_are_reported_together_with_the_other_mistakes(read: Load) -> None:
    text = '[accounts.default]\ntoken_file = "gone"\n[accounts.b]\ntoken_env = "GONE"\n[log]\nlevel = 1\n'
    with pytest.raises(ConfigError) as caught:
        read(text, secrets=True)
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["accounts.default.token_file", "accounts.b.token_env", "log.level"]


def test_a_certificate_file_is_tried_too(read: Load) -> None:
    text = '[accounts.default]\ntoken = "x"\nca_file = "gone.pem"'
    read(text)
    with pytest.raises(ConfigError, match="ca_file"):
        read(text, secrets=True)


LEAKS = [
    ("a token that cannot be right", f'token = "Token {HIDDEN}"'),
    ("a token of another type", f'token = ["{HIDDEN}"]'),
    ("a token under a misspelt key", f'tokn = "{HIDDEN}"'),
    ("a token beside another", f'token_file = "x"\ntoken = "{HIDDEN}"'),
    ("a password beside a token", f'password = "{HIDDEN}"'),
    ("a secret in the base URL", f'base_url = "https://u:{HIDDEN}@gatewayapi.com"'),
    ("a token in the base URL's query", f'base_url = "https://gatewayapi.com/?token={HIDDEN}"'),
    ("a password in a proxy that is none", f'proxy = "socks5://u:{HIDDEN}@proxy"'),
    ("a password with a slash in a proxy", f'proxy = "http://u:a/{HIDDEN}@proxy"'),
    ("a proxy without a scheme", f'proxy = "u:{HIDDEN}@proxy:3128"'),
    ("a token where its variable's name belongs", f'token_env = "-{HIDDEN}"'),
    ("a token one level too high", f'[accounts]\ntoken = "{HIDDEN}"'),
    ("broken TOML behind a token", f'token = "{HIDDEN}" x'),
    ("a token without its quotes", f"token = {HIDDEN}"),
]


@pytest.mark.parametrize(("sentence", "text"), LEAKS, ids=[case[0] for case in LEAKS])
def test_no_error_shows_a_secret(read: Load, sentence: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text if text.startswith("[") else f"[accounts.default]\n{text}", secrets=True)
    assert HIDDEN not in told(caught), sentence


def test_no_value_prints_a_secret(read: Load) -> None:
    text = f"""
[accounts.default]
token = "{HIDDEN}"
proxy = "http://user:{HIDDEN}@proxy:3128"
[accounts.env]
token_env = "T"
[outputs.webhook]
url = "http://localhost/"
secret = "{HIDDEN}"
"""
    config = read(text, {"T": HIDDEN}, secrets=True)
    shown = repr(config) + str(config) + effective_toml(config) + f"{config}" + "".join(config.warnings)
    shown += repr(config.accounts["default"].proxy) + str(replace(config.accounts["env"], name="x"))
    assert HIDDEN not in shown
    assert "http://***@proxy:3128" in effective_toml(config)
    assert 'token = "***"' in effective_toml(config)
    assert 'token_env = "T"' in effective_toml(config)


def test_a_secret_written_over_with_one_of_its_length_and_time_is_noticed(read: Load, tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text("first")
    source = read('[accounts.default]\ntoken_file = "t"').accounts["default"].auth.source
    before, times = source.fingerprint(), path.stat()
    path.write_text("other")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert source.fingerprint() != before
