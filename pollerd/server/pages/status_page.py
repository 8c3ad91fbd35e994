"""The status document as a page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pollerd.base.text import ago, clock, counted, duration, size, zone
from pollerd.server.pages import charts
from pollerd.server.pages.html import Html, Part, table, tag
from pollerd.status import sentences
from pollerd.status.document import AccountDocument, CountryDocument, DeliveryDocument, OutputDocument, StatusDocument
from pollerd.status.sentences import Sentence

KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "DELIVERED": "good",
        "ACCEPTED": "good",
        "READ": "good",
        "EXPIRED": "warn",
        "SKIPPED": "warn",
        "DELETED": "warn",
        "UNDELIVERABLE": "bad",
        "REJECTED": "bad",
    }
)
_COUNTRIES: Final = 30  # Rows.
_LOG: Final = 10  # Rows.
_HOURS: Final = 24
"""Countries, warnings and hours shown at most."""


def content(document: StatusDocument) -> Html:
    """Everything on the page below its head."""
    members = [sentence_tag(sentence) for sentence in sentences.members(document)]
    late = [sentence_tag(sentence) for sentence in sentences.late(document)]
    parts: list[Part] = [
        tag("h1", sentence_tag(sentences.headline(document), "span")),
        tag(
            "p",
            f"for {duration(document.uptime)}, version {document.version}, {document.database.path}, "
            f"{size(document.database.size)}, {counted(document.database.last_seq, 'event')}",
            class_="dim",
        ),
        tag("ul", [tag("li", each) for each in members], class_="members") if members else None,
        tag("ul", [tag("li", each) for each in late], class_="late") if late else None,
        tag("div", _cards(document), class_="cards"),
        tag("div", [_throughput(document), _pending(document)], class_="pair"),
    ]
    if document.delivery is not None and document.delivery.seen:
        parts.append(tag("div", [_states(document.delivery), _hours(document.delivery)], class_="pair"))
        parts.append(_section("Delivery by country", _countries(document.delivery)))
    parts.append(_section("Accounts", _accounts(document)))
    parts.append(_section("Outputs", _outputs(document)))
    if document.log:
        parts.append(_section("Last warnings and errors", _log(document)))
    return tag("div", parts)


def sentence_tag(sentence: Sentence, name: str = "span") -> Html:
    """A sentence; what is meant by its colour is said in its text."""
    return tag(name, sentence.text, class_=sentence.tone)


def _section(title: str, *parts: Part) -> Html:
    return tag("section", tag("h2", title), parts)


def _cards(document: StatusDocument) -> list[Html]:
    counts = document.messages
    oldest = sentences.at(document.oldest_pending_sent_at)
    limit = sum(account.rate for account in document.accounts)
    found = [
        _card(
            "Pending",
            sentences.pending(counts),
            "" if oldest is None else f"the oldest sent {ago(oldest, document.now)}",
        ),
        *([_card("Overdue", sentences.count(counts.overdue), "no final state in time")] if counts.overdue else []),
        _card("Finished", f"{counts.finished:,}", ""),
        _card("Gave up", f"{counts.gave_up:,}", "take up again: pollerd retry --all" if counts.gave_up else ""),
        _card("Polls a second", f"{document.polls.per_second or 0.0:.1f}", f"of {limit:g} allowed"),
    ]
    if (mean := sentences.polls_a_message(document)) is not None:
        found.append(_card("Polls a message", f"{mean:.1f}", f"{document.polls.total:,} in all"))
    known = document.delivery.detection if document.delivery is not None else None
    if known is not None:
        found.append(_card("Final states known after", duration(known.median), f"95 %: {duration(known.p95)}"))
    return found


def _card(label: str, value: str, note: str) -> Html:
    return tag(
        "div",
        tag("p", label, class_="label"),
        tag("p", value, class_="value"),
        tag("p", note, class_="dim"),
        class_="card",
    )


def _throughput(document: StatusDocument) -> Html:
    rates = [step.polls_per_second for step in document.throughput]
    limit = sum(account.rate for account in document.accounts)
    minutes = max(1, round(len(rates) / 4))
    title = f"Polls a second over the last {minutes} min"
    outlooks = [
        tag(
            "p",
            f"{account.name}: " if len(document.accounts) > 1 else None,
            sentence_tag(sentences.outlook(account.forecast, document.now)),
        )
        for account in document.accounts
        if account.forecast is not None
    ]
    if len(rates) < 2:
        return _section("Throughput", outlooks, tag("p", "measured in a moment", class_="dim"))
    progress = f"highest {max(rates):.1f}, now {rates[-1]:.1f}; the dashed line is the limit of {limit:g}"
    return _section(
        "Throughput", outlooks, charts.line(rates, limit, title), tag("p", f"{title}: {progress}", class_="dim")
    )


def _pending(document: StatusDocument) -> Html:
    shown = [
        (name, g.count) for name, g in zip(sentences.age_names(document.ages), document.ages, strict=True) if g.count
    ]
    if not shown:
        return _section("Pending by age", tag("p", "nothing is pending"))
    top = max(count for _, count in shown)
    rows = [(name, charts.bar(count / top, "info"), f"{count:,}") for name, count in shown]
    return _section(
        "Pending by age", table("Pending messages by time since sending", ("age", "", "messages"), rows, numbers=(2,))
    )


def _states(delivery: DeliveryDocument) -> Html:
    rows: list[tuple[Part, ...]] = [("seen at the gateway", charts.bar(1.0, "info"), f"{delivery.seen:,}", "")]
    for state, count in delivery.reached.items():
        share = min(1.0, count / delivery.seen)
        rows.append((badge(state), charts.bar(share, KINDS.get(state, "info")), f"{count:,}", f"{share:.1%}"))
    since = _clock(sentences.at(delivery.since))
    return _section(
        "States reached", table(f"Recipients since {since}", ("state", "", "recipients", "share"), rows, numbers=(2, 3))
    )


def badge(state: str) -> Html:
    """A state with its colour."""
    return tag("span", state, class_=f"badge {KINDS.get(state, 'info')}")


def _hours(delivery: DeliveryDocument) -> Html:
    known = {sentences.at(hour.at): hour.states for hour in delivery.hours}
    latest = max((at for at in known if at is not None), default=0.0)
    slots = [latest - 3600.0 * back for back in range(_HOURS - 1, -1, -1)]
    columns = [known.get(slot, {}) for slot in slots]
    ended = {state: kind for state, kind in KINDS.items() if any(state in counts for counts in columns)}
    title = f"Final states by hour, the last {_HOURS} hours, by the clock of {zone(latest)}"
    rows = [
        (
            time.strftime("%H:00", time.localtime(slot)),
            ", ".join(f"{count:,} {state}" for state, count in counts.items() if state in ended) or "none",
        )
        for slot, counts in zip(slots, columns, strict=True)
        if counts
    ]
    figures = tag("details", tag("summary", "Figures"), table(title, ("hour", "states"), reversed(rows)))
    key = tag("p", [tag("span", badge(state), " ") for state in ended])
    return _section("States over time", charts.stacks(columns, ended, title), key, figures)


def _countries(delivery: DeliveryDocument) -> Html:
    heads = ("country", "ended", "delivered", "median", "95 %", "delivery time", "otherwise")
    rows = [_country(country) for country in delivery.countries[:_COUNTRIES]]
    caption = (
        "Time from sending to delivery: bars up to 2 s, 5 s, 10 s, 20 s, 1 min, 5 min, 30 min, 2 h, 12 h, 1 d, more"
    )
    return table(caption, heads, rows, numbers=(1, 2, 3, 4))


def _country(country: CountryDocument) -> tuple[Part, ...]:
    ended, delivered, median, p95, others = sentences.figures(country)
    times = charts.histogram(country.times, f"{country.country}: {', '.join(map(str, country.times))}")
    return country.country, ended, delivered, median, p95, times, others


def _accounts(document: StatusDocument) -> Html:
    heads = ("account", "polling", "polls/s", "limit", "due", "late", "credit")
    rows = [_account(account, document) for account in document.accounts]
    return table("Accounts at GatewayAPI", heads, rows, numbers=(2, 3, 4, 5, 6))


def _account(account: AccountDocument, document: StatusDocument) -> tuple[Part, ...]:
    todo, credit = account.advice, sentences.credit(account)
    polling = [
        sentence_tag(sentences.polling(account, document)),
        tag("p", f"To do: {todo}", class_="todo") if todo else None,
    ]
    return (
        account.name,
        polling,
        f"{account.polls_per_second_10s:.1f}",
        f"{account.rate:g}",
        sentences.count(account.due),
        tag("span", sentences.count(account.late), class_="warn" if account.late else "plain"),
        tag("span", credit, " (low)" if account.credit_low else None, class_="bad" if account.credit_low else "plain"),
    )


def _outputs(document: StatusDocument) -> Html:
    if not document.outputs:
        return tag("p", "There is no output.")
    rows = [_output(output, document) for output in document.outputs]
    return table("Outputs", ("output", "state", "delivered up to", "readers"), rows, numbers=(2, 3))


def _output(output: OutputDocument, document: StatusDocument) -> tuple[Part, ...]:
    progress = sentences.delivered(output, document.now)
    trouble = tag("p", output.trouble, class_="bad") if output.trouble else None
    readers = "" if output.readers is None else f"{output.readers:,}"
    return output.name, [sentence_tag(progress), trouble], f"{output.seq:,}", readers


def _log(document: StatusDocument) -> Html:
    rows = [
        (
            _clock(sentences.at(record.at)),
            tag("span", record.level, class_="bad" if record.level == "error" else "warn"),
            record.message,
        )
        for record in reversed(document.log[-_LOG:])
    ]
    return table("The newest first", ("at", "level", "message"), rows)


def _clock(when: float | None) -> str:
    return "" if when is None else clock(when)
