"""What the gateway says of each SMS beside its state, from the answer to every place that shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pollerd
from tests.acceptance.deployment import Deployment
from tests.acceptance.foreign_gateway import answer, foreign_gateway, recipient
from tests.acceptance.test_damaged_answers import QUICK, A, B
from tests.acceptance.waiting import until

NUMBER: Final = 421332671
SENT: Final = 1764000040.5
SMS: Final = {"csms": 3, "senttime": SENT, "actual_sender": "Kommunen"}
FIELDS: Final = ("senttime", "csms", "charge_status", "actual_sender")


async def test_fields_of_the_sms_and_a_charge_that_goes_on(tmp_path: Path) -> None:
    """One recipient ends early and is charged and refunded while the other waits; damage costs its field only."""
    junk = {"csms": 300, "senttime": "soon", "actual_sender": ["x"], "charge_status": {"a": 1}}
    charges = ["AUTHORIZED", "CAPTURED", "AUTHORIZED", None, {"no": "charge"}, "REFUNDED"]
    bodies = [
        answer(NUMBER, recipient(A, "DELIVERED", **SMS, charge_status=charge), recipient(B, "ENROUTE", **junk))
        for charge in charges
    ]
    bodies.append(
        answer(NUMBER, recipient(A, "DELIVERED", **SMS, charge_status="REFUNDED"),
               recipient(B, "EXPIRED", csms=None, senttime=None))
    )  # fmt: skip
    async with foreign_gateway({NUMBER: bodies}) as gateway, Deployment(tmp_path, gateway.url, backoff=QUICK) as here:
        await here.start()
        here.insert([NUMBER])
        await until(lambda: here.pending() == 0, "it ends")
        assert await here.stop() == 0
        told = [event for event in here.events() if event["type"] == "message.status"]
        assert [(e["msisdn"], e["previous"], e["status"], *(e[name] for name in FIELDS)) for e in told] == [
            (A, None, "DELIVERED", SENT, 3, "AUTHORIZED", "Kommunen"),
            (B, None, "ENROUTE", None, None, None, None),
            (A, "DELIVERED", "DELIVERED", SENT, 3, "CAPTURED", "Kommunen"),
            (A, "DELIVERED", "DELIVERED", SENT, 3, "REFUNDED", "Kommunen"),
            (B, "ENROUTE", "EXPIRED", None, None, None, None),
        ]
        assert gateway.polls[NUMBER] == len(bodies), "nobody polls after the end"
        _, out, _ = await here.command("show", str(NUMBER), "--json")
        first, second = json.loads(out)["recipients"]
        assert [first[name] for name in FIELDS] == [SENT, 3, "REFUNDED", "Kommunen"]
        assert [second[name] for name in FIELDS] == [None] * 4
        _, text, _ = await here.command("show", str(NUMBER))
        shown = " ".join(text.split())
        for words in ("sender Kommunen", "parts 3", "charge 1 REFUNDED", "DELIVERED, REFUNDED"):
            assert words in shown
        assert f"{A}: still DELIVERED, charge CAPTURED" in shown
        _, text, _ = await here.command("events", "--after", "0", "--id", str(NUMBER))
        assert '"charge_status":"CAPTURED"' in text
        with_client = pollerd.Client(here.config)
        assert with_client.wait(NUMBER).recipients[0].actual_sender == "Kommunen"
        values = [e for e in with_client.events() if isinstance(e, pollerd.StatusEvent)]
        assert [(e.senttime, e.csms, e.charge_status, e.actual_sender) for e in values][:1] == [
            (SENT, 3, "AUTHORIZED", "Kommunen")
        ]
        schema = json.loads((await here.command("schema"))[1])["$defs"]["Status"]["properties"]
        assert set(FIELDS) <= set(schema)
