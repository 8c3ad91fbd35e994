"""Sentences about the daemon: what stands still, what is late and why, when it is over, and what to do."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, NamedTuple

from pollerd.base import text as words
from pollerd.base.service import start_command
from pollerd.base.text import ago, brief, counted, duration
from pollerd.core import phrases
from pollerd.core.lease import WATCH
from pollerd.core.model import HoldReason
from pollerd.gateway.gatewayapi import errorcodes
from pollerd.status.document import (
    AccountDocument,
    AgeDocument,
    CountryDocument,
    MessageCounts,
    OutputDocument,
    StatusDocument,
)
from pollerd.status.forecast import Forecast

Tone = Literal["good", "plain", "warn", "bad"]
_FAR: Final = 30 * 86400.0
"""Seconds from which the minute does not matter."""
MANY_UNKNOWN: Final = 10
"""Unknown ids of one account from which they are hardly a few scheduled messages: a warning."""
UNKNOWN_ADVICE: Final = (
    "find out whose they are; stop following the wrong ones with pollerd untrack, give scheduled ones their --sendtime"
)
CAP: Final = 100_000
"""Counts of the database stop here."""

FORGETFUL: Final = "polling, each request on a connection of its own: the other side forgets those that are kept"
FORGETFUL_ADVICE: Final = (
    "check for a proxy, firewall or balancer in between that ends unused connections within seconds; nothing is lost"
)


SOURCES_ADVICE: Final = (
    "give the address to an interface, let firewall and gateway accept it, or take it out of source_addresses; it is "
    "used again by itself"
)
INCOMING_ADVICE: Final = "ask GatewayAPI whether this account may use GET /rest/mosms"


class Sentence(NamedTuple):
    """A sentence and how it is meant."""

    text: str
    tone: Tone = "plain"


def at(text: str | None) -> float | None:
    """An instant of a document as UNIX seconds."""
    return None if not text else datetime.fromisoformat(text).timestamp()


def clock(when: float, now: float) -> str:
    """An instant by the wall clock with its offset, with the day when it is another one."""
    day, moment = words.clock(when).split()
    short = moment[:5] + moment[8:]
    return short if day == words.clock(now).split()[0] else f"{day} {short}"


def hold(account: AccountDocument, now: float) -> Sentence | None:
    """Why an account is not polled, since when, until when; or what makes polling dearer than it should be."""
    held = account.hold
    if held is None:
        if account.state == "unconfigured":
            return Sentence("not in the configuration: its messages wait", "bad")
        if (missing := _left_out(account)) is not None:
            return missing
        return None if account.connections_kept else Sentence(FORGETFUL, "warn")
    since, until = at(held.since), at(held.until)
    text = phrases.hold(held.reason, held.detail)
    if since is not None:
        text += f", for {duration(max(0.0, now - since))}"
    if until is not None:
        text += f", tried again {ago(until, now)}" if until > now else ", tried again now"
    return Sentence(f"on hold: {text}", "bad")


def _left_out(account: AccountDocument) -> Sentence | None:
    """Which source addresses are not used, and why."""
    idle = [f"{source.address} ({source.trouble})" for source in account.source_addresses if source.trouble]
    if not idle:
        return None
    used = len(account.source_addresses) - len(idle)
    return Sentence(
        f"polling from {used} of {len(account.source_addresses)} source addresses, not from {', '.join(idle)}", "warn"
    )


def polling(account: AccountDocument, document: StatusDocument) -> Sentence:
    """Whether an account is polled, and what is in the way."""
    if (held := hold(account, document.now)) is not None:
        return held
    if not document.daemon.running:
        return Sentence("stopped", "bad")
    if _slowed(account):
        return Sentence(f"slowed down to {account.rate:.1f} of {account.rate_limit:g} a second", "warn")
    if _denied(account):
        return Sentence("polling; incoming messages may not be read", "warn")
    if account.source_addresses:
        return Sentence(f"polling from {', '.join(source.address for source in account.source_addresses)}", "good")
    return Sentence("polling", "good")


def _denied(account: AccountDocument) -> bool:
    return account.incoming is not None and account.incoming.state == "denied"


def _slowed(account: AccountDocument) -> bool:
    return account.rate < account.rate_limit * 0.99


def credit(account: AccountDocument) -> str:
    """The account's balance; empty where it is not known."""
    return "" if account.credit is None else f"{account.credit:,.2f} {account.currency or ''}".strip()


class CountryFigures(NamedTuple):
    """What became of a country's recipients: how many `ended`, the share `delivered`, the time of delivery as `median`
    and `p95`, and the `others` by state; empty where nothing is known.
    """

    ended: str
    delivered: str
    median: str
    p95: str
    others: str


