"""A server as a process: under its own user, ended with this one whatever ends this one, killed and paused at will."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

PATIENCE: Final = 120.0
"""Seconds that a server may take to start or to stop on a busy machine."""
_LOOK: Final = 0.02
"""Seconds between two looks."""
_PORTS: Final = range(15_000, 32_000)
"""Below those that the kernel gives to clients: a server that is started again must find its port free."""
_STARTER: Final = ThreadPoolExecutor(1, "servers")
"""Starts all processes: the kernel ends them with the thread that started them, and this one lives as long as the
process.
"""


class ServerError(Exception):
    """A server did not do what it should; the text has the end of its log."""


def wait_until(condition: Callable[[], object], what: str, *, patience: float = PATIENCE) -> None:
    """Return as soon as `condition` holds; TimeoutError when it never does."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"never happened: {what}")
        time.sleep(_LOOK)


PORTS_TRIED = 5
"""Ports that a server is started on, at most: more than can be taken by chance."""


def free_port() -> int:
    """A port on which nobody listens."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as knock, contextlib.suppress(OSError):
            knock.bind(("127.0.0.1", port))
            return port


def new_folder(user: str) -> Path:
    """A folder that `user` may enter; its path is short enough for a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="pollerd-"))
    folder.chmod(0o755)
    give(folder, user)
    return folder


def give(path: Path, user: str) -> None:
    """Make `user` its owner, where this process may."""
    if os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def as_user(user: str, *command: str | Path, dies: str = "keep") -> list[str]:
    """The command as `user`, where this process may choose; `dies` is the signal that it gets when its parent ends."""
    other = ["--reuid", user, "--regid", user, "--init-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *other, "--pdeathsig", dies, "--", *map(str, command)]


class Program:
    """A server of one kind. As a context it is started, and at the end stopped and its folder deleted."""

    user = ""
    """Who runs it where this process is root: such servers refuse to run as root."""
    dies = "KILL"
    """The signal that ends it with this process."""
    ends = signal.SIGTERM
    """The signal for an orderly end in which clients are not waited for."""

    def __init__(self) -> None:
        self.folder = new_folder(self.user)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Make the files that it starts from."""
        raise NotImplementedError

    def command(self) -> Sequence[str | Path]:
        """What runs the server in the foreground."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether clients can connect."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def log(self) -> str:
        """All that it wrote."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start it, and return as soon as clients can connect."""
        with (self.folder / "log").open("ab") as log:
            # A session of its own: Ctrl-C in a terminal is not meant for it.
            self.process = _STARTER.submit(
                subprocess.Popen,
                as_user(self.user, *self.command(), dies=self.dies),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            ).result()
        wait_until(self._ready_or_ended, f"{type(self).__name__} starts: {self.log()[-2000:]}")

    def _start_on_a_free_port(self) -> None:
        """The first start: what was free a moment ago, another worker's server may have taken."""
        for left in reversed(range(PORTS_TRIED)):
            try:
                self.start()
            except ServerError:
                if not left or "in use" not in self.log():
                    raise
                self.process, self.port = None, free_port()
            else:
                return

    def _ready_or_ended(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise ServerError(f"ended with {self.process.returncode}: {self.log()[-2000:]}")
        return self.is_ready()

    def stop(self) -> None:
        """An orderly stop that ends its clients' connections."""
        if self.process is not None and self.process.poll() is None:
            # A server that stands still would not hear the other signal.
            self.resume()
            self.process.send_signal(self.ends)
            self.process.wait(PATIENCE)

    def kill(self) -> None:
        """`kill -9`; returns when the processes that it had started are gone as well."""
        assert self.process is not None
        others = list(children(self.process.pid))
        self.process.kill()
        self.process.wait(PATIENCE)
        wait_until(lambda: not any(map(lives, others)), "the processes of a killed server end")

    def pause(self) -> None:
        """SIGSTOP to all its processes: connections stay open, and nothing answers. Returns when they stand still."""
        # The first one first: it starts no other then.
        self._halt(self.pid)
        for pid in list(children(self.pid)):
            self._halt(pid)

    def _halt(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: state_of(pid) in ("T", "Z", ""), "a process stands still")

    def resume(self) -> None:
        """SIGCONT."""
        for pid in (*children(self.pid), self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self._start_on_a_free_port()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            if self.process is not None and self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)


def children(pid: int) -> Iterator[int]:
    """The processes that it has started and that live."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def lives(pid: int) -> bool:
    """Whether the process is there and has not ended."""
    return state_of(pid) not in ("Z", "")


def state_of(pid: int) -> str:
    """The kernel's letter for it: T stands still, Z is a process whose end nobody has asked for yet. Empty: none."""
    try:
        # After the name, which may have spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
