"""The simulator over real HTTP: the vendor's interface as a client sees it."""

import asyncio
import base64
import ssl
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
import trustme
from oauthlib.oauth1 import Client as OAuthClient

from pollerd.simulator import (
    DEMO_CREDENTIAL,
    FINAL_STATES,
    TEXT_MARKER,
    AnswerStyle,
    Credentials,
    Mix,
    Population,
    Simulator,
    SimulatorConfig,
    Step,
    Traffic,
    TrafficConfig,
    over_http,
    through,
)
from tests.acceptance.waiting import PATIENCE

TOKEN = {"Authorization": f"Token {DEMO_CREDENTIAL}"}
AT_ONCE = Population(visibility_median=0.0)
MESSAGE_FIELDS = {
    "id",
    "class",
    "message",
    "payload",
    "label",
    "sender",
    "sendtime",
    "tags",
    "userref",
    "priority",
    "validity_period",
    "encoding",
    "destaddr",
    "udh",
    "callback_url",
    "recipients",
}
RECIPIENT_FIELDS = {
    "msisdn",
    "country",
    "csms",
    "dsnstatus",
    "dsntime",
    "dsnerror",
    "dsnerrorcode",
    "mcc",
    "mnc",
    "senttime",
    "tagvalues",
    "actual_sender",
}
ENDED = [Step(0.0, "DELIVERED")]
CREDENTIALS = Credentials(tokens=frozenset({"the-token"}), users=(("user", "pass:word"),), oauth=(("key", "secret"),))


async def get(url: str, **options: Any) -> tuple[int, Any]:
    """One request of a client of its own: status and decoded body."""
    async with aiohttp.ClientSession() as client, client.get(url, **options) as response:
        return response.status, await response.json()


def signed(url: str, secret: str, key: str = "key") -> dict[str, str]:
    _, headers, _ = OAuthClient(key, client_secret=secret).sign(url, "GET")
    return dict(headers)


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "status", "why"),
    [
        (lambda _: {"Authorization": "Token the-token"}, 200, "an API token"),
        (lambda _: basic("the-token:"), 200, "the token as user name, no password"),
        (lambda _: basic("user:pass:word"), 200, "user name and password"),
        (lambda url: signed(url, "secret"), 200, "an OAuth signature"),
        (lambda _: {}, 401, "nothing at all"),
        (lambda _: {"Authorization": "Token other"}, 401, "a wrong token"),
        (lambda _: basic("the-token:x"), 401, "a token with a password"),
        (lambda _: basic("user:wrong"), 401, "a wrong password"),
        (lambda url: signed(url, "wrong"), 401, "a wrong OAuth secret"),
        (lambda url: signed(url, "secret", "other"), 401, "an unknown OAuth key"),
        (lambda url: signed(url + "0", "secret"), 401, "a signature for another address"),
        (lambda _: {"Authorization": "OAuth rubbish"}, 401, "a broken OAuth header"),
    ],
)
async def test_authentication(headers: Callable[[str], dict[str, str]], status: int, why: str) -> None:
    async with Simulator(SimulatorConfig(credentials=CREDENTIALS)) as simulator:
        url = f"{simulator.url}/rest/me"
        answered, body = await get(url, headers=headers(url))
        assert answered == status, why
        assert simulator.statistics().unauthorized == (status == 401)
        if status == 401:
            assert body["code"].startswith("0x02")
            assert set(body) == {"code", "incident_uuid", "message", "variables"}


async def test_the_token_in_the_address_is_taken_too() -> None:
    async with Simulator(SimulatorConfig(credentials=CREDENTIALS)) as simulator:
        assert (await get(f"{simulator.url}/rest/me?token=the-token"))[0] == 200
        assert (await get(f"{simulator.url}/rest/me?token=other"))[0] == 401


async def test_a_signature_is_good_once() -> None:
    async with Simulator(SimulatorConfig(credentials=CREDENTIALS)) as simulator:
        url = f"{simulator.url}/rest/me"
        headers = signed(url, "secret")
        assert [(await get(url, headers=headers))[0] for _ in range(2)] == [200, 401]


async def test_anyone_may_come_in_when_configured() -> None:
    async with Simulator(SimulatorConfig(credentials=Credentials(anyone=True))) as simulator:
        assert (await get(f"{simulator.url}/rest/me"))[0] == 200


