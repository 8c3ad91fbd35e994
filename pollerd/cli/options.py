"""What many commands share: the option for the configuration, the option for JSON, and ids as arguments."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pollerd.core.ids import IdError, parse_id

if TYPE_CHECKING:
    from pollerd.config import Config
    from pollerd.config.store_url import StoreUrl

F = TypeVar("F", bound=Callable[..., Any])

IDS_MAY_BE_NEGATIVE = {"ignore_unknown_options": True}
"""Context settings: `-5` reaches the command as an id, to be refused by name, instead of as an unknown option."""


def config_option(command: F) -> F:
    """`-c CONFIG`, as the parameter `config_path`."""
    option = click.option(
        "-c",
        "--config",
        "config_path",
        # Whether it can be read is said where it is read, with the exit code of a bad configuration.
        type=click.Path(path_type=Path, readable=False),
        metavar="CONFIG",
        help="The configuration file.",
    )
    return option(command)


def json_option(command: F) -> F:
    """`--json`, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def load_config(path: Path | None) -> Config:
    """The configuration in force. Raises ConfigError with all its problems."""
    from pollerd.config import load

    return load(path)


def load_running(path: Path | None) -> Config:
    """The same for a command that the running daemon can serve: where the file cannot be used by now, what that daemon
    says of itself, with a warning. Raises ConfigError when no daemon answers either.
    """
    from pollerd.config import ConfigError

    try:
        return load_config(path)
    except ConfigError as error:
        from pollerd.cli.terminal import screen
        from pollerd.client.running import running_config

        if (found := running_config(error)) is None:
            raise
        problem = str(error.problems[0]).rstrip(".")
        screen.note(
            f"warning: {problem}; going on with the running daemon, which has read it before, at "
            f"{found.control.socket}. All problems: pollerd check"
        )
        return found


def refuse_options(arguments: Sequence[str]) -> None:
    """Distinguish unknown options from negative numbers. Raises click.UsageError."""
    for argument in arguments:
        if argument.startswith("-") and argument != "-" and not argument[1:2].isdigit():
            raise click.NoSuchOption(argument.partition("=")[0])


def id_value(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Callback of an option or argument whose value is one message id."""
    if value is None:
        return None
    text = os.fsencode(value).decode("utf-8", "replace")
    try:
        return parse_id(text)
    except IdError as error:
        raise click.BadParameter(f"{text!r} {error}.", context, parameter) from None


def counting_number(context: click.Context, parameter: click.Parameter, value: int | None) -> int | None:
    """Callback of an option that must be 1 or more where it is given."""
    if value is not None and value < 1:
        raise click.BadParameter(f"{value} is too small; give 1 or more.", context, parameter)
    return value


def store_url(text: str, option: str, instead: str) -> StoreUrl:
    """The URL of a store in PostgreSQL that was given to `option`. A password in it is refused: `instead` says where it
    goes. Raises click.BadParameter.
    """
    from pollerd.config.kinds import Wrong
    from pollerd.config.store_url import STORE_URL

    try:
        url: StoreUrl = STORE_URL.check(text)
    except Wrong as error:
        raise click.BadParameter(str(error), param_hint=option) from error
    if url.password is not None:
        raise click.BadParameter(f"must not hold a password, which others could see; {instead}", param_hint=option)
    return url
