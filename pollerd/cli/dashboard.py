"""The status document, painted for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pollerd.base.text import ago, counted, duration, shortened, size
from pollerd.cli.terminal import screen
from pollerd.status import sentences
from pollerd.status.document import CountryDocument, StatusDocument
from pollerd.status.sentences import Sentence

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_TONES: Final = {"good": "green", "plain": "", "warn": "yellow", "bad": "bold red"}
_MARKS: Final = "▁▂▃▄▅▆▇█"
_LABEL: Final = 10  # Columns.
_BAR: Final = 16  # Columns.
_SHORT_BAR: Final = 9  # Columns.
_SPARK: Final = 30
"""Columns of a label, of a bar, of a bar on a narrow terminal, and of the line of small bars."""
_COUNTRIES: Final = 8
"""Countries shown at most, those with most messages first."""
_WIDE: Final = 98
"""Columns from which there is room for how else messages ended, and for longer bars."""
_LOG: Final = 3
"""Warnings and errors shown, the newest."""


def picture(document: StatusDocument, width: int, height: int | None = None, hint: str = "") -> RenderableType:
    """Everything, for so many columns; with `height`, at most so many lines as far as that can be. `hint` comes first,
    where no terminal is too small for it.
    """
    from rich.console import Group

    first = [screen.plain(hint, "dim")] if hint else []
    parts: list[RenderableType] = [*first, _headline(document), *_lateness(document), screen.plain("")]
    facts = _facts(document)
    parts += [*facts, screen.plain("")]
    groups = _groups(document, _BAR if width >= _WIDE else _SHORT_BAR)
    parts.append(groups)
    tail = [*_accounts(document), *_outputs(document), *_sources(document), *_log(document)]
    used = 4 + len(parts) + _lines(document) + len(tail)
    room = _COUNTRIES if height is None else max(0, min(_COUNTRIES, height - used - 3))
    if (countries := _countries(document, room, wide=width >= _WIDE)) is not None:
        parts += [screen.plain(""), countries]
    return Group(*parts, screen.plain(""), *tail)


def spark(values: Sequence[float], width: int = _SPARK) -> str:
    """The last values as little bars, each as high as its share of the highest."""
    shown = _thinned(values, width)
    top = max(shown, default=0.0)
    if top <= 0:
        return _MARKS[0] * len(shown)
    return "".join(_MARKS[min(len(_MARKS) - 1, int(value / top * len(_MARKS)))] for value in shown)


def _thinned(values: Sequence[float], width: int) -> list[float]:
    """At most `width` values: neighbours averaged."""
    each = -(-len(values) // width) if values else 1
    parts = [values[max(0, end - each) : end] for end in range(len(values), 0, -each)]
    return [sum(part) / len(part) for part in reversed(parts)]


def _headline(document: StatusDocument) -> Text:
    line = _sentence(sentences.headline(document), bold=True)
    if document.uptime:
        line.append_text(screen.plain(f", up for {duration(document.uptime)}", "dim"))
    where = f"{document.database.path}, {size(document.database.size)}, {counted(document.database.last_seq, 'event')}"
    return line.append("\n").append_text(screen.plain(where, "dim"))


def _lateness(document: StatusDocument) -> list[Text]:
    late = [_sentence(sentence, mark="! ") for sentence in sentences.late(document)]
    return [*map(_sentence, sentences.members(document)), *late]


def _sentence(sentence: Sentence, *, bold: bool = False, mark: str = "") -> Text:
    style = _TONES[sentence.tone]
    return screen.plain(mark + shortened(sentence.text, 240), f"bold {style}".strip() if bold else style)


def _fact(label: str, *parts: Text | str) -> Text:
    line = screen.plain(f"{label:<{_LABEL}}", "dim")
    for part in parts:
        line.append_text(screen.plain(part) if isinstance(part, str) else part)
    return line


def _facts(document: StatusDocument) -> list[RenderableType]:
    counts = document.messages
    line = _fact("messages", screen.plain(sentences.pending(counts), "bold cyan"), " pending, ")
    line.append_text(screen.plain(f"{counts.finished:,}", "bold green")).append(" finished, ")
    line.append_text(screen.plain(f"{counts.gave_up:,}", "bold red" if counts.gave_up else "bold")).append(" gave up")
    if counts.gave_up:
        line.append_text(screen.plain(" (take up again with: pollerd retry --all)", "dim"))
    oldest = sentences.at(document.oldest_pending_sent_at)
    waiting = [f"the oldest sent {ago(oldest, document.now)}"] if oldest is not None else []
    waiting += [f"{sentences.count(counts.new)} not planned yet"] if counts.new else []
    found: list[RenderableType] = [line]
    if waiting:
        found.append(_fact("", screen.plain(", ".join(waiting), "dim")))
    if (polls := _polls(document)) is not None:
        found.append(polls)
    if document.delivery is not None and (known := document.delivery.detection) is not None:
        text = f"{duration(known.median)} after the gateway knew (median), {duration(known.p95)} at most for 95 %"
        found.append(_fact("known", text))
    forecasts = [(account, account.forecast) for account in document.accounts if account.forecast is not None]
    for number, (account, forecast) in enumerate(forecasts):
        name = f"{account.name}: " if len(forecasts) > 1 else ""
        found.append(_fact("" if number else "outlook", name, _sentence(sentences.outlook(forecast, document.now))))
    return found


def _polls(document: StatusDocument) -> Text | None:
    limit = sum(account.rate for account in document.accounts)
    parts: list[Text | str] = []
    if document.polls.per_second is not None:
        parts += [screen.plain(f"{document.polls.per_second:.1f}", "bold"), f" a second of {limit:g} allowed  "]
    rates = [step.polls_per_second for step in document.throughput]
    if len(rates) > 1:
        minutes = round(len(rates) / 4)
        parts += [screen.plain(spark(rates), "cyan"), screen.plain(f" last {max(1, minutes)} min  ", "dim")]
    if (mean := sentences.polls_a_message(document)) is not None:
        parts.append(f"{mean:.1f} a message")
    return _fact("polls", *parts) if parts else None


def _lines(document: StatusDocument) -> int:
    """Lines that the groups take."""
    states = len(document.delivery.reached) if document.delivery is not None else 0
    return 2 + max(sum(1 for group in document.ages if group.count), states)


def _groups(document: StatusDocument, bar: int) -> Table:
    """Pending by age, and beside it the states that recipients reached."""
    from rich.table import Table

    both = Table.grid(padding=(0, 4))
    both.add_row(_ages(document, bar), _funnel(document, bar))
    return both


def _ages(document: StatusDocument, bar: int) -> RenderableType:
    made = screen.table("pending", "", "messages", right=("messages",), whole=("pending", ""))
    shown = [(name, g) for name, g in zip(sentences.age_names(document.ages), document.ages, strict=True) if g.count]
    if not shown:
        return _fact("pending", "nothing" if not document.messages.pending else "ages not known yet")
    top = max(group.count for _, group in shown)
    for name, group in shown:
        screen.row(made, name, _bar(group.count, top, "cyan", bar), f"{group.count:,}")
    return made


def _funnel(document: StatusDocument, bar: int) -> RenderableType:
    delivery = document.delivery
    if delivery is None or not delivery.seen:
        return screen.plain("")
    made = screen.table("recipients", "", "reached", right=("reached",), whole=("recipients", ""))
    screen.row(made, "seen", _bar(delivery.seen, delivery.seen, "blue", bar), f"{delivery.seen:,}")
    for state, count in delivery.reached.items():
        share = min(1.0, count / delivery.seen)
        style = screen.STATE_STYLES.get(state, "cyan")
        screen.row(
            made,
            screen.state(state),
            _bar(min(count, delivery.seen), delivery.seen, style, bar),
            f"{count:,} {share:5.1%}",
        )
    return made


def _bar(count: int, top: int, style: str, width: int) -> Text:
    if not count:
        return screen.plain("")
    return screen.plain("█" * max(1, round(count / max(top, 1) * width)), style)


def _countries(document: StatusDocument, most: int, *, wide: bool) -> RenderableType | None:
    if document.delivery is None or not document.delivery.countries or most < 1:
        return None
    numbers = ("ended", "delivered", "median", "95 %")
    named = ("2 s to 1 d", "otherwise") if wide else ("2 s to 1 d",)
    made = screen.table("country", *numbers, *named, right=numbers, whole=named)
    for country in document.delivery.countries[:most]:
        ended, delivered, median, p95, others = sentences.figures(country)
        screen.row(
            made,
            country.country,
            ended,
            delivered,
            median,
            p95,
            screen.plain(_times(country), "green"),
            *((screen.plain(shortened(others, 32), "dim"),) if wide else ()),
        )
    return made


def _times(country: CountryDocument) -> str:
    return spark([float(count) for count in country.times], len(country.times)) if any(country.times) else ""


def _accounts(document: StatusDocument) -> list[Text]:
    found = []
    for account in document.accounts:
        line = _fact(
            "account",
            screen.plain(shortened(account.name, 40), "bold"),
            ": ",
            _sentence(sentences.polling(account, document)),
        )
        line.append(f", {sentences.count(account.due)} due")
        if account.late:
            line.append(", ").append_text(screen.plain(f"{sentences.count(account.late)} late", "yellow"))
        when = sentences.at(account.next_poll_at)
        if when is not None and document.daemon.running and account.state == "polling":
            line.append(f", next poll {'now' if when <= document.now else ago(when, document.now)}")
        if credit := sentences.credit(account):
            line.append(", credit ").append_text(screen.plain(credit, "red" if account.credit_low else ""))
        found.append(line)
        if account.advice is not None:
            found.append(_fact("", screen.plain(f"→ {account.advice}", "bold")))
    return found


def _outputs(document: StatusDocument) -> list[Text]:
    progress = [(output, sentences.delivered(output, document.now)) for output in document.outputs]
    well = [output.name for output, sentence in progress if sentence.tone == "good" and not output.trouble]
    found = [_fact("outputs", f"{', '.join(well)}: ", screen.plain("all events delivered", "green"))] if well else []
    for output, sentence in progress:
        if output.name in well:
            continue
        line = _fact("output", f"{output.name}: ", _sentence(sentence))
        if output.trouble:
            line.append(": ").append_text(screen.plain(shortened(output.trouble, 160), "red"))
        found.append(line)
    return found


def _sources(document: StatusDocument) -> list[Text]:
    found = []
    for source in document.sources:
        if source.trouble:
            said = screen.plain(shortened(source.trouble, 200), "red")
            found.append(_fact("source", f"{source.name}: ", said))
    return found


def _log(document: StatusDocument) -> list[Text]:
    found = []
    for record in document.log[-_LOG:]:
        when = sentences.at(record.at)
        style = "red" if record.level == "error" else "yellow"
        line = _fact(
            record.level, screen.plain("" if when is None else f"{sentences.clock(when, document.now)} ", "dim")
        )
        found.append(line.append_text(screen.plain(shortened(record.message, 160), style)))
    return found
