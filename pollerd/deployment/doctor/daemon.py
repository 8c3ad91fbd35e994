"""The running daemon: who it is, and how it says it is."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector

from pollerd.base.bounded import in_thread
from pollerd.base.errors import PollerdError
from pollerd.base.service import start_command
from pollerd.base.text import duration
from pollerd.config import AccountConfig, Config, ConfigError
from pollerd.config.secret import RESTART, proof
from pollerd.core import phrases
from pollerd.deployment.doctor.check import Check, failure, ok, warning
from pollerd.status import sentences
from pollerd.store.engine import engine_of

NAME: Final = "daemon"
TIMEOUT: Final = 5.0  # Seconds for one question to the daemon: it answers at once unless it hangs.
TAKEN_UP: Final = 3.0
"""Seconds after which the daemon has noticed a file that was replaced just now: it checks every 2 s."""
_ALLOW: Final = "run the doctor with sudo, or as a member of the socket's group"
_SEE: Final = "see: pollerd status, and its log (journalctl -u pollerd -n 50)"


async def checks(config: Config) -> list[Check]:
    """Whether one runs on the configured database, its health, and what it complains about."""
    try:
        pid = await in_thread(engine_of(config.store).owner, TIMEOUT)
    except (PollerdError, TimeoutError) as error:
        return [failure(NAME, str(error) or "the database's lock cannot be read", "run the doctor as root")]
    if pid is None:
        return [warning(NAME, f"no daemon runs with {config.store.where}", f"start it: {start_command()}")]
    who = f"process {pid}" if pid else "a process"
    socket = config.control.socket
    if socket is None:
        return [ok(NAME, f"{who} runs; no control socket to ask")]
    try:
        status, health = await _get(socket, "/healthz")
        _, document = await _get(socket, "/status")
    except (ClientError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "no answer in time"
        if _forbidden(error):
            return [warning(NAME, f"{who} runs, but this user may not ask it at {socket}: {reason}", _ALLOW)]
        return [warning(NAME, f"{who} runs, but {socket} does not answer: {reason}", _SEE)]
    if status != 200:
        return [failure(NAME, f"{who} is not healthy: {unhealthy(status, health)}", _SEE)]
    uptime = document.get("uptime")
    since = f" for {duration(uptime)}" if isinstance(uptime, int | float) else ""
    found = [ok(NAME, f"{who} runs{since} and is healthy"), *_complaints(document)]
    for account in config.accounts.values():
        found += await _secret(account, socket, who)
    return found


async def _secret(account: AccountConfig, socket: Path, who: str) -> list[Check]:
    """Whether the daemon uses the very secret that is read here, and that the gateway is tried with."""
    source = account.auth.source
    for wait in (0.0, *((TAKEN_UP,) if source.watched else ())):
        await asyncio.sleep(wait)
        try:
            secret = (await in_thread(source.read, TIMEOUT)).reveal()
        except (ConfigError, TimeoutError):
            # Said as a problem of the configuration already.
            return []
        nonce = os.urandom(16)
        given = urlencode({"nonce": nonce.hex(), "proof": proof(secret, nonce)})
        try:
            status, answer = await _get(socket, f"/accounts/{quote(account.name, safe='')}/secret?{given}", "POST")
        except (ClientError, OSError):
            return []
        if status != 200 or answer.get("same") is not False:
            return []
    word = source.kind.word
    facts = f"{who} uses another {word} than the one that is tried here: that was changed after the daemon had read it"
    return [failure(f"{account.name}: {word} in use", facts, RESTART)]


def unhealthy(status: int, answer: dict[str, Any]) -> str:
    """What `GET /healthz` says is wrong, in words."""
    refusal = answer.get("error")
    said = refusal.get("message") if isinstance(refusal, dict) else refusal
    return str(said or f"healthz answers {status}").rstrip(".")


def _forbidden(error: ClientError | OSError) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM)


async def _get(socket: Path, path: str, method: str = "GET") -> tuple[int, dict[str, Any]]:
    connector = UnixConnector(path=str(socket))
    async with (
        asyncio.timeout(TIMEOUT),
        ClientSession(connector=connector, timeout=ClientTimeout(total=TIMEOUT)) as session,
        session.request(method, f"http://localhost{path}") as response,
    ):
        body = await response.read()
        try:
            found = msgspec.json.decode(body)
        except msgspec.DecodeError:
            found = {}
        return response.status, found if isinstance(found, dict) else {}


def _complaints(document: dict[str, Any]) -> list[Check]:
    """What `GET /status` says is wrong; fields that are not there say nothing."""
    found = []
    for account in _dicts(document, "accounts"):
        hold, name = account.get("hold"), str(account.get("name"))
        if isinstance(hold, dict):
            reason = str(hold.get("reason"))
            facts = f"polling is on hold since {hold.get('since')}: {phrases.hold(reason, hold.get('detail'))}"
            until = f"; tried again at {hold['until']}" if hold.get("until") else ""
            facts = facts.rstrip(".")
            step = phrases.hold_step(reason, name, str(account.get("renewal", "")))
            found.append(warning(f"{name}: polling", facts + until, step or _SEE))
        elif account.get("connections_kept") is False:
            facts = (
                f"{sentences.FORGETFUL}; {account.get('repeated_requests')} requests were made again since the start"
            )
            found.append(warning(f"{account.get('name')}: polling", facts, sentences.FORGETFUL_ADVICE))
        for source in _dicts(account, "source_addresses"):
            if source.get("trouble"):
                facts = f"the daemon does not use {source.get('address')}: {source['trouble']}"
                found.append(warning(f"{account.get('name')}: source address", facts, sentences.SOURCES_ADVICE))
        if isinstance(number := account.get("unknown"), int) and number:
            said, name = sentences.unknown(number), f"{account.get('name')}: ids"
            many = said.tone == "warn"
            found.append(warning(name, said.text, sentences.UNKNOWN_ADVICE) if many else ok(name, said.text))
    for output in _dicts(document, "outputs"):
        if output.get("trouble"):
            since = f" since {output['behind_since']}" if output.get("behind_since") else ""
            facts = f"{output.get('lag')} events behind{since}: {output['trouble']}".rstrip(".")
            found.append(failure(f"output {output.get('name')}", facts, _SEE))
    return found


def _dicts(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = document.get(key)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