def figures(country: CountryDocument) -> CountryFigures:
    """The figures of a country as they are shown."""
    ended = sum(country.states.values())
    return CountryFigures(
        ended=f"{ended:,}",
        delivered=f"{country.states.get('DELIVERED', 0) / ended:.1%}" if ended else "",
        median="" if country.median is None else duration(country.median),
        p95="" if country.p95 is None else duration(country.p95),
        others=", ".join(f"{count:,} {state}" for state, count in country.states.items() if state != "DELIVERED"),
    )


def advice(account: AccountDocument) -> str | None:
    """What to do about it."""
    if account.hold is not None:
        refusal = errorcodes.of_refusal(account.hold.detail)
        if account.hold.reason == HoldReason.FORBIDDEN and refusal is not None and refusal.advice:
            # The gateway says which of the reasons for a 403 it is.
            return f"{refusal.advice} Then polling goes on by itself. See pollerd doctor"
        return phrases.hold_advice(account.hold.reason, account.name, account.renewal)
    if _left_out(account) is not None:
        return SOURCES_ADVICE
    if not account.connections_kept:
        return FORGETFUL_ADVICE
    if _denied(account):
        return f"{INCOMING_ADVICE}, or take [accounts.{account.name}.incoming] out of the configuration"
    if account.state == "unconfigured":
        return (
            f"add [accounts.{account.name}] to the configuration, or stop following its messages with pollerd untrack"
        )
    return None


def outlook(found: Forecast, now: float) -> Sentence:
    """The forecast as a sentence."""
    share = found.demand / found.rate if found.rate > 0 else 0.0
    match found.kind:
        case "stopped":
            return Sentence(f"no daemon works on it: start it with {start_command()}", "bad")
        case "held":
            after = ""
            if found.backlog and found.drained_in is not None:
                after = f"; the backlog of {count(found.backlog)} is gone {_rough(found.drained_in)} after it"
            return Sentence(f"nothing moves until the hold is over{after}", "bad")
        case "overload":
            late = "" if found.delay is None else f" or expect {_rough(found.delay)} delay in an hour"
            return Sentence(
                f"more arrives than the limit lets through ({found.demand:.1f} polls/s wanted, {found.rate:g} allowed):"
                f" raise it to {found.needed_rate:g}/s{late}",
                "bad",
            )
        case "drains":
            drained = found.drained_in or 0.0
            gone = f"at {clock(now + drained, now)}" if drained < _FAR else f"in {_rough(drained)}"
            return Sentence(f"at this rate the backlog of {count(found.backlog)} is gone {gone}", "warn")
        case "keeps_up" if share >= 1.0:
            return Sentence("keeps up: a burst arrived, and nothing waits", "good")
        case "keeps_up":
            return Sentence(f"keeps up: what arrives asks for {share:.0%} of the limit", "good")
        case _:
            return Sentence("nothing to do", "good")


def unknown(number: int) -> Sentence:
    """What so many messages may be that were never seen and are past their grace."""
    are = "id is" if number == 1 else "ids are"
    text = f"{count(number)} {are} unknown to this account: another account, the other region, or scheduled?"
    return Sentence(text, "warn" if number >= MANY_UNKNOWN else "plain")


def set_aside(messages: MessageCounts) -> str:
    """How many messages are not polled since their rows cannot be used, and the first of them; empty when none is."""
    if not messages.set_aside:
        return ""
    are = "message is" if messages.set_aside == 1 else "messages are"
    more = ", and more: pollerd list --state set_aside" if messages.set_aside > len(messages.set_aside_first) else ""
    return f"{count(messages.set_aside)} {are} set aside and not polled: {'; '.join(messages.set_aside_first)}{more}"


def late(document: StatusDocument) -> list[Sentence]:
    """What is late by a minute or more, and why."""
    found: list[Sentence] = []
    if document.problem:
        found.append(Sentence(document.problem, "bad"))
    if text := set_aside(document.messages):
        advice = "correct the time that cannot be one with UPDATE messages, or take it up again: pollerd retry ID"
        found.append(Sentence(f"{text}; {advice}", "bad"))
    for account in document.accounts:
        if not account.late:
            continue
        polls = f"{count(account.late)} {'poll' if account.late == 1 else 'polls'}"
        found.append(Sentence(f"{account.name}: {polls} late, {_why(account, document)}", "warn"))
    for account in document.accounts:
        if account.unknown:
            ids = unknown(account.unknown)
            found.append(Sentence(f"{account.name}: {ids.text}", ids.tone))
    if overdue := document.messages.overdue:
        are = "message is" if overdue == 1 else "messages are"
        text = f"{count(overdue)} {are} overdue, without a final state in time: see pollerd list --state overdue"
        found.append(Sentence(text, "warn"))
    if document.backoff.stalled:
        names = ", ".join(document.backoff.stalled[:5])
        found.append(
            Sentence(f"deliveries seem to stand still at {names}: old messages are polled half as often", "warn")
        )
    return found


