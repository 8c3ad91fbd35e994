"""`pollerd check` and `doctor` beside an installed service, whose token systemd alone gives it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.cli_kit import Cli, Done

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
NOBODY = 65534
Installed = Callable[..., Cli]


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    """A service whose unit has `line`, with a configuration that names no secret."""

    def install(line: str = "", *, configuration: Path | None = None, auth: str = "", run: str = "run -c {}") -> Cli:
        cli = Cli(tmp_path)
        text = cli.config.read_text().replace('token = "simulator-demo"\n', auth)
        cli.config.write_text(text)
        units = tmp_path / "units"
        units.mkdir()
        (units / "pollerd.service").write_text(
            f"[Service]\nExecStart=/opt/pollerd/bin/pollerd {run.format(configuration or cli.config)}\n{line}\n"
        )
        cli.environment |= {"SYSTEMD_UNIT_PATH": str(units)}
        cli.environment.pop("CREDENTIALS_DIRECTORY", None)
        return cli

    return install


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "the-token"
    path.write_text("a-token-of-the-service\n")
    path.chmod(0o600)
    return path


def check(cli: Cli) -> Done:
    return cli("check", "--json", "-c", str(cli.config))


def problems(done: Done) -> str:
    return json.dumps(done.json["problems"])


def test_a_token_that_the_unit_loads_is_a_token(installed: Installed, token: Path) -> None:
    done = check(installed(f"LoadCredential=token:{token}"))
    assert (done.code, done.json["problems"], done.json["warnings"]) == (0, [], [])
    assert b"a-token-of-the-service" not in done.out


def test_a_password_goes_the_same_way(installed: Installed, token: Path) -> None:
    cli = installed(f"LoadCredential=password:{token}", auth='auth = "basic"\nusername = "u"\n')
    assert check(cli).code == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist, and"),
        ("", "is empty"),
        ("two words\n", "holds a space"),
    ],
)
def test_what_is_wrong_with_its_file_is_reported(
    installed: Installed, token: Path, content: str | None, says: str
) -> None:
    if content is None:
        token.unlink()
    else:
        token.write_text(content)
    done = check(installed(f"LoadCredential=token:{token}"))
    assert done.code == 78
    assert f"{token} {says}" in problems(done)


@AS_ROOT
def test_a_file_that_systemd_alone_may_read_is_a_warning(installed: Installed, token: Path, tmp_path: Path) -> None:
    cli = installed(f"LoadCredential=token:{token}")
    os.chown(token, NOBODY, NOBODY)
    done = cli("check", "--json", "-c", str(cli.config), without_rights=True)
    assert (done.code, done.json["problems"]) == (0, [])
    (said,) = done.json["warnings"]
    assert f"{token}, which {tmp_path / 'units/pollerd.service'} loads for the service, was not checked" in said

    seen = cli("doctor", "--json", "-c", str(cli.config), without_rights=True)
    found = {(entry["name"], entry["level"]) for entry in seen.json["checks"]}
    assert seen.code == 1, "nothing listens at the gateway's address"
    assert ("secrets", "warning") in found
    assert ("configuration", "ok") in found


@pytest.mark.parametrize(
    "line",
    [
        "LoadCredentialEncrypted=token:/etc/pollerd/token.cred",
        "SetCredentialEncrypted=token: k6iUCUh0RJCQyvL8k8q1UyAAAAABAAAADAAAABAAAAC1lFmbWAqWZ8dCCQkAAAAA",
        "LoadCredential=token:pollerd-token",
        "LoadCredential=token",
    ],
)
def test_a_credential_that_cannot_be_read_outside_of_the_service_is_a_warning(installed: Installed, line: str) -> None:
    cli = installed(line)
    done = check(cli)
    assert (done.code, done.json["problems"]) == (0, [])
    assert 'the credential "token" was not checked' in done.json["warnings"][0]
    people = cli("check", "-c", str(cli.config))
    assert people.code == 0
    assert people.err.startswith("pollerd: warning: the credential")
    assert people.text.startswith("The configuration is good")


def test_a_unit_without_a_credential_gives_no_token(installed: Installed) -> None:
    done = check(installed("LoadCredential=password:/etc/pollerd/password"))
    assert done.code == 78
    assert "no token is given" in problems(done)


def test_a_unit_for_another_configuration_gives_nothing(installed: Installed, token: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("")
    done = check(installed(f"LoadCredential=token:{token}", configuration=other))
    assert done.code == 78
    assert "no token is given" in problems(done)


def test_what_the_configuration_names_comes_before_the_unit(installed: Installed, token: Path, tmp_path: Path) -> None:
    cli = installed(f"LoadCredential=token:{token}", auth=f'token_file = "{tmp_path / "absent"}"\n')
    done = check(cli)
    assert done.code == 78
    assert f"{tmp_path / 'absent'} does not exist" in problems(done)


@pytest.mark.parametrize("run", ["run --config={}", 'run -c "{}"', "run --config {}"])
def test_a_configuration_is_named_in_several_ways(installed: Installed, token: Path, run: str) -> None:
    assert check(installed(f"LoadCredential=token:{token}", run=run)).code == 0


def test_a_quote_that_is_not_closed_names_no_configuration(installed: Installed, token: Path) -> None:
    done = check(installed(f"LoadCredential=token:{token}", run='run -c "{}'))
    assert done.code == 78
    assert "no token is given" in problems(done)
    assert "Traceback" not in done.err
