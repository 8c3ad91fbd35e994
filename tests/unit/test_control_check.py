"""The control check: which messages are asked about in another's place, and what their answers mean."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from pollerd.core.model import Answer, HoldReason, NotFound, Outcome, Rejected, Trouble
from pollerd.polling.control_check import KEPT, REFUSALS_BEFORE_CHECK, ControlCheck, ControlCheckResult

GOOD, GONE, BAD = Answer(()), NotFound(), Rejected("no", "http_410")
TROUBLE = Trouble(HoldReason.UNREACHABLE, "timeout", "no answer")


class Gateway:
    """Answers each message as the test wants, one outcome after another; the last one stays."""

    def __init__(self, **answers: Iterable[Outcome | None]) -> None:
        self.seconds = 100.0
        self.check = ControlCheck(lambda: self.seconds, lambda: self.seconds, lambda: 60.0)
        self.asked: list[int] = []
        self._answers = {int(name[1:]): list(outcomes) for name, outcomes in answers.items()}
        for number in self._answers:
            self.check.answered(number, self.seconds)
        self.seconds += 10.0

    async def read(self, number: int) -> Outcome | None:
        asked = self.seconds
        self.asked.append(number)
        await asyncio.sleep(0)
        answers = self._answers[number]
        outcome = answers.pop(0) if len(answers) > 1 else answers[0]
        if type(outcome) is Answer:
            self.check.answered(number, asked)
        self.seconds += 1.0
        return outcome

    async def ask(self, about: int = 7) -> ControlCheckResult:
        return await self.check.ask(about, self.read)


@pytest.mark.parametrize(
    ("why", "gateway", "verdict", "asked"),
    [
        ("the one answered last is asked first", Gateway(m1=[GONE], m2=[GOOD]), ControlCheckResult.ANSWERED, [2]),
        (
            "then the one before it, and the first once more",
            Gateway(m1=[GOOD], m2=[GONE]),
            ControlCheckResult.ANSWERED,
            [2, 1, 2],
        ),
        ("all are refused", Gateway(m1=[GONE], m2=[BAD], m3=[BAD]), ControlCheckResult.REFUSED, [3, 2, 1]),
        ("the message itself proves nothing", Gateway(m1=[GONE], m7=[GOOD]), ControlCheckResult.REFUSED, [1]),
        ("nobody else", Gateway(m7=[GOOD]), ControlCheckResult.ALONE, []),
        ("nobody at all", Gateway(), ControlCheckResult.ALONE, []),
        ("trouble decides nothing", Gateway(m1=[GOOD], m2=[TROUBLE]), ControlCheckResult.UNDECIDED, [2]),
        ("nor does a hold", Gateway(m1=[GOOD], m2=[None]), ControlCheckResult.UNDECIDED, [2]),
        ("it contradicts itself", Gateway(m1=[GOOD], m2=[GONE, GOOD]), ControlCheckResult.UNDECIDED, [2, 1, 2]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_the_others_say(why: str, gateway: Gateway, verdict: ControlCheckResult, asked: list[int]) -> None:
    assert await gateway.ask() is verdict, why
    assert gateway.asked == asked


async def test_a_contradiction_is_remembered_with_its_time() -> None:
    gateway = Gateway(m1=[GOOD], m2=[GONE, GOOD])
    await gateway.ask()
    assert gateway.check.taken_back_at == gateway.seconds
    assert gateway.check.suspect
    gateway.seconds += 60.0
    assert not gateway.check.suspect


async def test_what_is_gone_from_the_gateway_is_not_asked_again() -> None:
    gateway = Gateway(m1=[GOOD], m2=[GONE], m3=[GONE])
    await gateway.ask()
    assert gateway.check.known() == [1]


async def test_only_answers_to_later_requests_count_and_one_serves_all_who_wait() -> None:
    gateway = Gateway(m1=[GOOD])
    assert [await gateway.ask(), await gateway.ask()] == [ControlCheckResult.ANSWERED] * 2
    assert gateway.asked == [1, 1]
    found = await asyncio.gather(*(gateway.ask(about) for about in range(10, 30)))
    assert found == [ControlCheckResult.ANSWERED] * 20
    assert gateway.asked == [1, 1, 1]


async def test_an_answer_met_in_polling_is_as_good() -> None:
    gateway = Gateway(m1=[GONE], m2=[GONE])
    asked = asyncio.create_task(gateway.ask())
    await asyncio.sleep(0)
    gateway.check.answered(8, gateway.seconds)
    assert await asked is ControlCheckResult.ANSWERED


def test_refusals_in_a_row_are_counted_up_to_an_answer() -> None:
    check = Gateway().check
    assert [check.refused() for _ in range(REFUSALS_BEFORE_CHECK)] == [False] * (REFUSALS_BEFORE_CHECK - 1) + [True]
    check.answered(1, 0.0)
    assert not check.refused()


def test_the_last_ones_are_kept_over_a_restart() -> None:
    first, second = Gateway().check, Gateway().check
    for number in (1, 2, 3, 1, *range(4, 4 + KEPT - 1)):
        first.answered(number, 0.0)
    assert first.known() == [*range(2 + KEPT, 3, -1), 1]
    second.load(first.dump())
    assert second.known() == first.known()
    assert first.dump() is None, "nothing new is not written"


@pytest.mark.parametrize("data", [None, b"", b"nonsense", b'{"a": 1}', b"[1.5]"])
def test_damaged_memory_is_no_memory(data: bytes | None) -> None:
    check = Gateway().check
    check.load(data)
    assert check.known() == []
