"""A check of the doctor that ends in a way nobody thought of: said as a failure, and the others still speak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pollerd.deployment.doctor import configuration, daemon, limits, runner
from pollerd.deployment.doctor.check import Level
from pollerd.deployment.doctor.runner import examine
from tests.integration.control_kit import write_config

SECRET = "Tok3n-that-nobody-may-see"


def broken(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError(f"with {SECRET} in its text")


async def broken_later(*_: Any, **__: Any) -> Any:
    broken()


@pytest.mark.parametrize(
    ("part", "function", "name", "breaks"),
    [
        (limits, "checks", "connections", broken),
        (daemon, "checks", "daemon", broken_later),
        (runner, "account_checks", "default: gateway", broken_later),
        (configuration, "checks", "configuration", broken),
        (configuration, "inspect", "configuration", broken),
    ],
)
async def test_the_others_still_speak(
    part: Any, function: str, name: str, breaks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, function, breaks)
    report = await examine(write_config(tmp_path, "http://127.0.0.1:9"), {}, tmp_path)
    (found,) = [check for check in report.checks if check.name == name]
    assert found.level is Level.FAILURE
    assert "ZeroDivisionError in test_doctor_defect.py" in found.evidence
    assert "report" in found.next_step
    assert SECRET not in str(report)
    assert report.exit_code == 1
    assert name == "configuration" or len(report.checks) > 5