async def test_balance_falls_with_each_message() -> None:
    async with Simulator(SimulatorConfig(credit=10.0)) as simulator, aiohttp.ClientSession() as client:
        await Traffic(over_http(client, simulator.url), TrafficConfig(groups=0.0)).send(2)
        _, body = await get(f"{simulator.url}/rest/me", headers=TOKEN)
        assert body == {"credit": 9.3, "currency": "DKK", "id": 1}


async def test_a_sent_message_can_be_read_with_every_documented_field() -> None:
    config = SimulatorConfig(population=Population(visibility_median=0.0, first_id=421332671))
    sending = {
        "sender": "Shop",
        "message": "Your code is 1234",
        "recipients": [{"msisdn": 4520000001}, {"msisdn": "46200000002"}],
        "userref": "order-17",
        "validity_period": 3600,
        "callback_url": "http://example.com/",
        "some_new_field": True,
    }
    async with Simulator(config) as simulator, aiohttp.ClientSession(headers=TOKEN) as client:
        async with client.post(f"{simulator.url}/rest/mtsms", json=sending) as response:
            assert response.status == 200
            sent = await response.json()
        assert sent["ids"] == [421332671]
        assert sent["usage"]["countries"] == {"DK": 1, "SE": 1}
        status, body = await get(f"{simulator.url}/rest/mtsms/421332671", headers=TOKEN)
    assert status == 200
    (message,) = body
    assert set(message) == MESSAGE_FIELDS
    assert (message["id"], message["userref"], message["validity_period"]) == (421332671, "order-17", 3600)
    assert [r["msisdn"] for r in message["recipients"]] == [4520000001, 46200000002]
    for recipient in message["recipients"]:
        assert set(recipient) == RECIPIENT_FIELDS


async def test_a_list_of_messages_is_sent_at_once() -> None:
    one = {"message": "Hello", "recipients": [{"msisdn": 4520000001}]}
    async with Simulator() as simulator, aiohttp.ClientSession(headers=TOKEN) as client:
        async with client.post(f"{simulator.url}/rest/mtsms", json=[one, one, one]) as response:
            ids = (await response.json())["ids"]
        assert len(set(ids)) == 3
        assert simulator.statistics().messages == 3


@pytest.mark.parametrize(
    ("body", "credit", "status", "why"),
    [
        (b"{", 100.0, 400, "no JSON"),
        (b'{"message": "x"}', 100.0, 422, "no recipients"),
        (b'{"recipients": []}', 100.0, 422, "an empty list of recipients"),
        (b'{"recipients": [{"msisdn": 0}]}', 100.0, 422, "an impossible number"),
        (b'{"recipients": [{"msisdn": 4520000001}]}', 0.1, 403, "no credit"),
    ],
)
async def test_a_bad_sending_request_is_refused(body: bytes, credit: float, status: int, why: str) -> None:
    async with Simulator(SimulatorConfig(credit=credit)) as simulator, aiohttp.ClientSession() as client:
        async with client.post(f"{simulator.url}/rest/mtsms", data=body, headers=TOKEN) as response:
            assert response.status == status, why
            assert "message" in await response.json()
        assert simulator.statistics().messages == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/rest/mtsms/99", 404),
        ("/rest/mtsms/0", 400),
        ("/rest/mtsms/-1", 400),
        ("/rest/mtsms/18446744073709551616", 400),
        ("/rest/mtsms/01JNN696A9E0WS89FPYGT15NBX", 400),
        ("/rest/elsewhere", 404),
    ],
)
async def test_an_id_that_is_none_and_a_message_that_is_not(path: str, status: int) -> None:
    async with Simulator() as simulator:
        assert (await get(simulator.url + path, headers=TOKEN))[0] == status


@pytest.mark.parametrize(
    ("style", "kinds"),
    [
        (AnswerStyle(), [list, list]),
        (AnswerStyle(shape="object"), [dict, dict]),
        (AnswerStyle(shape="alternating"), [list, dict]),
    ],
)
async def test_the_answer_is_a_list_or_a_bare_object(style: AnswerStyle, kinds: list[type]) -> None:
    async with Simulator(SimulatorConfig(answers=style, population=AT_ONCE)) as simulator:
        simulator.truth.add(5)
        bodies = [(await get(f"{simulator.url}/rest/mtsms/5", headers=TOKEN))[1] for _ in range(2)]
        assert [type(body) for body in bodies] == kinds


