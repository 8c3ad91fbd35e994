"""`pollerd completion`: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> int:
    """Print the script that completes commands and options in SHELL.

    \b
    bash:  pollerd completion bash > /etc/bash_completion.d/pollerd
    zsh:   pollerd completion zsh > "${fpath[1]}/_pollerd"
    fish:  pollerd completion fish > ~/.config/fish/completions/pollerd.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(context.find_root().command, {}, "pollerd", "_POLLERD_COMPLETE").source())
    return 0
