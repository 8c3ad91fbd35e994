"""A gateway that is not ours: each message has its answers as raw bytes, one a poll, the last one repeated."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Answers = Mapping[int, Sequence[bytes]]
"""Answers by message id."""


class ForeignGateway:
    """What it answers, and how often it was asked about each message."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.polls: Counter[int] = Counter()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        number = int(request.match_info["id"])
        answers = self._answers[number]
        body = answers[min(self.polls[number], len(answers) - 1)]
        self.polls[number] += 1
        return web.Response(body=body, content_type="application/json")


@asynccontextmanager
async def foreign_gateway(answers: Answers) -> AsyncIterator[ForeignGateway]:
    """Serve until the block ends."""
    gateway = ForeignGateway(answers)
    app = web.Application()
    app.router.add_get("/rest/mtsms/{id}", gateway.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    gateway.url = site.name
    try:
        yield gateway
    finally:
        await runner.cleanup()


def recipient(number: object, status: object, **more: Any) -> dict[str, Any]:
    """A recipient as the gateway writes it; `more` replaces fields."""
    return {
        "msisdn": number,
        "country": "DK",
        "csms": 1,
        "dsnstatus": status,
        "dsntime": 1764000042.25,
        "dsnerror": None,
        "dsnerrorcode": None,
        "mcc": 238,
        "mnc": 1,
        "senttime": 1764000040.5,
        "tagvalues": [],
        **more,
    }


def answer(message_id: object, *recipients: object, **more: Any) -> bytes:
    """An answer with NaN and whatever else Python's writer lets through."""
    return json.dumps([{"id": message_id, "message": "not to be told", "recipients": recipients, **more}]).encode()
