"""`pollerd run` and `demo`: the daemon, for real and for show."""

from __future__ import annotations

from pathlib import Path

import click

from pollerd.cli.options import config_option, counting_number, load_config


@click.command()
@config_option
def run(*, config_path: Path | None) -> int:
    """Run the daemon in the foreground, until SIGTERM or Ctrl-C. SIGHUP takes up a changed configuration,
    reopens outputs and reads secrets again."""
    config = load_config(config_path)
    from pollerd.daemon import app

    return app.run(config)


@click.command()
@click.option("--seconds", default=60, show_default=True, callback=counting_number, help="How long at most.")
@click.option("--messages", default=300, show_default=True, callback=counting_number, help="How many are sent.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the messages the same fates.")
def demo(*, seconds: int, messages: int, seed: int) -> int:
    """Watch pollerd at work: a simulated gateway, the daemon, and events as they come.

    Needs no token and leaves nothing behind. Ctrl-C ends it early, with the summary.
    """
    from pollerd.cli.demo.show import Script, perform

    return perform(Script(seconds=seconds, messages=messages, seed=seed))
