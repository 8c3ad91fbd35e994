"""The commands by name, each imported only when it is called: a hand-over of one id must start fast."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import click
from click.shell_completion import CompletionItem


class Entry(NamedTuple):
    """Where a command lives, and its line in the overview."""

    target: str
    help: str


COMMANDS: Final[Mapping[str, Entry]] = MappingProxyType(
    {
        "run": Entry("run:run", "Run the daemon in the foreground."),
        "demo": Entry("run:demo", "Watch pollerd at work against a simulated gateway; no token needed."),
        "simulate": Entry("simulate:simulate", "Run a simulated GatewayAPI."),
        "track": Entry("track:track", "Start to follow messages."),
        "wait": Entry("wait:wait", "Wait for final states; the exit code says how they are."),
        "untrack": Entry("requests:untrack", "Stop following messages."),
        "list": Entry("messages:list_", "List messages."),
        "show": Entry("messages:show", "Show one message: recipients, history, next poll and why then."),
        "events": Entry("events:events", "Print the event log, or follow it."),
        "status": Entry("status:status", "Show the whole daemon at once."),
        "health": Entry("health:health", "Say in one line whether all is well, for monitoring systems."),
        "poll": Entry("requests:poll", "Poll messages now, ahead of schedule."),
        "retry": Entry("requests:retry", "Take up again what was given up."),
        "forget": Entry("forget:forget", "Remove what is known of a telephone number, or of a message."),
        "plan": Entry("plans.plan:plan", "Explain when a message would be polled."),
        "doctor": Entry("doctor:doctor", "Try everything a deployment needs; say what is wrong and what to do."),
        "check": Entry("config:check", "Validate the configuration."),
        "backup": Entry("backup:backup", "Copy the database while the daemon works on it."),
        "store": Entry("store:store", "Copy everything between SQLite and PostgreSQL."),
        "config": Entry("config:config", "Write a configuration, or print the effective one."),
        "service": Entry("service:service", "Put the systemd service in place, or take it away."),
        "schema": Entry("config:schema", "Print the JSON Schema of the events."),
        "completion": Entry("completion:completion", "Print the completion script for a shell."),
    },
)


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, name = entry.target.partition(":")
        command = getattr(importlib.import_module(f"pollerd.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # click would import every command to ask for its help.
        names = [name for name in COMMANDS if name.startswith(incomplete)]
        found = [CompletionItem(name, help=COMMANDS[name].help) for name in names]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise click.UsageError(f"There is no command '{name}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # click would print an empty line first.
            ctx.exit(130)
        except BrokenPipeError:
            # click would end with 1, and Python with a complaint about the last flush.
            silence_stdout()
            ctx.exit(0)


@contextmanager
def unread_is_no_failure() -> Iterator[None]:
    """For commands whose exit code is their answer: whoever read the output may be gone, and the code still counts."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()


def silence_stdout() -> None:
    """Whoever read our output has gone: what is still in the buffer goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
