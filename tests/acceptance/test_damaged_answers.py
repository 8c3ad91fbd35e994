"""Answers with damaged or odd parts, through the installed command: all the rest is reported, and the end comes."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.acceptance.conftest import Row
from tests.acceptance.deployment import Deployment
from tests.acceptance.foreign_gateway import answer, foreign_gateway, recipient
from tests.acceptance.waiting import until

QUICK: Final = 'policy = "exponential"\nfirst_poll_after = "100ms"\nmin_interval = "100ms"\nmax_interval = "100ms"\n'
A, B, C = 4587654321, 4587654322, 4587654323
NAN: Final = float("nan")
FIRST: Final = 421332000

Line = tuple[int, str, str | None]
"""A number, the state reported of it, and the one before."""


class Case(NamedTuple):
    """A message: its answers, one a poll; the lines to report; the completion's counts (None: it stays pending)."""

    name: str
    answers: Callable[[int], list[bytes]]
    lines: list[Line]
    counts: dict[str, int] | None


TWO: Final[list[Line]] = [(A, "DELIVERED", None), (B, "DELIVERED", None)]
THREE: Final[list[Line]] = [*TWO, (C, "DELIVERED", None)]
DELIVERED: Final = {"DELIVERED": 3}


def with_two(third: object, junk: bytes | None = None) -> Callable[[int], list[bytes]]:
    """One answer: two that are delivered, and a third; `junk` goes where it holds the text HOLE."""

    def made(number: int) -> list[bytes]:
        body = answer(number, recipient(A, "DELIVERED"), third, recipient(B, "DELIVERED"))
        return [body if junk is None else body.replace(b'"HOLE"', junk)]

    return made


def steps(*shown: Sequence[object]) -> Callable[[int], list[bytes]]:
    """One answer for each list of recipients."""
    return lambda number: [answer(number, *recipients) for recipients in shown]


def with_field(field: str) -> Callable[[int], list[bytes]]:
    """One answer for one recipient, in which a field of the message is not a number."""
    return lambda number: [answer(number, recipient(A, "DELIVERED"), **{field: NAN})]


def damaged() -> Iterator[Case]:
    """One recipient of three, or a field of it or of the message, is of no use."""
    numbers = (None, 0, -C, C + 0.5, NAN, float("inf"), True, "", "call me", "9" * 19, [C], {"is": C})
    for value in numbers:
        yield Case(f"msisdn {value!r}", with_two(recipient(value, "DELIVERED")), TWO, DELIVERED)
    for value in ("+45 87 65 43 23", "4587654323", 4587654323.0):
        yield Case(f"msisdn {value!r}", with_two(recipient(value, "DELIVERED")), THREE, DELIVERED)
    misfits: tuple[object, ...] = (NAN, [1], "\ud800", {"a": {}})
    for field in ("dsntime", "dsnerror", "dsnerrorcode", "mcc", "mnc", "country", "csms", "senttime", "charge_status",
                  "actual_sender"):  # fmt: skip
        for junk in misfits:
            third = recipient(C, "DELIVERED", **{field: junk})
            yield Case(f"{field} {junk!r}", with_two(third), THREE, DELIVERED)
    for name, raw in {
        "out of range": b"1e999",
        "no UTF-8": b'"\xff\xfe"',
        "a line break": b'"a\nb"',
        "brackets": b"[" * 50_000 + b"]" * 50_000,
        "a long number": b"7" * 100_000,
        "a key twice": b'[], "dsnstatus": "ENROUTE", "dsnstatus": "DELIVERED"',
    }.items():
        yield Case(f"tagvalues: {name}", with_two(recipient(C, "DELIVERED", tagvalues="HOLE"), raw), THREE, DELIVERED)
    entries: tuple[object, ...] = (None, "x", [], 7)
    for entry in entries:
        yield Case(f"entry {entry!r}", with_two(entry), TWO, None)
    for status in (None, "", 7, ["DELIVERED"], "\x00\u200b"):
        yield Case(f"status {status!r}", with_two(recipient(C, status)), TWO, None)
    for field in ("userref", "sendtime", "validity_period", "payload", "tags"):
        yield Case(f"{field} of the message", with_field(field), TWO[:1], {"DELIVERED": 1})