async def test_a_message_lives_from_404_to_its_final_state_in_real_time() -> None:
    steps = [Step(0.0, "BUFFERED"), Step(10.0, "ENROUTE"), Step(30.0, "UNDELIVERABLE", 0x1010)]
    population = Population(visibility_median=5.0, visibility_sigma=0.0)
    seen: list[str] = []
    async with Simulator(SimulatorConfig(speed=50.0, population=population)) as simulator:
        message_id = simulator.truth.add(recipients=[4520000001], steps=steps)
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession(headers=TOKEN) as client:
            while "UNDELIVERABLE" not in seen:
                async with client.get(f"{simulator.url}/rest/mtsms/{message_id}") as response:
                    body = await response.json()
                    found = "404" if response.status == 404 else body[0]["recipients"][0]["dsnstatus"]
                if found not in seen:
                    seen.append(found)
        record = simulator.record(message_id)
    assert seen == ["404", "BUFFERED", "ENROUTE", "UNDELIVERABLE"]
    recipient = body[0]["recipients"][0]
    assert recipient["dsnerrorcode"] == "0x1010"
    assert recipient["dsnerror"] == "Unknown subscriber"
    assert recipient["senttime"] == record.sent_at
    assert recipient["dsntime"] == record.recipients[0].final_at
    assert recipient["dsntime"] - recipient["senttime"] == pytest.approx(30 / 50, abs=1e-4)
    assert abs(recipient["senttime"] - time.time()) < 60


async def test_every_final_state_reported_is_the_truth() -> None:
    mix = Mix(delivered=1, never=1, undeliverable=1, accepted=1, rejected=1, skipped=1, deleted=1)
    population = Population(mix=mix, any_id=True, implied_sent_at=time.time() - 10 * 86_400)
    async with Simulator(SimulatorConfig(population=population)) as simulator:
        async with aiohttp.ClientSession(headers=TOKEN) as client:
            for message_id in range(1, 101):
                async with client.get(f"{simulator.url}/rest/mtsms/{message_id}") as response:
                    ((recipient,),) = [m["recipients"] for m in await response.json()]
                (truth,) = simulator.record(message_id).recipients
                assert recipient["dsnstatus"] == truth.final
                assert recipient["dsntime"] == truth.final_at
                assert recipient["dsnerrorcode"] == truth.code
        assert {r.recipients[0].final for r in simulator.records()} == FINAL_STATES


async def test_codes_may_be_numbers_and_networks_numbers_or_text() -> None:
    style = AnswerStyle(error_codes="mixed")
    async with Simulator(SimulatorConfig(answers=style, population=AT_ONCE)) as simulator:
        simulator.truth.add(4, recipients=[4520000001], steps=[Step(0.0, "EXPIRED", 0x1013)])
        answers = [(await get(f"{simulator.url}/rest/mtsms/4", headers=TOKEN))[1] for _ in range(2)]
    told = [answer[0]["recipients"][0] for answer in answers]
    assert [r["dsnerrorcode"] for r in told] == [0x1013, "0x1013"]
    assert [r["mcc"] for r in told] == [238, "238"]
    assert int(told[0]["mnc"]) == int(told[1]["mnc"])


async def test_times_can_be_missing() -> None:
    style = AnswerStyle(null_times=True)
    async with Simulator(SimulatorConfig(answers=style, population=AT_ONCE)) as simulator:
        simulator.truth.add(4, steps=ENDED)
        _, body = await get(f"{simulator.url}/rest/mtsms/4", headers=TOKEN)
        assert body[0]["recipients"][0]["dsntime"] is None


async def test_recipients_come_in_changing_order_when_shuffled() -> None:
    style = AnswerStyle(shuffle=True)
    async with Simulator(SimulatorConfig(answers=style, population=AT_ONCE)) as simulator:
        simulator.truth.add(4, recipients=8, steps=ENDED)
        bodies = [(await get(f"{simulator.url}/rest/mtsms/4", headers=TOKEN))[1] for _ in range(4)]
    orders = [tuple(r["msisdn"] for r in body[0]["recipients"]) for body in bodies]
    assert len(set(orders)) > 1
    assert len({tuple(sorted(order)) for order in orders}) == 1


async def test_a_transient_state_is_shown_only_after_the_final_one_was_reported() -> None:
    style = AnswerStyle(late_transient=1.0)
    async with Simulator(SimulatorConfig(answers=style, population=AT_ONCE)) as simulator:
        simulator.truth.add(4, steps=ENDED)
        bodies = [(await get(f"{simulator.url}/rest/mtsms/4", headers=TOKEN))[1] for _ in range(3)]
        states = [body[0]["recipients"][0]["dsnstatus"] for body in bodies]
        assert states == ["DELIVERED", "ENROUTE", "ENROUTE"]
        assert simulator.record(4).recipients[0].final == "DELIVERED"


