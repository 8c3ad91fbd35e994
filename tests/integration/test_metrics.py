"""A live scrape: what it says is true, and everything that dashboards and alerts build on is in it."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from pollerd.simulator import Step
from tests.acceptance.waiting import PATIENCE
from tests.integration.control_kit import Daemon, Reply, daemon
from tests.store_database import StoreDatabase

DOCS = Path(__file__).parents[2] / "docs"
NAME = re.compile(r"\bpollerd_[a-z_]+\b")
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scrape(running: Daemon) -> Samples:
    text = (await running.get("/metrics")).body.decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


async def test_counts_are_true(tmp_path: Path) -> None:
    async with daemon(tmp_path, more="[credit]\nwarn_below = 1.0\n") as running:
        for message_id in range(1, 11):
            running.simulator.truth.add(message_id, steps=[Step(3.0, "ENROUTE"), Step(1500.0, "DELIVERED")])
        await running.ask("POST", "/messages", {"ids": list(range(1, 11))})
        await running.ended(*range(1, 11))
        async with asyncio.timeout(PATIENCE):
            while value(found := await scrape(running), "pollerd_messages", state="finished") < 10:
                await asyncio.sleep(0.05)
        told = (await running.get("/events")).lines
        polls = sum(count for (name, _), count in found.items() if name == "pollerd_polls_total")
        assert polls == value(found, "pollerd_database_polls_total") == running.simulator.statistics().reads
        assert value(found, "pollerd_due_lag_seconds_count", account="default") == polls
        assert value(found, "pollerd_request_duration_seconds_bucket", account="default", le="+Inf") == polls
        completed = sum(event["type"] == "message.completed" for event in told)
        assert value(found, "pollerd_events_total", type="message.completed") == completed == 10
        final = sum(bool(event.get("final")) for event in told)
        assert value(found, "pollerd_detection_delay_seconds_count", account="default", state="final") == final
        assert value(found, "pollerd_last_seq") == len(told)
        assert value(found, "pollerd_account_request_rate_limit", account="default") == 500
        assert value(found, "pollerd_healthy") == 1
        assert value(found, "pollerd_database_size_bytes") == running.database.stat().st_size


async def test_a_hold_is_seen_by_its_reason_and_ends(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        running.simulator.faults.set("401")
        await running.ask("POST", "/messages", {"ids": [1]})
        name, labels = "pollerd_account_held", {"account": "default"}
        async with asyncio.timeout(PATIENCE):
            while not value(found := await scrape(running), name, reason="unauthorized", **labels):
                await asyncio.sleep(0.05)
        assert value(found, name, reason="unreachable", **labels) == 0
        assert value(found, "pollerd_polls_total", outcome="unauthorized", **labels) >= 1
        assert value(found, "pollerd_account_held_seconds_total", **labels) >= 0
        assert value(found, "pollerd_log_messages_total", level="warning") >= 1


async def test_readers_and_their_lag_are_counted(tmp_path: Path) -> None:
    async with daemon(tmp_path) as running:
        await running.follow(*range(1, 6))
        await running.ended(*range(1, 6))
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "events.sock"))
        async with running.session.get("http://localhost/events?follow=1"), asyncio.timeout(PATIENCE):
            while value(found := await scrape(running), "pollerd_output_readers", output="socket") != 1:
                await asyncio.sleep(0.02)
            assert value(found, "pollerd_output_readers", output="control") == 1
            while value(await scrape(running), "pollerd_output_lag_events", output="file") != 0:
                await asyncio.sleep(0.02)
        writer.close()


async def test_two_daemons_in_one_process_count_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with daemon(tmp_path / "a") as one, daemon(tmp_path / "b") as other:
        await one.follow(1, 2, 3)
        await one.ended(1, 2, 3)
        assert value(await scrape(other), "pollerd_polls_total", account="default", outcome="answered") == 0
        assert value(await scrape(one), "pollerd_polls_total", account="default", outcome="answered") >= 3


async def test_names_in_dashboard_and_alerts_exist(tmp_path: Path) -> None:
    """Every metric that docs/ builds on is in a live scrape, with the labels it selects by."""
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    texts = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    texts += [entry["expr"] for entry in dashboard["annotations"]["list"]]
    texts.append((DOCS / "alerts.yml").read_text())
    used = {name for text in texts for name in NAME.findall(text)}
    more = f'[[sources.sqlite]]\npath = "{tmp_path}/none.db"\nquery = "SELECT 1 AS id"\n'
    more += '[outputs.webhook]\nurl = "http://127.0.0.1:9/"\n'
    async with daemon(tmp_path, more=more, backoff='policy = "adaptive"\nmin_interval = "100ms"') as running:
        await running.follow(*range(1, 6))
        await running.ended(*range(1, 6))
        async with asyncio.timeout(PATIENCE):
            # The backoff's own account comes with its first learning.
            found = await scrape(running)
            while missing := used - {name for name, _ in found}:
                assert missing <= {"pollerd_backoff_price", "pollerd_backoff_polls_per_message"}
                await asyncio.sleep(0.1)
                found = await scrape(running)
        families = (await running.get("/metrics")).body.decode()
    labels = {label for _, pairs in found for label, _ in pairs} | {"job"}
    for text in texts:
        for selected in re.findall(r"pollerd_\w+\{([^}]*)\}", text):
            assert set(re.findall(r"(\w+)\s*=~?", selected)) <= labels, selected
    for family in text_string_to_metric_families(families):
        assert family.name.startswith("pollerd_")
        assert family.documentation


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of each metric in docs/metrics.md, by the name that a scrape shows."""
    rows = [line.split("|")[1:-1] for line in (DOCS / "metrics.md").read_text().split("\n") if line.startswith("| `")]
    found = {}
    for name, kind, labels, meaning, _ in rows:
        assert meaning.strip(), name
        found[name.strip(" `")] = (kind.strip(), frozenset(re.findall(r"`(\w+)`", labels)))
    assert len(found) == len(rows), "named twice"
    return found