def odd() -> Iterator[Case]:
    """Answers of which each alone is well, and which make sense only together."""
    early, late = recipient(A, "BUFFERED", dsntime=1764000010.0), recipient(A, "ENROUTE", dsntime=1764000020.0)
    done, seen = recipient(A, "DELIVERED", dsntime=1764000030.0), recipient(A, "READ", dsntime=1764003600.0)
    first: Line = (A, "ENROUTE", None)
    ended: Line = (A, "DELIVERED", "ENROUTE")
    one = {"DELIVERED": 1}
    yield Case("READ at the first look", steps([seen]), [(A, "READ", None)], {"READ": 1})
    yield Case("READ, the delivery missed", steps([late], [seen]), [first, (A, "READ", "ENROUTE")], {"READ": 1})
    yield Case("READ after DELIVERED", steps([done, recipient(B, "ENROUTE")], [seen, recipient(B, "SKIPPED")]),
               [TWO[0], (B, "ENROUTE", None), (B, "SKIPPED", "ENROUTE")], {"DELIVERED": 1, "SKIPPED": 1})  # fmt: skip
    yield Case("by turns from a copy that lags", steps(*[[late], [early]] * 5, [done]), [first, ended], one)
    yield Case("the copy that lags first", steps(*[[early], [late]] * 5, [done]),
               [(A, "BUFFERED", None), (A, "ENROUTE", "BUFFERED"), ended], one)  # fmt: skip
    yield Case("a final state that is older", steps([late], [recipient(A, "DELIVERED", dsntime=1.0)]), [first, ended],
               one)  # fmt: skip
    yield Case("a state is gone for a while", steps([late], [recipient(A, None)], [recipient(A, "")], [done]),
               [first, ended], one)  # fmt: skip
    yield Case("no state at first", steps([recipient(A, None)], [done]), [(A, "DELIVERED", None)], one)
    yield Case("the last one has no number", steps([done, recipient(None, "ENROUTE")], [done, recipient(0, "EXPIRED")]),
               [(A, "DELIVERED", None)], {"DELIVERED": 1, "EXPIRED": 1})  # fmt: skip
    yield Case("two without a number, in any order",
               steps([recipient(None, "ENROUTE"), recipient(0, "REJECTED"), late],
                     [recipient("?", "REJECTED"), recipient(None, "ENROUTE"), late],
                     [recipient(None, "DELIVERED"), recipient(None, "REJECTED"), done]),
               [first, ended], {"DELIVERED": 2, "REJECTED": 1})  # fmt: skip
    yield Case("a number is found", steps([recipient(None, "ENROUTE"), late], [done, recipient(B, "DELIVERED")]),
               [first, ended, (B, "DELIVERED", None)], {"DELIVERED": 2})  # fmt: skip
    yield Case("a number is lost", steps([late, recipient(B, "ENROUTE")], [done, recipient(None, "DELIVERED")]),
               [first, (B, "ENROUTE", None), ended], {"DELIVERED": 2})  # fmt: skip
    yield Case("a number is lost for a while",
               steps([late, recipient(B, "ENROUTE")], [recipient(None, "DELIVERED"), late],
                     [late, recipient(B, "DELIVERED")], [done, recipient(B, "READ")]),
               [first, (B, "ENROUTE", None), (B, "DELIVERED", "ENROUTE"), ended], {"DELIVERED": 2})  # fmt: skip
    strange = [f"ODD \x1b[31m{place} " + "x" * 100 for place in range(60)]
    told = [f"ODD [31m{place} ".ljust(64, "x")[:63] for place in range(60)]
    yield Case("states that nobody knows", steps(*[[recipient(A, state)] for state in strange], [recipient(A, "read")]),
               [(A, state, before) for state, before in zip([*told, "READ"], [None, *told], strict=True)],
               {"READ": 1})  # fmt: skip


