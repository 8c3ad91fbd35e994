"""What the tests of the gateway client's connections share."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trustme

from pollerd.core.model import HoldReason, Outcome, Trouble
from tests.integration.gateway_kit import (
    GOOD,
    Handler,
    RawServer,
    raw_server,
)


def trouble(outcome: Outcome) -> Trouble:
    assert isinstance(outcome, Trouble), outcome
    assert outcome.reason is HoldReason.UNREACHABLE
    return outcome


@asynccontextmanager
async def tls_server(
    certificate: trustme.LeafCert, most: ssl.TLSVersion | None = None, handler: Handler | bytes = GOOD
) -> AsyncIterator[RawServer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    if most is not None:
        context.maximum_version = most
    async with raw_server(handler, tls=context) as server:
        yield server


def pem(authority: trustme.CA, folder: Path) -> Path:
    file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return file
