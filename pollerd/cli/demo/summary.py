"""The demo's account at the end: what was reported against what really happened."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import fmean, median, quantiles

import msgspec

from pollerd.cli.demo.ledger import Ledger
from pollerd.core import lifecycle
from pollerd.simulator import Simulator


class _SeqLine(msgspec.Struct):
    seq: int


class Summary(msgspec.Struct, frozen=True):
    """Figures for people. Delays are seconds between the gateway's knowing a final state and our report of it.

    `on_their_way` recipients had no final state when the demo ended; `differences` were reported otherwise than the
    truth, or not although the final state was long there.
    """

    messages: int
    recipients: int
    states: Counter[str]
    on_their_way: int
    mean_delay: float | None
    median_delay: float | None
    delay_95: float | None
    polls_per_message: float | None
    polls_after_final: int
    peak: int
    limit: float
    differences: int
    lines: int
    gapless: bool

    @property
    def honest(self) -> bool:
        """Whether everything reported was true, whole and no poll was wasted on what had ended."""
        return self.differences == 0 and self.gapless and self.polls_after_final == 0


def summarise(ledger: Ledger, simulator: Simulator, file: Path, limit: float) -> Summary:
    """Compare the ledger and the file of events with the simulator's truth."""
    delays: list[float] = []
    recipients = differences = after_final = 0
    for record in simulator.records():
        after_final += record.polls_after_final
        for recipient in record.recipients:
            recipients += 1
            reported = ledger.finals.get((record.id, recipient.msisdn))
            # A final state that no answer has shown yet cannot have been reported.
            if reported is None:
                differences += recipient.told_final
            elif reported.body.status != recipient.final:
                differences += 1
            elif recipient.final_at is not None:
                delays.append(max(0.0, reported.at - recipient.final_at))
    states = Counter(item.body.status for item in ledger.finals.values())
    seqs = [msgspec.json.decode(line, type=_SeqLine).seq for line in file.read_bytes().splitlines()]
    polls = list(ledger.completed.values())
    return Summary(
        messages=len(ledger.sent_at),
        recipients=recipients,
        states=states,
        on_their_way=recipients - states.total(),
        mean_delay=fmean(delays) if delays else None,
        median_delay=median(delays) if delays else None,
        delay_95=quantiles(delays, n=20)[-1] if len(delays) > 1 else None,
        polls_per_message=fmean(polls) if polls else None,
        polls_after_final=after_final,
        peak=simulator.statistics().max_requests_per_second,
        limit=limit,
        differences=differences,
        lines=len(seqs),
        gapless=seqs == list(range(1, ledger.seq + 1)),
    )


def sentences(summary: Summary) -> list[tuple[str, str]]:
    """The summary as lines of a label and a text."""
    failed = {s: n for s, n in summary.states.items() if s not in lifecycle.ARRIVED | {lifecycle.EXPIRED}}
    lines = [
        ("messages", f"{summary.messages} to {summary.recipients} recipients"),
        ("delivered", str(sum(summary.states[state] for state in lifecycle.ARRIVED))),
        ("failed", f"{sum(failed.values())}{_in_brackets(failed)}"),
        ("expired", str(summary.states[lifecycle.EXPIRED])),
    ]
    if summary.on_their_way:
        lines.append(("on their way", f"{summary.on_their_way} when the demo ended"))
    if summary.mean_delay is not None and summary.median_delay is not None:
        text = f"{summary.mean_delay:.2f} s after it was there, on average (median {summary.median_delay:.2f} s"
        text += ")" if summary.delay_95 is None else f", 95 % within {summary.delay_95:.1f} s)"
        lines.append(("final state reported", text))
    if summary.polls_per_message is not None:
        lines.append(("polls a message", f"{summary.polls_per_message:.1f}"))
    lines += [
        ("polls after the end", str(summary.polls_after_final)),
        ("busiest second", f"{summary.peak} requests (limit {summary.limit:.0f})"),
        ("events in the file", f"{summary.lines}, {'without a gap' if summary.gapless else 'WITH GAPS'}"),
        ("against the truth", f"{summary.differences} differences"),
    ]
    return lines


def _in_brackets(counts: dict[str, int]) -> str:
    text = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return f" ({text})" if text else ""