def _why(account: AccountDocument, document: StatusDocument) -> str:
    if not document.daemon.running:
        return "no daemon runs"
    if account.state == "unconfigured":
        return "its account is not in the configuration"
    if account.hold is not None:
        return f"the account is on hold ({phrases.label(account.hold.reason)})"
    if document.database.trouble:
        return "the database cannot be written"
    if account.forecast is None:
        return "the daemon does not say why: its control socket cannot be reached"
    if _slowed(account):
        return f"slowed down after a hold: {account.rate:.1f} of {account.rate_limit:g} requests/s"
    if account.asking >= account.connections:
        return f"all {account.connections} connections are in use: answers are slow, or max_connections is too low"
    return f"the limit of {account.rate_limit:g} requests/s binds"


def _rough(seconds: float) -> str:
    return brief(seconds) if seconds >= 60 else duration(seconds)


def count(number: int) -> str:
    """A count of the database, which stops at `CAP`."""
    return f"at least {CAP:,}" if number >= CAP else f"{number:,}"


def polls_a_message(document: StatusDocument) -> float | None:
    """Polls for each message that has a due time or had one; None when there is none."""
    counts = document.messages
    planned = counts.finished + counts.gave_up + counts.pending - counts.new
    return document.polls.total / planned if planned else None


def pending(counts: MessageCounts) -> str:
    """How many messages are pending, those without a due time yet included."""
    total = f"{counts.pending:,}"
    return f"at least {total}" if counts.new >= CAP else total


def delivered(output: OutputDocument, now: float) -> Sentence:
    """How far an output has delivered the events. What it keeps for another attempt counts only once it is taken."""
    parts: list[str] = []
    if output.lag:
        since = at(output.behind_since)
        waited = "" if since is None else f", for {duration(max(0.0, now - since))}"
        parts.append(f"{counted(output.lag, 'event')} behind{waited}")
    done, again = ("delivered", "post again with pollerd retry --webhook")
    if output.name != "webhook":
        done, again = ("written", "see pollerd events --undelivered, write again with pollerd retry --undelivered")
    if output.waiting:
        parts.append(f"{count(output.waiting)} {'waits' if output.waiting == 1 else 'wait'} to be {done}")
    if output.parked:
        parts.append(f"{count(output.parked)} parked, no attempt is left: {again}")
    if not parts:
        return Sentence("all events delivered", "good")
    return Sentence("; ".join(parts), "bad" if output.parked else "warn")


def age(group: AgeDocument, before: float | None) -> str:
    """An age group: `to 5 min`, `over 3 d`."""
    if group.up_to is not None:
        return f"to {brief(group.up_to)}"
    return f"over {brief(before or 0.0)}"


def age_names(ages: list[AgeDocument]) -> list[str]:
    """The names of all groups."""
    before = [None, *(group.up_to for group in ages)]
    return [age(group, last) for group, last in zip(ages, before, strict=False)]


def members(document: StatusDocument) -> list[Sentence]:
    """The daemons that share the store, a sentence each, and how the one that polls came by it; of one alone only why
    it may not poll, and what the last failover of PostgreSQL may have lost.
    """
    cluster = document.cluster
    if cluster is None:
        return []
    found = [Sentence(cluster.unfit, "bad")] if cluster.unfit else []
    if cluster.jumped and (jumped_at := at(cluster.jumped_at)) is not None:
        found.append(Sentence(f"{cluster.jumped} ({ago(jumped_at, document.now)})", "warn"))
    if len(cluster.members) + cluster.takeovers < 2:
        return found
    for member in cluster.members:
        silent = member.renewed_ago > WATCH
        does = "polls" if member.active else "stands by"
        last = f", its lease was renewed last {duration(member.renewed_ago)} ago" if silent else ""
        text = f"{member.name} {does} (process {member.pid} on {member.host}, pollerd {member.version}){last}"
        found.append(Sentence(text, "warn" if silent else "good" if member.active else "plain"))
    if cluster.took_over and (since := at(cluster.active_since)) is not None:
        found.append(Sentence(f"{cluster.took_over} ({ago(since, document.now)})"))
    return found


def headline(document: StatusDocument) -> Sentence:
    """The state of the daemon in one sentence."""
    if not document.daemon.running:
        return Sentence(f"The daemon does not run (start it with: {start_command()})", "bad")
    process = f" (process {document.pid})" if document.pid else ""
    held = [account for account in document.accounts if account.state == "held"]
    cluster = document.cluster
    if cluster is not None and cluster.name is not None and cluster.active != cluster.name and not document.problem:
        polls = f"{cluster.active} polls" if cluster.active else "nobody polls at this moment"
        return Sentence(
            f"The daemon stands by as {cluster.name}{process}: {polls}", "good" if cluster.active else "warn"
        )
    if document.problem:
        return Sentence(f"The daemon runs{process}, but something stands still", "bad")
    if held:
        return Sentence(f"The daemon runs{process}, {counted(len(held), 'account')} on hold", "warn")
    return Sentence(f"The daemon runs{process}", "good")
