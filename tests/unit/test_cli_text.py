"""Words for people, and nothing that steers a terminal."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollerd.base import text
from pollerd.core.model import Recipient
from pollerd.gateway.gatewayapi import errorcodes
from pollerd.status.message import failure_advice


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 ms"),
        (0.0004, "0 ms"),
        (0.35, "350 ms"),
        (1, "1 s"),
        (2.34, "2.3 s"),
        (12.4, "12 s"),
        (59.9, "1 min"),
        (245, "4 min 5 s"),
        (3600, "1 h"),
        (3599.9, "1 h"),
        (90061, "1 d 1 h"),
        (86405, "1 d"),
    ],
)
def test_durations_read_well(seconds: float, words: str) -> None:
    assert text.duration(seconds) == words


@pytest.mark.parametrize(
    "character", ["\x1b", "\x07", "\n", "\r", "\x7f", "\x9b", "\u202e", "\u2066", "\u200f", "\ufeff"]
)
def test_characters_that_steer_a_terminal_become_visible(character: str) -> None:
    assert text.printable(f"a{character}b").isprintable()
    assert "a" in text.printable(f"a{character}b")


@given(st.text())
def test_harmless_json_means_the_same(value: str) -> None:
    encoded = msgspec.json.encode({"text": value})
    made = text.harmless(encoded)
    assert json.loads(made) == {"text": value}
    assert text.printable(made.decode()) == made.decode()


def test_sizes_and_counts() -> None:
    assert [text.size(n) for n in (5, 2048, 3 << 20, 5 << 40)] == ["5 bytes", "2.0 KiB", "3.0 MiB", "5120.0 GiB"]
    assert text.counted(1, "event") == "1 event"
    assert text.counted(1234, "event") == "1,234 events"


@pytest.mark.parametrize(
    ("code", "word"), [("0x1010", "unknown subscriber"), ("4112", "unknown subscriber"), ("0x102a", "memory")]
)
def test_error_codes_have_words(code: str, word: str) -> None:
    assert word in (errorcodes.words(code) or "")


def test_every_known_error_code_has_words_that_fit_a_line_and_advice_in_whole_sentences() -> None:
    assert len(errorcodes.DELIVERY) == 109
    for meaning in (*errorcodes.DELIVERY.values(), *errorcodes.REFUSALS.values()):
        assert 0 < len(meaning.words) <= 80
        assert meaning.advice is None or meaning.advice.endswith(".")


def test_a_code_that_is_not_listed_is_named_by_its_last_digits() -> None:
    assert errorcodes.words("0x1207") == "permission denied"
    assert errorcodes.words("0x1000") is None


@pytest.mark.parametrize("code", [None, "0x9999", "x", ""])
def test_an_unknown_code_has_none(code: str | None) -> None:
    assert errorcodes.words(code) is None


@pytest.mark.parametrize(("status", "advised"), [("UNDELIVERABLE", True), ("ENROUTE", False), ("DELIVERED", False)])
def test_only_what_failed_is_advised_to_be_sent_again(status: str, advised: bool) -> None:
    recipient = Recipient(msisdn=4587654321, status=status, code="0x1013")
    assert (failure_advice(recipient) is not None) == advised
