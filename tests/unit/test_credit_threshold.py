"""When a balance is low, and when it is well again."""

from __future__ import annotations

import pytest

from pollerd.polling.balance import is_low


@pytest.mark.parametrize(
    ("sentence", "credit", "warn_below", "was_low", "low"),
    [
        ("above the threshold all is well", 100.0, 100.0, False, False),
        ("below it is low", 99.99, 100.0, False, True),
        ("back at the threshold it is still low", 100.0, 100.0, True, True),
        ("just below the margin it is still low", 104.99, 100.0, True, True),
        ("at the margin it is well", 105.0, 100.0, True, False),
        ("a threshold of zero has no margin", 0.0, 0.0, True, False),
        ("an account with overdraft may have a threshold below zero", -51.0, -50.0, False, True),
        ("its margin lies above, too", -48.0, -50.0, True, True),
        ("and can be passed", -47.5, -50.0, True, False),
    ],
)
def test_low(sentence: str, credit: float, warn_below: float, was_low: bool, low: bool) -> None:
    assert is_low(credit, warn_below, was_low=was_low) is low, sentence
