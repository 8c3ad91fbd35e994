"""The command line: arguments enter; text or JSON and an exit code leave. One file for each command.

An error is reported on standard error in one place, here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import click

from pollerd.base.errors import PollerdError
from pollerd.base.text import printable
from pollerd.cli.group import LazyGroup, silence_stdout
from pollerd.cli.terminal import standard

EX_FAILED: Final = 1  # As in docs/deployment.md;
EX_CONFIG: Final = 78  # sysexits.h;
EX_INTERRUPTED: Final = 130  # 128 + SIGINT.

_EPILOG = "The configuration is -c, else $POLLERD_CONFIG, ./pollerd.toml, /etc/pollerd/config.toml, built-in defaults."


@click.group(
    cls=LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="pollerd", message="pollerd %(version)s")
def cli() -> None:
    """Follow SMS sent through GatewayAPI to their final states."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    standard.reopen()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets a question mark instead of a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
        return 0
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = cli.main(arguments, prog_name="pollerd", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        return _failed(_usage(error), error.exit_code)
    except click.ClickException as error:
        return _failed(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return EX_INTERRUPTED
    except PollerdError as error:
        return _failed(str(error), error.exit_code)
    except OSError as error:
        return _failed(f"the operating system refused: {error}", EX_FAILED)
    except _config_error() as error:
        return _failed(_problems(str(error)), EX_CONFIG)
    return result if isinstance(result, int) else 0


def _config_error() -> type[Exception]:
    # Reached only when something was raised: commands without a configuration never pay for the import.
    from pollerd.config import ConfigError

    return ConfigError


def _problems(text: str) -> str:
    lines = text.splitlines()
    if len(lines) == 1:
        return f"the configuration cannot be used: {lines[0]}"
    return "\n  ".join([f"the configuration cannot be used, {len(lines)} problems:", *lines])


def _usage(error: click.UsageError) -> str:
    where = error.ctx.command_path if error.ctx is not None else "pollerd"
    return f"{error.format_message()}\nTry '{where} --help'."


def _failed(text: str, code: int) -> int:
    lines = [printable(line) for line in text.splitlines()]
    click.echo("pollerd: " + "\n".join(lines), err=True)
    return code
