"""`check` and `doctor` as root or as a member of the group: what counts is what the service's user may do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.acceptance.cli_kit import Cli
from tests.acceptance.test_check_service import AS_ROOT, Installed, installed, problems
from tests.acceptance.test_cli_daemon import daemon, gateway
from tests.acceptance.test_cli_other_user import Member, folder, made
from tests.acceptance.waiting import wait_for

__all__ = ["folder", "installed"]

pytestmark = AS_ROOT
SERVICE = "nobody"
NOBODY = 65534


@pytest.fixture
def tmp_path(open_folder: Path) -> Path:
    """The service's user may enter it."""
    return open_folder


@pytest.fixture
def service(installed: Installed, tmp_path: Path) -> Cli:
    """A service that runs as another user, who may read all that it needs."""
    cli = installed(f"User={SERVICE}", auth=f'token_file = "{tmp_path}/api-token"\n')
    with cli.config.open("a") as config:
        config.write(f'[outputs.webhook]\nurl = "http://127.0.0.1:9/"\nsecret_file = "{tmp_path}/webhook-secret"\n')
    for name in ("api-token", "webhook-secret"):
        (tmp_path / name).write_text("a-secret-that-is-long-enough-for-hs256\n")
    for path in (cli.config, tmp_path / "api-token", tmp_path / "webhook-secret"):
        path.chmod(0o640)
        os.chown(path, 0, NOBODY)
    return cli


def test_what_the_service_may_read_is_good(service: Cli) -> None:
    done = service("check", "--json", "-c", str(service.config))
    assert (done.code, done.json["problems"]) == (0, [])


@pytest.mark.parametrize("name", ["webhook-secret", "api-token", "pollerd.toml"])
def test_what_root_alone_may_read_is_a_problem(service: Cli, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    os.chown(path, 0, 0)
    path.chmod(0o600)
    for command in ("check", "doctor"):
        done = service(command, "-c", str(service.config))
        said = " ".join((done.text + done.err).split())
        assert done.code == 78, said
        assert f"may not be read by {SERVICE}, who runs the service" in said
        assert "chmod g+r" in said
    done = service("check", "--json", "-c", str(service.config))
    assert len(done.json["problems"]) == 1
    assert str(path) in problems(done)
    # What the step says mends it.
    step = done.json["problems"][0]["expected"].rpartition("run: ")[2]
    assert os.system(step) == 0
    assert service("check", "-c", str(service.config)).code == 0


def test_a_folder_that_the_service_may_not_enter_is_named(service: Cli, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (tmp_path / "webhook-secret").rename(closed / "webhook-secret")
    service.config.write_text(service.config.read_text().replace("/webhook-secret", "/closed/webhook-secret"))
    done = service("check", "-c", str(service.config))
    assert done.code == 78
    assert f"may not enter {closed}" in done.err


def test_a_member_of_the_group_sees_no_false_failure(folder: Path) -> None:
    with gateway(folder, "--mix", "stuck=1") as url:
        cli = made(folder, url)
        with daemon(cli):
            wait_for((folder / "db" / "events.ndjson").exists)
            for path in (folder / "db").iterdir():
                os.chown(path, NOBODY, os.getegid())
            done = Member(cli)("doctor", "--json")
            failures = [check for check in done.json["checks"] if check["level"] == "failure"]
            assert failures == []
            assert done.code == 0


def test_a_database_that_the_service_may_not_write_is_a_failure(service: Cli, tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    done = service("doctor", "--json", "-c", str(service.config))
    (found,) = [check for check in done.json["checks"] if check["name"] == "rights"]
    assert found["level"] == "failure"
    assert f"{SERVICE} may not write to {tmp_path / 'db'}" in found["evidence"]
    os.chown(tmp_path / "db", NOBODY, NOBODY)
    done = service("doctor", "--json", "-c", str(service.config))
    assert not [check for check in done.json["checks"] if (check["name"], check["level"]) == ("rights", "failure")]
