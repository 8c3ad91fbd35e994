"""Fates are a pure function of seed, id and number, and resemble life."""

import math
from collections import Counter
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.simulator.fate import (
    ERROR_TEXTS,
    FINAL_STATES,
    FateRules,
    Mix,
    Step,
    fate_of,
    recipients_of,
    uniforms,
)
from pollerd.simulator.networks import OPERATORS, network_code, number_for, operator_of

DAY = 86_400.0
MANY = 4000
REALISTIC = FateRules()


def population(rules: FateRules = REALISTIC, validity: float = 2 * DAY) -> list[tuple[int, tuple[Step, ...]]]:
    """(number, fate) of many messages with one recipient each."""
    numbers = [recipients_of(1, n, 1, 1)[0] for n in range(1, MANY)]
    return [(number, fate_of(1, n, number, validity, rules)) for n, number in enumerate(numbers, 1)]


@given(
    seed=st.integers(0, 2**32),
    message_id=st.integers(1, 2**64 - 1),
    msisdn=st.integers(1, 10**15 - 1),
    validity=st.floats(1, 10 * DAY),
    read=st.sampled_from([0.0, 1.0]),
)
def test_any_fate_is_repeatable_ordered_and_final_at_most_once(
    seed: int, message_id: int, msisdn: int, validity: float, read: float
) -> None:
    rules = FateRules(read=read)
    fate = fate_of(seed, message_id, msisdn, validity, rules)
    assert fate == fate_of(seed, message_id, msisdn, validity, rules)
    times = [step.after for step in fate]
    assert times == sorted(times)
    assert all(math.isfinite(at) and at >= 0 for at in times)
    finals = [index for index, step in enumerate(fate) if step.status in FINAL_STATES]
    assert len(finals) == 1
    assert {step.status for step in fate[finals[0] + 1 :]} <= {"READ"}
    assert fate[finals[0]].after <= validity + 10


@pytest.mark.parametrize(
    ("seed", "message_id", "msisdn", "why"),
    [
        (2, 17, 4520000001, "another seed"),
        (1, 18, 4520000001, "another message"),
        (1, 17, 4520000002, "another recipient"),
    ],
)
def test_each_argument_changes_the_draw(seed: int, message_id: int, msisdn: int, why: str) -> None:
    assert uniforms(seed, "fate", message_id, msisdn) != uniforms(1, "fate", 17, 4520000001), why


def test_every_final_state_occurs_and_only_with_its_own_error_codes() -> None:
    ends = [fate[-1] for _, fate in population()]
    assert {step.status for step in ends} == FINAL_STATES
    for step in ends:
        wants_code = step.status in {"EXPIRED", "UNDELIVERABLE", "REJECTED", "SKIPPED"}
        assert (step.code is not None) == wants_code, step
        assert step.code is None or step.code in ERROR_TEXTS


def test_delivery_takes_seconds_at_the_median_and_hours_in_the_tail() -> None:
    times = [fate[-1].after for _, fate in population() if fate[-1].status == "DELIVERED"]
    assert 5 < median(times) < 9
    assert 0.02 < sum(t > 3600 for t in times) / len(times) < 0.2


def test_networks_differ_in_speed() -> None:
    by_network: dict[tuple[int, int], list[float]] = {}
    for number, fate in population():
        operator = operator_of(number)
        by_network.setdefault((operator.mcc, operator.mnc), []).append(fate[-1].after)
    assert len(by_network) == len(OPERATORS)
    assert median(by_network[404, 10]) > 1.5 * median(by_network[238, 1])


def test_what_never_arrives_expires_with_the_validity() -> None:
    fates = [fate for _, fate in population(FateRules(mix=parse({"never": 1})), validity=600)]
    assert Counter(fate[-1].status for fate in fates) == {"EXPIRED": len(fates)}
    assert all(600 <= fate[-1].after <= 610 for fate in fates)


def test_whatever_takes_longer_than_the_validity_expires() -> None:
    only_delivered = FateRules(mix=parse({"delivered": 1}))
    unlimited = population(only_delivered, validity=1e9)
    for (_, fate), (_, limited) in zip(unlimited, population(only_delivered, validity=8.0), strict=True):
        if fate[-1].after <= 8.0:
            assert limited == fate
        else:
            assert limited[-1].status == "EXPIRED"
            assert 8.0 <= limited[-1].after <= 18.0


def test_stuck_messages_have_no_final_state() -> None:
    fates = [fate for _, fate in population(FateRules(mix=parse({"stuck": 1})))]
    assert {fate[-1].status for fate in fates} == {"ENROUTE"}


def test_tail_shortens_retries_and_switched_off_phones() -> None:
    fates = [fate for _, fate in population(FateRules(mix=parse({"delivered": 1}), tail=0.001))]
    assert max(fate[-1].after for fate in fates) < 600 * 4


def test_read_follows_the_delivery() -> None:
    fates = [fate for _, fate in population(FateRules(mix=parse({"delivered": 1}), read=1.0), validity=1e9)]
    assert {tuple(step.status for step in fate[-2:]) for fate in fates} == {("DELIVERED", "READ")}


def parse(weights: dict[str, float]) -> Mix:
    """A mix of the named fates alone."""
    nothing = dict.fromkeys(
        ("delivered", "never", "undeliverable", "accepted", "rejected", "skipped", "deleted", "stuck"), 0.0
    )
    return Mix(**{**nothing, **weights})


@pytest.mark.parametrize("weights", [{}, {"delivered": -1.0}, {"delivered": 1.0, "never": -0.1}])
def test_a_mix_without_weight_is_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        parse(weights)


@given(st.integers(1, 2**64 - 1), st.integers(1, 30))
def test_recipients_are_different_valid_numbers(message_id: int, count: int) -> None:
    numbers = recipients_of(5, message_id, count, count)
    assert len(set(numbers)) == count
    assert all(len(str(number)) <= 15 for number in numbers)


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_made_up_number_belongs_to_the_country_it_was_made_for(u_country: float, u_number: float) -> None:
    number = number_for(u_country, u_number)
    operator = operator_of(number)
    assert str(number).startswith(str(operator.prefix))
    assert len(str(number)) == len(str(operator.prefix)) + operator.digits


def test_a_number_of_no_known_country_has_a_network_too() -> None:
    assert operator_of(99899).country == "ZZ"


@pytest.mark.parametrize(("text", "code"), [("238/01", (238, 1)), ("238-1", (238, 1)), ("310/260", (310, 260))])
def test_network_codes_are_read(text: str, code: tuple[int, int]) -> None:
    assert network_code(text) == code


@pytest.mark.parametrize("text", ["", "238", "DK/1", "238/"])
def test_other_network_codes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="MCC/MNC"):
        network_code(text)
