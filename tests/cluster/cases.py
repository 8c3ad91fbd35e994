"""What may happen to members, by name. Each begins with everything at work, and leaves it so that it can settle."""

from __future__ import annotations

from typing import Final

from tests.cluster import clocks, freezes, kills, locks, network
from tests.cluster.outcome import Case
from tests.cluster.pooled import through_pgbouncer
from tests.cluster.upgrade import upgrade

CASES: Final[dict[str, Case]] = {
    **{
        case.__name__: case
        for case in (
            kills.kill_the_active, kills.kill_the_active_which_comes_back, kills.kill_a_standby, kills.kill_all,
            kills.end_the_active, kills.kill_the_postmaster, kills.kill_a_backend, kills.postgresql_away,
            network.hold_back_a_batch, network.cut_off_the_active, network.cut_connections, network.block_the_gateway,
            network.block_the_gateway_for_all, network.captive_portal_with_a_page, network.captive_portal_with_401,
            locks.hold_the_counter, locks.hold_messages, locks.hold_the_member, locks.hold_the_lease,
            locks.hold_the_duty, locks.hold_the_duty_at_a_takeover, locks.hold_a_table, through_pgbouncer, upgrade,
            freezes.freeze_the_active, freezes.freeze_while_a_commit_runs, freezes.freeze_in_the_middle_of_a_post,
            freezes.freeze_in_the_middle_of_a_poll, freezes.freeze_while_the_foreign_statement_runs,
        )
    },
    **{f"freeze_{name}": freezes.at_step(armed) for name, armed in freezes.STEPS.items()},
    **{f"freeze_{name}": freezes.at_takeover(armed) for name, armed in freezes.TAKEOVERS.items()},
    "clock_of_a_standby_ahead": clocks.clock_of_a_standby(clocks.HOUR),
    "clock_of_a_standby_behind": clocks.clock_of_a_standby(-clocks.HOUR),
    "clock_at_a_start_ahead": clocks.clock_at_a_start(clocks.HOUR),
    "clock_at_a_start_behind": clocks.clock_at_a_start(-clocks.HOUR),
    "clock_of_the_active_ahead": clocks.clock_of_the_active(clocks.HOUR),
    "clock_of_the_active_behind": clocks.clock_of_the_active(-clocks.HOUR),
}  # fmt: skip
AT_RANDOM: Final = (
    kills.kill_the_active, kills.kill_the_active_which_comes_back, kills.kill_a_standby, kills.kill_all,
    kills.end_the_active, kills.kill_the_postmaster, kills.kill_a_backend,
)  # fmt: skip
