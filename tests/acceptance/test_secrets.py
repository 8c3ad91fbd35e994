"""Secrets as people write them down: in files with what an editor left there, for every kind of secret at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollerd.simulator import Simulator
from tests.acceptance.cli_kit import Cli
from tests.acceptance.deployment import Deployment
from tests.acceptance.doctor_kit import doctor

ACCOUNTS = """
[limits]
max_connections = 4
[accounts.file]
token_file = "s"
[accounts.env]
token_env = "SECRET"
[accounts.credential]
[accounts.basic]
auth = "basic"
username = "u"
password_file = "s"
[accounts.oauth]
auth = "oauth1"
key = "k"
secret_file = "s"
[outputs.webhook]
url = "http://localhost:9/"
secret_file = "s"
[[outputs.webhook.routes]]
account = "file"
url = "http://localhost:9/"
secret_file = "s"
"""
SECRET = "a-secret-of-thirty-two-bytes-or-more"


def with_secrets(folder: Path, content: str) -> Cli:
    cli = Cli(folder, extra=ACCOUNTS)
    for name in ("s", "token-credential"):
        (folder / name).write_bytes(content.encode())
        (folder / name).chmod(0o600)
    cli.environment |= {"SECRET": content, "CREDENTIALS_DIRECTORY": str(folder)}
    return cli


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", "{} \t\n\n", "\ufeff{}\r\n"])
def test_what_is_left_around_a_secret_is_harmless(tmp_path: Path, around: str) -> None:
    done = with_secrets(tmp_path, around.format(SECRET))("check", "--json")
    assert (done.code, done.json["problems"], done.json["warnings"]) == (0, [], [])


@pytest.mark.parametrize("around", ['"{}"\n', "\ufeff'{}'\r\n"])
def test_quotes_around_a_secret_are_refused_for_every_kind(tmp_path: Path, around: str) -> None:
    done = with_secrets(tmp_path, around.format(SECRET))("check", "--json")
    assert done.code == 78
    assert {problem["key"] for problem in done.json["problems"]} == {
        "accounts.file.token_file",
        "accounts.env.token_env",
        "accounts.credential.token",
        "accounts.basic.password_file",
        "accounts.oauth.secret_file",
        "outputs.webhook.secret_file",
        "outputs.webhook.routes[0].secret_file",
    }
    assert all("is in quotes; write the secret alone" in problem["expected"] for problem in done.json["problems"])
    assert SECRET not in done.text + done.err


async def test_the_gateway_takes_a_token_that_windows_wrote_down(tmp_path: Path) -> None:
    async with Simulator() as simulator:
        deployment = Deployment(tmp_path, simulator)
        token = (tmp_path / "token").read_text().strip()
        (tmp_path / "token").write_bytes(f"\ufeff{token}\r\n".encode())
        seen = await doctor(deployment)
        assert (seen.code, seen.level("default: token")) == (0, "ok")


def test_a_message_says_how_a_raw_password_of_a_proxy_is_written(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli.config.write_text(cli.config.read_text().replace("token =", 'proxy = "http://joe:p@:%#ss@proxy:3128"\ntoken ='))
    done = cli("check")
    assert done.code == 78
    assert "percent-encoded (%40 for @, %3A for :, %25 for %, %23 for #" in done.err
    assert "p@:%#ss" not in done.err
    cli.config.write_text(cli.config.read_text().replace("p@:%#ss", "p%40%3A%25%23ss"))
    assert cli("check").code == 0
