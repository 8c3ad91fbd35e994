"""Builds what shows the daemon to others. Used by `app` alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pollerd.base.descriptors import PAGE
from pollerd.base.logs import Cleaner, Secrets
from pollerd.config import Config, Listen
from pollerd.core.ports import OutputHealth, SourceHealth
from pollerd.daemon.wiring import Core
from pollerd.intake.loop import Intake
from pollerd.intake.sqlite import SqliteSource
from pollerd.outputs.acceptor import Acceptor
from pollerd.polling.poller import Poller
from pollerd.server.api.messages import MessageRoom
from pollerd.server.api.server import MODE, ControlRoom, ControlServer
from pollerd.server.listen import HttpServer, PortDoor, SocketDoor
from pollerd.server.pages.server import WebRoom, application, paint
from pollerd.status.snapshot import Observer, Parts
from pollerd.status.stuck import Progress
from pollerd.status.warnlog import WarnLog
from pollerd.store.readers import Reading


def make_warnings(config: Config, secrets: Secrets) -> WarnLog:
    """What remembers the last warnings, with `secrets` masked in them."""
    return WarnLog(Cleaner(secrets, show_msisdn=config.log.show_msisdn))


def make_progress(config: Config, core: Core, pollers: Mapping[str, Poller]) -> Progress:
    """What tells whether the daemon moves."""
    longest = 2 * max(account.limits.timeout for account in config.accounts.values())
    return Progress(pollers, core.committer, core.clock, longest_request=longest)


def make_control(
    config: Config,
    core: Core,
    pollers: Mapping[str, Poller],
    intake: Intake,
    *,
    health: Callable[[], Sequence[OutputHealth]],
    sources: Sequence[SqliteSource],
    warnings: WarnLog,
    places: Mapping[str, Acceptor],
) -> ControlServer:
    """The control socket and, where configured, the metrics' own port. To be made in the running loop."""
    reading = Reading(core.store.path)
    parts = Parts(
        config=config,
        clock=core.clock,
        store=core.store,
        committer=core.committer,
        policy=core.policy,
        pollers=pollers,
        statistics=core.statistics,
        outputs=health,
        sources=lambda: [SourceHealth(source.name, source.trouble) for source in sources],
        log=lambda: warnings.last,
        stuck=make_progress(config, core, pollers).stuck,
    )
    room = ControlRoom(
        messages=MessageRoom(tuple(config.accounts), core.clock, core.store, intake, reading),
        log=core.store,
        observer=Observer(parts, reading),
        meter=core.meter,
        warnings=warnings,
    )
    socket, metrics, web = config.control.socket, config.metrics, config.web
    return ControlServer(
        room,
        None if socket is None else SocketDoor(socket, MODE),
        None if metrics is None else metrics.listen,
        None if web is None else _pages(config, web.listen, room, core, reading, places[PAGE]),
        places=places,
    )


def _pages(
    config: Config, listen: Listen, room: ControlRoom, core: Core, reading: Reading, place: Acceptor
) -> HttpServer:
    """The status page for browsers."""

    pages = WebRoom(
        listen=listen,
        clock=core.clock,
        reading=reading,
        committer=core.committer,
        status=room.observer.document,
        show_msisdn=config.log.show_msisdn,
        give_up_after=config.backoff.give_up_after,
        scheduled_horizon=config.backoff.scheduled_horizon,
    )
    return HttpServer(application(pages), PortDoor(listen), place, paint)
