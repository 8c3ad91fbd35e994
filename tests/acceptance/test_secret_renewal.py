"""Credentials that the gateway refuses: every place says how others are taken up, by where they come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pollerd.simulator import Credentials, Simulator, SimulatorConfig
from tests.acceptance.deployment import Deployment
from tests.acceptance.doctor_kit import doctor
from tests.acceptance.waiting import until

RESTART = "restart the daemon (systemctl restart pollerd)"
FAST = 'policy = "exponential"\nfirst_poll_after = "100ms"\nmin_interval = "100ms"'
CREDENTIAL = (
    'put the right token into the file that the unit loads as the credential "token" '
    f"(/etc/pollerd/token unless it was changed), then {RESTART}"
)
PLACES = {
    "file": ('token_file = "{0}/token"', "put the right token into {0}/token, it is noticed at once"),
    "credential": ("", CREDENTIAL),
    "credential by its path": ('token_file = "{0}/credentials/token"', CREDENTIAL),
    "environment": (
        'token_env = "SMS_TOKEN"',
        f"put the right token into the environment variable SMS_TOKEN, then {RESTART}",
    ),
    "inline": (
        'token = "wrong"',
        f"put the right token into {{0}}/pollerd.toml (accounts.default.token), then {RESTART}",
    ),
}


def placed(deployment: Deployment, line: str) -> dict[str, str]:
    """The deployment with a wrong token at the place that the line says; the environment to run it with."""
    folder = deployment.folder
    (folder / "credentials").mkdir()
    for path in (folder / "token", folder / "credentials" / "token"):
        path.write_text("wrong\n")
        path.chmod(0o600)
    for other in ("password", "secret"):
        # What the unit's SetCredential= gives instead of a file that is not there.
        (folder / "credentials" / other).write_text("\n")
    text = deployment.config.read_text()
    deployment.config.write_text(text.replace(f'token_file = "{folder}/token"', line.format(folder)))
    return {"CREDENTIALS_DIRECTORY": str(folder / "credentials"), "SMS_TOKEN": "wrong"}


@pytest.mark.parametrize("place", PLACES)
async def test_each_place_says_the_right_step(tmp_path: Path, place: str) -> None:
    line, step = (text.format(tmp_path) for text in PLACES[place])
    credentials = Credentials(tokens=frozenset({"right"}))
    async with (
        Simulator(SimulatorConfig(credentials=credentials)) as simulator,
        Deployment(tmp_path, simulator, backoff=FAST) as deployment,
    ):
        environment = placed(deployment, line)
        process = await deployment.start(environment=environment)
        deployment.insert([simulator.truth.add()])
        await until(lambda: held(deployment), "the account is held")
        assert f"{step}; see pollerd doctor" in held(deployment)[0]["message"]

        _, out, _ = await deployment.command("status", "--json")
        (account,) = json.loads(out)["accounts"]
        assert account["advice"].startswith(f"{step}; polling goes on by itself")
        assert step in " ".join((await deployment.command("status"))[1].split())
        seen = await doctor(deployment, environment)
        assert step in seen.next_step("default: polling")
        assert step in seen.next_step("default: token")

        process.send_signal(1)
        await until(lambda: logged(deployment, "reloaded"), "reloaded")
        (reloaded,) = logged(deployment, "reloaded")
        fixed = place != "file"
        assert ("; for another accounts.default.token" in reloaded["message"]) == fixed
        assert (RESTART in reloaded["message"]) == fixed
        if not fixed:
            (tmp_path / "token").write_text("right\n")
            await until(lambda: logged(deployment, "account_recovered"), "the new token is noticed")
        assert await deployment.stop() == 0


def logged(deployment: Deployment, event: str) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in deployment.text_log().splitlines()]
    return [line for line in lines if line["event"] == event]


def held(deployment: Deployment) -> list[dict[str, str]]:
    return logged(deployment, "account_held")


@pytest.mark.parametrize(
    ("table", "files"),
    [
        ('[accounts.default]\nauth = "basic"\nusername = "u"', {"password": "right"}),
        ('[accounts.default]\nauth = "oauth1"\nkey = "k"', {"secret": "right"}),
        ("[accounts.eu]", {"token-eu": "right"}),
        ('[accounts.eu]\nauth = "basic"\nusername = "u"', {"password-eu": "right"}),
        ('[accounts.eu]\nauth = "oauth1"\nkey = "k"', {"secret-eu": "right"}),
    ],
)
async def test_the_service_starts_without_a_token_file(tmp_path: Path, table: str, files: dict[str, str]) -> None:
    """The unit gives an empty credential for each file that is not there; a named account has one of its own."""
    credentials = Credentials(tokens=frozenset({"right"}), users=(("u", "right"),), oauth=(("k", "right"),))
    account = table.partition("]")[0].removeprefix("[accounts.")
    async with (
        Simulator(SimulatorConfig(credentials=credentials)) as simulator,
        Deployment(tmp_path, simulator, backoff=FAST) as deployment,
    ):
        folder = tmp_path / "credentials"
        folder.mkdir()
        for name, content in ({"token": "", "password": "", "secret": ""} | files).items():
            (folder / name).write_text(f"{content}\n")
        text = deployment.config.read_text()
        head = f'[accounts.default]\nbase_url = "{simulator.url}"\ntoken_file = "{tmp_path}/token"'
        assert head in text
        deployment.config.write_text(text.replace(head, f'{table}\nbase_url = "{simulator.url}"'))
        await deployment.start(environment={"CREDENTIALS_DIRECTORY": str(folder)})
        message = simulator.truth.add()
        assert (await deployment.command("track", "--account", account, str(message)))[0] == 0
        await until(lambda: simulator.truth.polls(message), "it is polled")
        await until(deployment.events, "its state is told")
        assert await deployment.stop() == 0


async def test_an_empty_credential_is_no_token(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, "http://127.0.0.1:9")
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "token").write_text("\n")
    deployment.config.write_text(deployment.config.read_text().replace(f'token_file = "{tmp_path}/token"', ""))
    process = await deployment.launch(environment={"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")})
    assert await process.wait() == 78
    said = deployment.text_log()
    assert "no token is given; put it into /etc/pollerd/token" in said
    assert RESTART in said


@pytest.mark.parametrize("place", ["credential", "inline"])
async def test_doctor_compares_its_secret_with_the_daemons(tmp_path: Path, place: str) -> None:
    """A corrected file is accepted by the gateway, but the daemon goes on with what it read at its start."""
    async with (
        Simulator(SimulatorConfig(credentials=Credentials(tokens=frozenset({"right"})))) as simulator,
        Deployment(tmp_path, simulator, backoff=FAST) as deployment,
    ):
        environment = placed(deployment, PLACES[place][0])
        await deployment.start(environment=environment)
        units = tmp_path / "units"
        units.mkdir()
        loads = f"LoadCredential=token:{tmp_path / 'token'}\n" if place == "credential" else ""
        (units / "pollerd.service").write_text(
            f"[Service]\nExecStart=/opt/pollerd/bin/pollerd run -c {deployment.config}\n{loads}"
        )
        outside = {"SYSTEMD_UNIT_PATH": str(units)}
        assert "default: token in use" not in (await doctor(deployment, outside)).failures
        (tmp_path / "token").write_text("right\n")
        deployment.config.write_text(deployment.config.read_text().replace('"wrong"', '"right"'))
        seen = await doctor(deployment, outside)
        assert seen.level("default: token") == "ok"
        assert "uses another token" in seen.evidence("default: token in use")
        assert seen.next_step("default: token in use") == RESTART
        assert "right" not in " ".join(seen.evidence("default: token in use").split())
        assert await deployment.stop() == 0
        (tmp_path / "credentials" / "token").write_text("right\n")
        await deployment.start(environment=environment)
        assert "default: token in use" not in (await doctor(deployment, outside)).failures