async def test_all_that_can_be_read_of_an_answer_is_reported(tmp_path: Path, row: Row) -> None:
    """Each message: the lines of the others, the completion by states, no line for what has no number, no refusal."""
    cases = dict(enumerate([*damaged(), *odd()], FIRST))
    answers = {number: case.answers(number) for number, case in cases.items()}
    ending = {number for number, case in cases.items() if case.counts is not None}
    async with foreign_gateway(answers) as gateway, Deployment(tmp_path, gateway.url, backoff=QUICK) as deployment:
        await deployment.start()
        deployment.insert(cases)

        def of(kind: str) -> list[dict[str, Any]]:
            return [event for event in deployment.events() if event["type"] == kind]

        await until(lambda: {event["id"] for event in of("message.completed")} >= ending, "all that can end have ended")
        asked = {number: gateway.polls[number] for number in set(cases) - ending}
        await until(lambda: all(gateway.polls[n] > count + 6 for n, count in asked.items()), "the others are asked on")
        assert await deployment.stop() == 0
        told: defaultdict[int, list[Line]] = defaultdict(list)
        for event in of("message.status"):
            told[event["id"]].append((event["msisdn"], event["status"], event["previous"]))
        for number, case in cases.items():
            assert Counter(told[number]) == Counter(case.lines), case.name
            for msisdn in {line[0] for line in case.lines}:
                assert [x for x in told[number] if x[0] == msisdn] == [x for x in case.lines if x[0] == msisdn], (
                    case.name
                )
        ends = {event["id"]: event["counts"] for event in of("message.completed")}
        assert ends == {number: case.counts for number, case in cases.items() if case.counts is not None}
        assert {event["type"] for event in deployment.events()} == {"message.status", "message.completed"}
        assert {number: gateway.polls[number] for number in ending} == {n: len(answers[n]) for n in ending}
        assert deployment.query("SELECT count(*) FROM messages WHERE strikes > 0") == [(0,)]
        damage = [record for record in deployment.log() if record["event"] == "answer_damaged"]
        assert len(damage) == len({record["message_id"] for record in damage}) == 10
        unknown = [record["status"] for record in deployment.log() if record["event"] == "unknown_state"]
        assert len(unknown) == len(set(unknown)) == 50
        assert "not to be told" not in deployment.text_log()
        row(f"{len(cases)} messages, {len(ending)} complete, {len(told)} told of, 0 refused, 10 + 50 lines of log")


async def test_a_recipient_without_a_number_is_shown_and_counted_to_the_end(tmp_path: Path) -> None:
    """Pending while it is, in `show` and in the event that gives it up; and the log says once what is wrong."""
    number = FIRST
    states = ((A, "DELIVERED"), (None, "ENROUTE"), (None, None))
    # Sent just now and valid for so long, it is pending while the commands run.
    shown_as = [recipient(*state, senttime=None) for state in states]
    answers = {number: [answer(number, *shown_as, validity_period=3600)]}
    async with (
        foreign_gateway(answers) as gateway,
        Deployment(tmp_path, gateway.url, backoff=QUICK + 'give_up_after = "5s"') as deployment,
    ):
        await deployment.start()
        deployment.insert([number])
        await until(lambda: gateway.polls[number] > 3, "it is asked for more than once")
        _, text, _ = await deployment.command("show", str(number))
        assert "2 recipients: they count by their states, and no event names them" in " ".join(text.split())
        _, out, _ = await deployment.command("show", str(number), "--json")
        shown = json.loads(out)
        assert shown["state"] == "pending"
        told = [(each["msisdn"], each["status"], each["final"]) for each in shown["recipients"]]
        assert told == [(A, "DELIVERED", True), (None, "ENROUTE", False), (None, "UNKNOWN", False)]
        answers[number][:] = [answer(number, *shown_as, validity_period=1)]
        await until(lambda: deployment.pending() == 0, "it is given up")
        assert await deployment.stop() == 0
        *_, gave_up = deployment.events()
        assert (gave_up["type"], gave_up["reason"], gave_up["pending"]) == ("message.gave_up", "deadline", 2)
        (said,) = [record for record in deployment.log() if record["event"] == "answer_damaged"]
        assert (said["fields"], said["recipients"], said["unidentified"]) == ({"msisdn": 2, "dsnstatus": 1}, 3, 2)
