"""The simulator as a server: start, stop, and the handles that tests and the demo hold."""

import asyncio
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import lru_cache
from typing import Self

from aiohttp import web

from pollerd.simulator.admin import PREFIX, answer_admin
from pollerd.simulator.clock import SimClock
from pollerd.simulator.config import SimulatorConfig
from pollerd.simulator.connections import ConnectionGate, CountedConnection
from pollerd.simulator.effects import FaultPlayer
from pollerd.simulator.faults import FaultBoard
from pollerd.simulator.gateway import SimulatedGateway
from pollerd.simulator.incoming import Inbox
from pollerd.simulator.outages import Outages
from pollerd.simulator.records import MessageRecord, record_of
from pollerd.simulator.stats import Stats, StatsRecord
from pollerd.simulator.truth import Truth
from pollerd.simulator.wire import SendRequest

_GRACE = 0.5  # Seconds for answers on their way when the server stops.


class Simulator:
    """A local GatewayAPI: `async with Simulator(config) as simulator: ... simulator.url`.

    `truth` holds the messages, `inbox` what people send, `faults` what goes wrong (`faults.set("500:0.1", ...)`),
    `stats` the counts.
    Several simulators can live in one process. A stopped one cannot be started again.
    """

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = config or SimulatorConfig()
        self._clock = SimClock(self.config.speed)
        outages = Outages(self.config.speed)
        population, answers = self.config.population, self.config.answers
        self.truth = Truth(self._clock, outages, self.config.seed, population, answers)
        self.inbox = Inbox(self._clock, self.config.inbox, self.config.seed)
        self.faults = FaultBoard(self._clock, outages, self.config.seed)
        self.stats = Stats()
        self._started_at = self._clock.now()
        self._player = FaultPlayer(self._clock)
        self._gateway = SimulatedGateway(
            self.config,
            self._clock,
            truth=self.truth,
            faults=self.faults,
            inbox=self.inbox,
            player=self._player,
            stats=self.stats,
        )
        limit, over_limit = self.config.connection_limit, self.config.over_limit
        self._gate = ConnectionGate(limit, over_limit, PREFIX, self.stats)
        self._web: web.Server | None = None
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; OSError when the address is taken. The faults of the configuration count from here."""
        loop = asyncio.get_running_loop()
        # A handler ends with its connection, so that nothing waits for a client that has hung up.
        server = web.Server(self._handle, handler_cancellation=True)
        self._web = server
        self._listener = await loop.create_server(
            lambda: CountedConnection(server, self._gate, loop, keep_alive=self.config.keep_alive),
            self.config.host,
            self.config.port,
            ssl=self.config.ssl_context,
            backlog=1024,
        )
        self.faults.set(*self.config.faults)

    async def stop(self) -> None:
        """Stop listening and end every connection, hanging ones at once. Idempotent."""
        listener, self._listener = self._listener, None
        if listener is None or self._web is None:
            return
        listener.close()
        self._player.stop()
        self._web.pre_shutdown()
        await self._web.shutdown(_GRACE)
        await self._gate.abort_all()
        await listener.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The port in use; RuntimeError before `start`."""
        if self._listener is None:
            raise RuntimeError("the simulator is not running; call start() first")
        return int(self._listener.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Base address for a client's `base_url`, without a slash at the end."""
        scheme = "https" if self.config.ssl_context is not None else "http"
        return f"{scheme}://{self.config.host}:{self.port}"

    def now(self) -> float:
        """The simulator's clock: real UNIX seconds."""
        return self._clock.now()

    def skip(self, seconds: float) -> None:
        """So many seconds pass at once in this world, as they do for a client that was asleep."""
        self._clock.skip(seconds)

    def send(self, request: SendRequest) -> int:
        """Send one message without HTTP; its id."""
        return self._gateway.send(request)

    def record(self, message_id: int) -> MessageRecord:
        """The truth about one message and its polls; KeyError when it was neither sent nor asked for."""
        return record_of(self.truth, self.truth.get(message_id), self.now())

    def records(self) -> Iterator[MessageRecord]:
        """The truth about every message that was sent, added or asked for."""
        return (record_of(self.truth, message, self.now()) for message in self.truth.known())

    def set_credit(self, credit: float) -> None:
        """Change the account's balance."""
        self._gateway.account.credit = credit

    def reset_statistics(self) -> None:
        """Count requests and faults anew; polls of messages stay counted."""
        self.stats.reset()
        self.stats.max_connections = self._gate.connections
        self.stats.max_connections_by_address = dict(+self._gate.gateway_by_address)

    def statistics(self) -> StatsRecord:
        """The counts at this moment."""
        stats = self.stats
        return StatsRecord(
            uptime=self.now() - self._started_at,
            requests=stats.requests,
            reads=stats.by_action["read"],
            by_action=dict(stats.by_action),
            by_status={str(status): count for status, count in stats.by_status.items()},
            by_fault=dict(stats.by_fault),
            max_requests_per_second=stats.max_requests_per_second,
            connections=self._gate.connections,
            max_connections=stats.max_connections,
            max_connections_by_address=dict(stats.max_connections_by_address),
            requests_by_address=dict(stats.requests_by_address),
            opened_connections=stats.opened_connections,
            rejected_connections=stats.rejected_connections,
            max_connection_age=stats.max_connection_age,
            unauthorized=stats.unauthorized,
            throttled=stats.throttled,
            messages=len(self.truth),
            polls_unknown=stats.polls_unknown,
            polls_after_final=stats.polls_after_final,
            credit=self._gateway.account.credit,
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            if request.raw_path.startswith(PREFIX):
                return await answer_admin(self, request)
            response = await self._gateway.answer(request)
        except ConnectionError:
            # The client, or a stop, ended the connection in the middle of a long answer.
            return web.Response(status=499)
        if not response.prepared:
            response.headers["Date"] = _http_date(int(self._clock.now()))
        return response


@lru_cache(maxsize=2)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)


async def serve(
    config: SimulatorConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[Simulator], None] | None = None,
) -> StatsRecord:
    """Run a simulator until `stop` is set; `ready` is called once it listens. The last counts."""
    async with Simulator(config) as simulator:
        if ready is not None:
            ready(simulator)
        await stop.wait()
        return simulator.statistics()
