"""The gateway client over TLS: authorities of one's own, and certificates that are refused."""

from __future__ import annotations

import random
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from pollerd.config import ConfigError
from pollerd.core.model import Answer
from pollerd.gateway.transport import trust
from tests.certificates_kit import FLAWS, REFUSED, flawed
from tests.integration.connections_kit import pem, tls_server, trouble
from tests.integration.gateway_kit import (
    GOOD,
    ID,
    Clock,
    account,
    client,
    gateway_client,
    raw_server,
    response,
)

pytestmark = pytest.mark.usefixtures("no_proxy_around")


async def test_a_private_authority_named_in_ca_file(authority: trustme.CA, tmp_path: Path) -> None:
    async with tls_server(authority.issue_cert("localhost")) as server:
        url = server.url("https", "localhost")
        async with client(account(url, ca_file=pem(authority, tmp_path))) as gateway:
            assert isinstance(await gateway.read(ID), Answer)


async def test_a_private_authority_from_the_environment(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(pem(authority, tmp_path)))
    certificate = authority.issue_cert("localhost")
    async with tls_server(certificate) as server, client(server.url("https", "localhost")) as gateway:
        assert isinstance(await gateway.read(ID), Answer)


@pytest.mark.parametrize(
    ("why", "says"),
    [
        ("expired", "expired"),
        ("unknown authority", "ca_file"),
        ("other host", "another host name"),
    ],
)
async def test_certificates_that_are_refused(why: str, says: str, authority: trustme.CA, tmp_path: Path) -> None:
    ended = datetime.now(UTC) - timedelta(days=1) if why == "expired" else None
    ca_file = pem(trustme.CA() if why == "unknown authority" else authority, tmp_path)
    name = "elsewhere.example" if why == "other host" else "localhost"
    async with tls_server(authority.issue_cert(name, not_after=ended)) as server:
        async with client(account(server.url("https", "localhost"), ca_file=ca_file)) as gateway:
            outcome = trouble(await gateway.read(ID))
        assert outcome.kind == "tls", why
        assert says in outcome.detail
        assert server.heads == [], "no credentials are sent to a stranger"


@pytest.mark.parametrize("flaw", FLAWS)
async def test_an_authority_whose_certificate_was_made_wrong_is_explained(flaw: str, tmp_path: Path) -> None:
    ca_file, context = flawed(flaw, tmp_path)
    async with (
        raw_server(GOOD, tls=context) as server,
        client(account(server.url("https", "localhost"), ca_file=ca_file)) as gateway,
    ):
        outcome = await gateway.read(ID)
    if REFUSED:
        assert trouble(outcome).kind == "tls"
        assert f"have it issued again with {flaw} = " in trouble(outcome).detail
    else:
        assert isinstance(outcome, Answer)


async def test_nothing_older_than_tls_1_2(authority: trustme.CA, tmp_path: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with raw_server(GOOD, tls=context) as server:
        url = server.url("https", "localhost")
        configured = account(url, ca_file=pem(authority, tmp_path))
        async with client(configured) as gateway:
            assert trouble(await gateway.read(ID)).kind in ("tls", "reset")
        assert server.heads == []
    assert trust(configured).minimum_version is ssl.TLSVersion.TLSv1_2


async def test_plain_http_where_tls_was_expected() -> None:
    async with raw_server(response(b"hello")) as server, client(server.url("https", "localhost")) as gateway:
        assert trouble(await gateway.read(ID)).kind in ("tls", "reset", "timeout")


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_ca_file_that_is_none_is_a_configuration_error(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"accounts\.default\.ca_file"):
        gateway_client(account("https://gatewayapi.com", ca_file=file), Clock(), random.Random(1))
