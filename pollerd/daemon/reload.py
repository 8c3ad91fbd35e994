"""SIGHUP: takes up what has changed in the configuration, names what needs a restart, and refuses a broken file."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from pollerd.base import descriptors, logs
from pollerd.base.errors import DurabilityError, PollerdError
from pollerd.base.logs import Cleaner, Secrets
from pollerd.config import Config, ConfigError
from pollerd.config.change import changed, in_force
from pollerd.config.descriptors import Need
from pollerd.config.policy import make_policy, make_settings
from pollerd.config.secret import RESTART
from pollerd.daemon.wiring import Daemon
from pollerd.polling import overdue_watch

log = logging.getLogger(__name__)

REFUSED = "the changed configuration is refused, and the one before is in force"


class Reload:
    """Brings a running daemon to the configuration as it is now in its file."""

    def __init__(self, daemon: Daemon, reread: Callable[[], Config], secrets: Secrets) -> None:
        """`reread` raises ConfigError; `secrets` are those masked in the log."""
        self._daemon = daemon
        self._reread = reread
        self._secrets = secrets

    async def run(self, also: str = "") -> None:
        """Do it, and say what was done; `also` is said beside it. A broken file changes nothing."""
        parts = self._daemon.parts
        try:
            wanted = await asyncio.to_thread(self._reread)
            now = in_force(parts.config, wanted)
            taken, left = changed(parts.config, now), changed(now, wanted)
            await self._replace(parts.config, now)
        except ConfigError as error:
            said = "; ".join(str(problem).rstrip(".") for problem in error.problems)
            parts.notice = REFUSED
            text = "reload refused, the configuration of before stays in force: %s. Correct the file, then reload again"
            log.error(text, said, extra={"event": "reload_refused"})
        except DurabilityError:
            raise
        except (PollerdError, OSError) as error:
            parts.notice = REFUSED
            text = "reload failed: %s. Reload again, or %s"
            log.error(text, error, RESTART, extra={"event": "reload_refused"})
        except Exception:
            # A mistake in here must not take the polling down with it.
            parts.notice = REFUSED
            log.exception("reload failed; %s", RESTART, extra={"event": "reload_refused"})
        else:
            parts.notice = f"restart needed for {', '.join(left)}" if left else ""
            said = f"{_list(taken)} taken up; " if taken else ""
            said += f"{_list(left)} changed too, which needs a restart: {RESTART}; " if left else ""
            log.log(
                logging.WARNING if left else logging.INFO,
                "reloaded: %soutputs reopened, secrets in files read again%s",
                said,
                also,
                extra={"event": "reloaded", "changed": taken, "restart": left},
            )

    async def _replace(self, old: Config, new: Config) -> None:
        """Take up `new`; what breaks off half-way is taken back, as far as that goes, and raised."""
        try:
            await self._take_up(old, new)
        except DurabilityError:
            raise
        except Exception:
            try:
                await self._take_up(new, old)
            except DurabilityError:
                raise
            except Exception:
                text = "what was taken up is taken back in part only. Reload again, or %s"
                log.exception(text, RESTART, extra={"event": "reload_half"})
            raise

    async def _take_up(self, old: Config, new: Config) -> None:
        daemon, parts = self._daemon, self._daemon.parts
        if new.log != old.log:
            logs.setup(new.log.level, new.log.format, new.log.show_msisdn)
            parts.warnings.cleaner = Cleaner(self._secrets, show_msisdn=new.log.show_msisdn)
        if make_settings(new) != make_settings(old) or new.backoff != old.backoff:
            daemon.policy.replace(make_policy(new, random.SystemRandom().getrandbits(32)))
        descriptors.provide(Need.of(new).total)
        daemon.stuck.longest_request = 2 * max(account.limits.timeout for account in new.accounts.values())
        for name, account in new.accounts.items():
            if account.overdue_after != old.accounts[name].overdue_after:
                await overdue_watch.date(parts.store, name, account.overdue_after, parts.clock.now())
            daemon.accounts[name].reconfigure(account, make_settings(new), show_msisdn=new.log.show_msisdn)
        if new.credit != old.credit:
            await daemon.watch_balances(new)
        await self._replace_outputs(old, new)
        parts.config = new

    async def _replace_outputs(self, old: Config, new: Config) -> None:
        before, after = old.outputs, new.outputs
        stale = {name for name in ("webhook", "exec") if getattr(before, name) != getattr(after, name)}
        targets = tuple(f"{kind} " for kind in ("sqlite", "sql") if getattr(before, kind) != getattr(after, kind))
        stale |= {health.name for health in self._daemon.parts.relay.health if health.name.startswith(targets)}
        if stale:
            for output in self._daemon.make_outputs(new):
                if output.name in stale:
                    await self._daemon.parts.relay.replace(output)


def _list(keys: Sequence[str]) -> str:
    return f"{', '.join(keys[:-1])} and {keys[-1]}" if len(keys) > 1 else keys[0]
