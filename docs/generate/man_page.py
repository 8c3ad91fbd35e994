"""The manual page, made from the commands themselves and from the declared keys of the configuration."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Final

import click

from pollerd.cli import cli
from pollerd.config.outline import TableSection, sections

_CONFIGURATION: Final = """.SH CONFIGURATION
Looked for in this order: the file after
.BR \\-c ,
the file that
.B $POLLERD_CONFIG
names,
.IR ./pollerd.toml ,
.IR /etc/pollerd/config.toml ,
built\\-in defaults.
.B pollerd config init
writes a file with every key. Durations: "250ms", "2s", "10m", "72h", "30d", or a number of seconds.
"""
_SECTIONS: Final = """.SH EXIT STATUS
.TP
.B 0
Done.
.TP
.B 1
It was tried and failed.
.TP
.B 2
Wrong usage.
.TP
.B 69
The daemon or the gateway cannot be reached.
.TP
.B 75
Another daemon holds this database.
.TP
.B 78
Bad configuration.
.TP
.B 130
Ended by Ctrl\\-C.
.SH ENVIRONMENT
.TP
.B POLLERD_CONFIG
The configuration file, when no
.B \\-c
is given.
.TP
.B GATEWAYAPI_TOKEN
The token, when there is one account and the configuration names none.
.TP
.BR HTTPS_PROXY ", " NO_PROXY ", " SSL_CERT_FILE
The way to the gateway, where the configuration says nothing else.
.TP
.B NO_COLOR
No colours.
.SH FILES
.TP
.I /etc/pollerd/config.toml
The configuration of the service.
.TP
.I /etc/pollerd/token
The token, readable by root alone; systemd hands it to the service.
.TP
.I /var/lib/pollerd/pollerd.db
The database of the service.
.TP
.I /var/lib/pollerd/events.ndjson
What it tells, one JSON object a line.
.TP
.IR /run/pollerd/control.sock ", " /run/pollerd/events.sock
Its sockets.
.SH SEE ALSO
.BR systemctl (1),
.BR journalctl (1),
.BR logrotate (8)
"""


def page() -> str:
    """The whole page in man(7) macros."""
    parts = [
        '.\\" Made from the commands; do not edit. Run: python docs/generate',
        '.TH POLLERD 1 "" "pollerd" "User Commands"',
        ".SH NAME",
        "pollerd \\- follows SMS sent through GatewayAPI to their final states",
        ".SH SYNOPSIS",
        ".B pollerd",
        ".I COMMAND",
        "[\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...",
        ".SH COMMANDS",
    ]
    root = click.Context(cli, info_name="pollerd")
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None
        parts += _command(command, click.Context(command, root, info_name=name))
    keys = [line for section in sections() for line in _table(section)]
    return "\n".join(parts) + "\n" + _CONFIGURATION + "\n".join(keys) + "\n" + _SECTIONS


def _table(section: TableSection) -> Iterator[str]:
    if section.blocks:
        yield f".SS {_text(section.header)}"
    if section.text:
        yield from (".PP", _text(section.text))
    for block in section.blocks:
        if block.condition:
            yield from (".PP", _text(f"{block.condition}: {block.text}"))
        for entry in block.entries:
            # A macro takes plain quotes for its own.
            setting = _text(f"{entry.name} = {entry.value}").replace('"', "\\(dq")
            yield from (".TP", f".B {setting}")
            marks = [*([] if entry.is_default else ["Example."]), *(["Required."] if entry.required else [])]
            bounds = f"({entry.key.kind.bounds})" if entry.key.kind.bounds else ""
            yield _text(" ".join(filter(None, [*marks, entry.meaning, bounds])))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    path = context.command_path
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _command(child, click.Context(child, context, info_name=name))
        return
    usage = " ".join(piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]")
    yield f".SS {_text(path)} {_text(usage)}".rstrip()
    yield from _paragraphs(command.help or "")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or "--help" in parameter.opts:
            continue
        yield ".TP"
        yield f".B {_text(record[0])}"
        yield _text(record[1])


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        yield ".PP"
        lines = paragraph.splitlines()
        # \b is click's mark for a paragraph whose lines stay as they are.
        whole = lines[0].strip() == "\b"
        if whole:
            yield from (".nf", *(_text(line) for line in lines[1:]), ".fi")
        else:
            yield _text(" ".join(line.strip() for line in lines))


def _text(text: str) -> str:
    """Plain text as roff; a dot or a quote at the start of a line would be a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
