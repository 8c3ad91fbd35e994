"""The newcomer's first minute: a simulated gateway, the daemon and its news in one process, in a temporary folder."""

from pollerd.cli.demo.show import Script, perform

__all__ = ["Script", "perform"]