async def test_the_made_up_text_carries_the_marker() -> None:
    async with Simulator(SimulatorConfig(population=AT_ONCE)) as simulator:
        simulator.truth.add(4)
        _, body = await get(f"{simulator.url}/rest/mtsms/4", headers=TOKEN)
        assert TEXT_MARKER in body[0]["message"]


async def test_ten_thousand_recipients_fit_into_one_message() -> None:
    async with Simulator(SimulatorConfig(population=AT_ONCE)) as simulator:
        simulator.truth.add(4, recipients=10_000, sent_at=time.time() - 30 * 86_400)
        _, body = await get(f"{simulator.url}/rest/mtsms/4", headers=TOKEN)
        assert len({r["msisdn"] for r in body[0]["recipients"]}) == 10_000
        assert simulator.record(4).final_told_at is not None


async def test_a_scheduled_message_can_be_cancelled_once() -> None:
    async with Simulator(SimulatorConfig(population=AT_ONCE)) as simulator:
        simulator.truth.add(4, sendtime=time.time() + 3600)
        simulator.truth.add(5, steps=ENDED)
        url = f"{simulator.url}/rest/mtsms"
        assert (await get(f"{url}/4", headers=TOKEN))[0] == 404
        statuses = []
        async with aiohttp.ClientSession(headers=TOKEN) as client:
            for message_id in (4, 4, 5, 6):
                async with client.delete(f"{url}/{message_id}") as response:
                    statuses.append(response.status)
        assert statuses == [204, 410, 410, 404]
        _, body = await get(f"{url}/4", headers=TOKEN)
        assert body[0]["recipients"][0]["dsnstatus"] == "DELETED"


async def test_a_scheduled_message_is_shown_when_configured() -> None:
    style = AnswerStyle(scheduled="shown")
    async with Simulator(SimulatorConfig(population=AT_ONCE, answers=style)) as simulator:
        simulator.truth.add(4, sendtime=time.time() + 3600)
        _, body = await get(f"{simulator.url}/rest/mtsms/4", headers=TOKEN)
        assert body[0]["recipients"][0]["dsnstatus"] == "SCHEDULED"
        assert body[0]["recipients"][0]["dsntime"] is None


async def test_traffic_sends_the_same_messages_for_the_same_seed() -> None:
    async with Simulator() as one, Simulator() as two, aiohttp.ClientSession() as client:
        first = await Traffic(through(one)).send(200)
        second = await Traffic(over_http(client, two.url)).send(200)
        assert first == second

        def phones(simulator: Simulator) -> list[list[int]]:
            return [[r.msisdn for r in record.recipients] for record in simulator.records()]

        assert phones(one) == phones(two)
        sizes = {len(numbers) for numbers in phones(one)}
        assert min(sizes) == 1
        assert max(sizes) > 1


async def test_traffic_runs_until_its_total_and_hands_over_every_id() -> None:
    handed: list[int] = []

    async def take(ids: list[int]) -> None:
        handed.extend(ids)

    async with Simulator() as simulator:
        traffic = Traffic(through(simulator), TrafficConfig(rate=1e9, total=57))
        assert await traffic.run(take, asyncio.Event()) == 57
        assert handed == [record.id for record in simulator.records()]


async def test_traffic_without_total_ends_when_it_is_stopped() -> None:
    stop = asyncio.Event()

    async def take(_: list[int]) -> None:
        stop.set()

    async with Simulator() as simulator:
        sent = await Traffic(through(simulator), TrafficConfig(rate=1.0)).run(take, stop)
        assert sent == simulator.statistics().messages


async def test_traffic_says_when_the_gateway_refuses() -> None:
    async with Simulator(SimulatorConfig(credit=0.0)) as simulator, aiohttp.ClientSession() as client:
        with pytest.raises(RuntimeError, match="answered 403"):
            await Traffic(over_http(client, simulator.url)).send(1)


async def test_https_with_a_private_authority() -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with Simulator(SimulatorConfig(ssl_context=server)) as simulator:
        assert simulator.url.startswith("https://")
        assert (await get(f"{simulator.url}/rest/me", headers=TOKEN, ssl=trusting))[0] == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await get(f"{simulator.url}/rest/me", headers=TOKEN)
        assert simulator.statistics().max_connections == 1
