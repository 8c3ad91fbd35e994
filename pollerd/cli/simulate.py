"""`pollerd simulate`: the simulated GatewayAPI alone."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Callable
from typing import Any

import click

from pollerd.cli.terminal import screen
from pollerd.simulator import SIMULATE_OPTIONS, SimulateOption, Simulator, SimulatorConfig, config_from_options, serve


def simulate_command() -> click.Command:
    """`pollerd simulate`, with the simulator's own options."""
    command: Callable[..., Any] = _simulate
    for option in reversed(SIMULATE_OPTIONS):
        command = _option(option)(command)
    text = (
        "Run a simulated GatewayAPI until Ctrl-C: send, read, cancel, balance and incoming messages, with realistic "
        "times and faults on demand. The first line names its address, the second its token.\n\n"
        'Point a configuration at it with base_url = "http://127.0.0.1:8600" and its token.'
    )
    return click.command("simulate", help=text, short_help="Run a simulated GatewayAPI.")(command)


def _option(option: SimulateOption) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    if option.type is bool:
        return click.option(f"--{option.name}", is_flag=True, default=False, help=option.help)
    kind: Any = click.Choice(option.choices) if option.choices else option.type
    if option.bounds is not None:
        kind = click.IntRange(*option.bounds)
    shown = option.default not in (None, "", ())
    return click.option(
        f"--{option.name}",
        type=kind,
        default=option.default,
        multiple=option.multiple,
        show_default=shown,
        metavar="INTEGER" if option.bounds is not None else None,
        help=option.help,
    )


def _simulate(**values: Any) -> int:
    try:
        config = config_from_options(values)
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from error
    try:
        asyncio.run(_serve(config))
    except OSError as error:
        raise click.ClickException(_not_listening(config, error)) from error
    return 0


def _not_listening(config: SimulatorConfig, error: OSError) -> str:
    where = f"cannot listen on {config.host} port {config.port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where}: another program does. Give another --port; 0 takes a free one."
    if error.errno == errno.EACCES:
        return f"{where}: this user may not. Give a --port above 1023; 0 takes a free one."
    return f"{where}: {error.strerror or error}. Give --host an address of this machine, such as 127.0.0.1."


async def _serve(config: SimulatorConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def ready(simulator: Simulator) -> None:
        click.echo(simulator.url)
        tokens = sorted(config.credentials.tokens)
        if tokens:
            click.echo(f"token: {tokens[0]}")

    counts = await serve(config, stop=stop, ready=ready)
    screen.note(f"stopped after {counts.requests:,} requests for {counts.messages:,} messages")


simulate = simulate_command()
