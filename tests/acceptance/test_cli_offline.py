"""The command line without a daemon: what every command says, to whom, and with which exit code."""

from __future__ import annotations

import stat

import pytest

from tests.acceptance.cli_kit import Cli
from tests.acceptance.offline_kit import stored


def test_without_a_command_it_shows_what_there_is(cli: Cli) -> None:
    done = cli()
    assert done.code == 2
    assert cli("--help").code == 0
    for command in ("run", "demo", "simulate", "track", "status", "plan", "schema"):
        assert command in done.err
        assert cli(command, "--help").code == 0
    assert cli("--version").text.startswith("pollerd ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["trakc", "1"],
        ["track"],
        ["track", "--nonsense", "1"],
        ["track", "--account", "nobody", "1"],
        ["track", "--sent-at", "yesterday", "1"],
        ["track", "--sent-at", "1764000000000", "1"],
        ["track", "--sent-at", "nan", "1"],
        ["list", "--state", "lost"],
        ["list", "--limit", "0"],
        ["show"],
        ["show", "0"],
        ["events", "--after", "x"],
        ["events", "--after", "-1"],
        ["events", "--type", "x"],
        ["retry"],
        ["retry", "--all", "1"],
        ["poll"],
        ["plan", "--age", "soon"],
        ["plan", "--country", "DK", "--network", "238/01"],
        ["simulate", "--fault", "nonsense"],
        ["simulate", "--port", "99999"],
        ["simulate", "--port", "-1"],
        ["plan", "--country", "Denmark"],
        ["plan", "--country", "45"],
        ["plan", "--network", "foo"],
        ["plan", "--network", "238"],
    ],
)
def test_wrong_usage_ends_with_2_and_says_so_on_standard_error(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments)
    assert (done.code, done.out) == (2, b"")
    assert done.err.startswith("pollerd: ")
    assert "--help'" in done.err
    assert not cli.database.exists()


def test_a_configuration_that_may_not_be_read_is_a_bad_one(cli: Cli) -> None:
    cli.config.chmod(0)
    done = cli("check", "-c", str(cli.config), without_rights=True)
    assert done.code == 78
    assert "may not be read by this user" in done.err


def test_a_near_command_is_named(cli: Cli) -> None:
    assert "Did you mean 'track'?" in cli("trakc", "1").err


@pytest.mark.parametrize("command", [["track", "1"], ["list"], ["status", "--json"], ["check"], ["config", "show"]])
def test_every_mistake_of_a_configuration_is_named_at_once(cli: Cli, command: list[str]) -> None:
    cli.config.write_text('[limits]\ntimeout = "x"\nmax_connections = 99\n[stroe]\n[backoff]\npolicy = "clever"\n')
    done = cli(*command)
    assert (done.code, done.out) == (78, b"")
    for key in ("timeout", "max_connections", "stroe", "policy"):
        assert key in done.err


def test_check_names_the_problems_for_programs_too(cli: Cli) -> None:
    cli.config.write_text('[limits]\ntimeout = "x"\n')
    done = cli("check", "--json")
    assert done.code == 78
    assert done.json["ok"] is False
    assert done.json["problems"][0]["key"] == "limits.timeout"


@pytest.mark.usefixtures("engine")
def test_requests_are_done_by_the_command_itself(filled: Cli) -> None:
    untracked = filled("untrack", "1", "2", "3", "99", "-4")
    assert untracked.code == 1
    assert untracked.text.splitlines()[-1] == "1 is not followed any more."
    assert "99 is not followed" in untracked.err
    assert "negative" in untracked.err
    last = filled("events", "--id", "1").lines[-1]
    assert (last["type"], last["reason"]) == ("message.gave_up", "untracked")

    retried = filled("retry", "1", "2", "--json")
    assert retried.code == 0
    results = {item["id"]: item["result"] for item in retried.json["results"]}
    assert results == {1: "taken_up", 2: "already_finished"}

    polled = filled("poll", "1", "3", "4", "--json")
    assert polled.code == 1
    results = {item["id"]: item["result"] for item in polled.json["results"]}
    assert results == {1: "due", 3: "given_up", 4: "account_not_configured"}
    assert stored(filled, "SELECT count(*) FROM requests") == [(0,)]


@pytest.mark.usefixtures("engine")
def test_everything_that_was_given_up_is_taken_up(filled: Cli) -> None:
    assert filled("retry", "--all", "--json").json == {"taken_up": 1, "still_given_up": 0}
    assert "Nothing" in filled("retry", "--all").text
    assert filled("list", "--state", "gave_up", "--json").out == b""


def test_the_starter_is_written_once(cli: Cli) -> None:
    done = cli("config", "init", "new.toml")
    assert done.code == 0
    path = cli.folder / "new.toml"
    assert not stat.S_IMODE(path.stat().st_mode) & 0o007
    text = path.read_text()
    assert cli("config", "init", "-").text == text
    again = cli("config", "init", "new.toml")
    assert again.code == 1
    assert "--force" in again.err
    assert cli("config", "init", "--force", "new.toml").code == 0
    nowhere = cli("config", "init", "no/such/folder.toml")
    assert nowhere.code == 1
    assert "folder" in nowhere.err


def test_the_effective_configuration_hides_secrets(cli: Cli) -> None:
    for arguments in (["config", "show"], ["config", "show", "--json"]):
        shown = cli(*arguments).text
        assert "simulator-demo" not in shown
        assert "***" in shown


def test_check_says_what_is_good_and_warns(cli: Cli) -> None:
    done = cli("check")
    assert (done.code, done.err) == (0, "")
    assert "good" in done.text
    table = '[[outputs.sqlite]]\npath = "shop.db"\nstatement = "UPDATE sms SET status = :status WHERE id = :id"\n'
    cli.config.write_text(f'{cli.config.read_text()}[outputs.exec]\ncommand = ["true"]\n{table}')
    assert "outputs exec, sqlite, database" in cli("check").text
    cli.config.chmod(0o644)
    assert "warning" in cli("check").err
    assert cli("check", "--json").json["warnings"]


def test_the_schema_describes_every_event(cli: Cli) -> None:
    assert {"message.status", "account.credit_ok"} <= {
        name for definition in cli("schema").json["$defs"].values() for name in definition["properties"]["type"]["enum"]
    }
    assert cli("schema", "--json", "-c", str(cli.config)).json == cli("schema").json


def test_plan_answers_for_an_age(cli: Cli) -> None:
    everything = cli("plan", "--json").json["rows"]
    late = cli("plan", "--json", "--age", "1h", "--country", "dk").json
    assert late["key"] == "DK"
    assert len(late["rows"]) < len(everything)
    assert all(row["age"] > 3600 for row in late["rows"])