OF_MEMBERS = {
    "pollerd_active",
    "pollerd_lease_seconds",
    "pollerd_takeovers_total",
    "pollerd_commit_doubts_total",
    "pollerd_jumps_total",
    "pollerd_members",
}


async def test_the_page_has_every_metric_of_daemons_that_share_a_store(
    tmp_path: Path, store_database: StoreDatabase
) -> None:
    async with daemon(tmp_path, store=store_database.toml) as running:
        found = families(await running.get("/metrics"))
    assert {name: found.get(name) for name in OF_MEMBERS} == {name: documented()[name] for name in OF_MEMBERS}


async def test_the_page_has_every_metric_with_its_type_and_labels_and_no_other(tmp_path: Path) -> None:
    """docs/metrics.md against a live scrape with everything on that has numbers of its own."""
    page = documented()
    more = f'[credit]\nwarn_below = 1.0\n[[sources.sqlite]]\npath = "{tmp_path}/none.db"\nquery = "SELECT 1 AS id"\n'
    more += '[outputs.webhook]\nurl = "http://127.0.0.1:9/"\n[accounts.default.incoming]\n'
    more += '[accounts.other]\nbase_url = "http://127.0.0.1:9"\ntoken = "other"\nsource_addresses = ["127.0.0.2"]\n'
    page = {name: row for name, row in page.items() if name not in OF_MEMBERS}
    async with daemon(tmp_path, more=more, backoff='policy = "adaptive"\nmin_interval = "100ms"') as running:
        await running.follow(*range(1, 6))
        await running.ended(*range(1, 6))
        async with asyncio.timeout(PATIENCE):
            # Some numbers come with the first learning and the first check of the balance.
            while page.keys() - (found := families(await running.get("/metrics"))).keys():
                await asyncio.sleep(0.1)
    assert found == page


def families(reply: Reply) -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of all that a scrape shows a sample of."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: (
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels) - {"le"},
        )
        for family in text_string_to_metric_families(reply.body.decode())
        if family.samples
    }
