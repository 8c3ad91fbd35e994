"""What the demo shows: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from statistics import median
from typing import Final, Protocol

from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pollerd.base.text import clock
from pollerd.cli.demo.ledger import Ledger, ReportedState
from pollerd.cli.demo.summary import Summary, sentences
from pollerd.cli.terminal import screen
from pollerd.core import lifecycle

_LATEST: Final = 16  # Rows of the latest states.
_COUNTRIES: Final = 7  # Rows of countries.
_SIDE_BY_SIDE: Final = 125
"""Columns from which both tables fit beside each other."""
_BAR: Final = 24  # Columns of a bar.
_NEXT: Final = (
    "Next: pollerd config init; put your token into the file; pollerd run; pollerd track ID",
    "Your ids can come from any program: pollerd track - or INSERT INTO messages (id) VALUES (...)",
)


class Stage(Protocol):
    """Where the demo plays."""

    def opened(self, seconds: int, speed: float) -> AbstractContextManager[None]:
        """The play begins with entering, and its picture goes with leaving."""
        ...

    def reported(self, items: Sequence[ReportedState]) -> None:
        """States that were reported just now."""
        ...

    def refresh(self, ledger: Ledger) -> None:
        """Several times a second: how things stand."""
        ...

    def close(self, summary: Summary) -> None:
        """The end."""
        ...


def stage_for(terminal: bool) -> Stage:
    """A picture for a terminal, lines for everything else."""
    return Picture(screen.console()) if terminal else Lines(screen.console())


def _introduction(speed: float) -> str:
    return f"pollerd demo: a simulated GatewayAPI, {speed:.0f} times faster than life; nothing leaves this machine"


class Lines:
    """One line for each state reported."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def opened(self, seconds: int, speed: float) -> Iterator[None]:
        self._console.print(screen.plain(f"{_introduction(speed)}; {seconds} s at most"))
        yield

    def reported(self, items: Sequence[ReportedState]) -> None:
        for item in items:
            self._console.print(Text("  ").join(_cells(item)))

    def refresh(self, ledger: Ledger) -> None:
        """Lines say it all."""

    def close(self, summary: Summary) -> None:
        self._console.print()
        for label, text in sentences(summary):
            self._console.print(screen.plain(f"{label:<20} {text}"))


class Picture:
    """A live picture: counts, the latest states, delivery times by country."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._latest: deque[ReportedState] = deque(maxlen=_LATEST)
        self._began = 0.0
        self._seconds = 0
        self._title = ""

    @contextmanager
    def opened(self, seconds: int, speed: float) -> Iterator[None]:
        self._began, self._seconds, self._title = time.monotonic(), seconds, _introduction(speed)
        with self._live:
            yield

    def reported(self, items: Sequence[ReportedState]) -> None:
        self._latest.extend(items)

    def refresh(self, ledger: Ledger) -> None:
        elapsed = min(time.monotonic() - self._began, self._seconds)
        parts: list[RenderableType] = [
            Text(self._title, style="bold"),
            ProgressBar(total=self._seconds, completed=elapsed),
            _counts(ledger),
            self._tables(ledger),
            Text("Ctrl-C: to the summary", style="dim"),
        ]
        self._live.update(Group(*parts), refresh=True)

    def _tables(self, ledger: Ledger) -> RenderableType:
        if self._console.width >= _SIDE_BY_SIDE:
            rows = min(_LATEST, max(4, self._console.height - 10))
            return Columns([_latest_table(self._latest, rows), _countries(ledger, _COUNTRIES)], padding=(0, 4))
        rows = min(_LATEST, max(4, self._console.height - 17))
        return Group(_latest_table(self._latest, rows), _countries(ledger, 4))

    def close(self, summary: Summary) -> None:
        made = Table.grid(padding=(0, 2))
        for label, text in sentences(summary):
            made.add_row(Text(label, style="dim"), Text(text, style=_emphasis(label, summary)))
        title = "pollerd reported the truth" if summary.honest else "what was reported differs from the truth"
        style = "green" if summary.honest else "red"
        self._console.print(Panel(made, title=title, border_style=style, expand=False, padding=(1, 2)))
        for line in _NEXT:
            self._console.print(Text(line, style="dim"))


def _emphasis(label: str, summary: Summary) -> str:
    good = {
        "polls after the end": summary.polls_after_final == 0,
        "against the truth": summary.differences == 0,
        "events in the file": summary.gapless,
    }
    return "" if label not in good else "bold green" if good[label] else "bold red"


def _cells(item: ReportedState) -> list[Text]:
    body = item.body
    network = f"{body.mcc}/{body.mnc}" if body.mcc and body.mnc else ""
    return [
        screen.plain(clock(item.at).split()[1], "dim"),
        screen.plain(body.id),
        screen.plain(f"{body.country_code or '':2}"),
        screen.plain(f"{network:7}", "dim"),
        _state(body.status, final=body.final),
        screen.plain(f"{item.age:5.1f} s"),
        screen.plain(f"{body.polls:>2} {'poll' if body.polls == 1 else 'polls'}", "dim"),
    ]


def _state(status: str, *, final: bool) -> Text:
    text = screen.state(f"{status:13}")
    style = screen.STATE_STYLES.get(status, "")
    text.style = f"bold {style}" if final else style or "cyan"
    return text


def _counts(ledger: Ledger) -> Text:
    states = ledger.states
    delivered = sum(states[state] for state in lifecycle.ARRIVED)
    expired = states[lifecycle.EXPIRED]
    ended = sum(count for status, count in states.items() if lifecycle.is_final(status))
    polls = sum(ledger.completed.values()) / len(ledger.completed) if ledger.completed else 0.0
    parts = [
        ("sent", f"{len(ledger.sent_at)}/{ledger.expected}", "bold"),
        ("delivered", str(delivered), "bold green"),
        ("failed", str(ended - delivered - expired), "bold red"),
        ("expired", str(expired), "bold yellow"),
        ("polls a message", f"{polls:.1f}", "bold"),
        ("requests a second", f"{ledger.rate:.0f}", "bold"),
    ]
    line = Text("\n")
    for label, value, style in parts:
        line.append(f"{label} ", style="dim").append(f"{value}   ", style=style)
    return line


def _latest_table(latest: Sequence[ReportedState], rows: int) -> Table:
    made = Table("time", "message", "", "network", "state", "after", "", box=box.SIMPLE_HEAD, pad_edge=False)
    shown = list(reversed(latest))[:rows]
    for item in shown:
        made.add_row(*_cells(item))
    for _ in range(rows - len(shown)):
        made.add_row()
    return made


def _countries(ledger: Ledger, most: int) -> Table:
    made = Table("", "delivered in (median)", "", box=box.SIMPLE_HEAD, pad_edge=False)
    busiest = sorted(ledger.ages.items(), key=lambda item: -len(item[1]))[:most]
    middles = {country: median(ages) for country, ages in busiest}
    longest = max(middles.values(), default=1.0) or 1.0
    for country, ages in busiest:
        width = max(1, round(_BAR * middles[country] / longest))
        bar = Text("█" * width, style="green").append(f" {middles[country]:.1f} s")
        made.add_row(screen.plain(country), bar, Text(str(len(ages)), style="dim"))
    return made
