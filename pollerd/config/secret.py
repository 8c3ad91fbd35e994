"""Secrets, and the places they are read from."""

from __future__ import annotations

import stat
from enum import Enum, auto
from pathlib import Path
from typing import Final, NoReturn, Protocol

import msgspec

from pollerd.config.problem import MASK, ConfigError, Problem

_LARGEST_SECRET_BYTES: Final = 64 * 1024
"""Far above any token or key: a larger file is another file, named by mistake."""
_SHORTEST_HS256_KEY: Final = 32
"""Bytes that a key for HS256 has at least, as many as its hash (RFC 7518, 3.2)."""
RESTART = "restart the daemon (systemctl restart pollerd)"
_ASK_THE_DAEMON = "whether the gateway takes it: pollerd status, once the service runs"

_QUOTES = ('""', "''", "``", "\u201c\u201d", "\u2018\u2019")
"""What is put around a secret by who takes its file for a shell script or TOML, and what word processors make of it."""

Fingerprint = tuple[int, ...]
"""Modification and change time in nanoseconds, inode and size of a secret's file."""


class UnseenError(ConfigError):
    """The service has the secret, but this process may not read it: no mistake of the configuration.

    `reason` says so in a sentence, `next_step` how to try the secret all the same.
    """

    def __init__(self, problem: Problem, reason: str, next_step: str) -> None:
        super().__init__((problem,))
        self.reason = reason
        self.next_step = next_step


class Secret:
    """A text that prints as ``***`` wherever it ends up; only :meth:`reveal` gives it away."""

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """The text itself. Call it where the bytes leave for the wire, nowhere else."""
        return self.__value

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        # Here only: it brings OpenSSL's hashes, and a command compares no secrets.
        import hmac

        return hmac.compare_digest(_encoded(self), _encoded(other))

    def __hash__(self) -> int:
        return hash((Secret, self.__value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled; pass on the place it is read from instead")


def _encoded(secret: Secret) -> bytes:
    return secret.reveal().encode("utf-8", "surrogatepass")


class SecretKind(Enum):
    """What the secret is for, and with it which characters it may hold."""

    TOKEN = auto()
    PASSWORD = auto()
    SIGNING = auto()

    @property
    def word(self) -> str:
        """What people call it."""
        return "secret" if self is SecretKind.SIGNING else self.name.lower()

    def fault(self, text: str, *, literal: bool = False) -> str | None:
        """What is wrong with the text as such a secret, without repeating any of it.

        `literal`: it stands in the configuration itself, where TOML's own quotes are around it. Quotes inside them are
        meant, but for a token, which has none.
        """
        if not text:
            return "is empty"
        if "\n" in text or "\r" in text:
            return "holds more than one line; keep the secret alone on a single line"
        if not text.isprintable():
            return "holds a control character or an invisible one; write the secret again as plain text"
        if text[0] + text[-1] in _QUOTES and len(text) > 1 and (self is SecretKind.TOKEN or not literal):
            return "is in quotes; write the secret alone, without them"
        if self is not SecretKind.TOKEN:
            return None
        if not text.isascii():
            return "holds a character outside ASCII; a token has none, copy it again"
        if " " in text:
            return "holds a space; give the token alone, without a word before it"
        return None

    def weakness(self, text: str) -> str | None:
        """What is unwise about the text as such a secret, without repeating any of it."""
        if self is SecretKind.SIGNING and len(text.encode()) < _SHORTEST_HS256_KEY:
            return (
                f"is shorter than the {_SHORTEST_HS256_KEY} bytes that HS256 wants and could be guessed; "
                "choose a longer one, here and at the receiver"
            )
        return None


class Origin(msgspec.Struct, frozen=True):
    """Where the configuration asks for a secret: file and key path, for messages."""

    file: str
    key: str

    def error(self, expected: str, value: str | None = None) -> ConfigError:
        return ConfigError((Problem(self.file, self.key, value, expected),))

    def unseen(self, reason: str, next_step: str) -> UnseenError:
        return UnseenError(Problem(self.file, self.key, None, reason), reason, next_step)


class SecretSource(Protocol):
    """A place that a secret can be read from, again and again."""

    @property
    def kind(self) -> SecretKind: ...

    @property
    def origin(self) -> Origin: ...

    def read(self) -> Secret:
        """The secret as it is now. Raises :class:`ConfigError` when it cannot be had or cannot be right."""
        ...

    def fingerprint(self) -> Fingerprint | None:
        """Changes when the secret may have changed. None: not kept in a file, or the file is gone."""
        ...

    def warning(self) -> str | None:
        """What is unwise about the place, or None."""
        ...

    @property
    def renewal(self) -> str:
        """What a person does so that the daemon takes up another secret."""
        ...

    @property
    def watched(self) -> bool:
        """Whether a running daemon notices another secret by itself."""
        ...


class _Fixed(msgspec.Struct, frozen=True):
    """In no file of its own, and the same as long as the daemon runs."""

    def fingerprint(self) -> Fingerprint | None:
        return None

    def warning(self) -> str | None:
        return None

    @property
    def watched(self) -> bool:
        return False


class InlineSecret(_Fixed, frozen=True):
    """Written in the configuration itself."""

    secret: Secret
    kind: SecretKind
    origin: Origin

    def read(self) -> Secret:
        return _checked(self.secret.reveal(), self.kind, self.origin, "the value", MASK, literal=True)

    @property
    def renewal(self) -> str:
        return f"put the right {self.kind.word} into {self.origin.file} ({self.origin.key}), then {RESTART}"


class EnvSecret(_Fixed, frozen=True):
    """Taken from an environment variable when the configuration was loaded."""

    variable: str
    secret: Secret | None
    kind: SecretKind
    origin: Origin

    def read(self) -> Secret:
        if self.secret is None:
            raise self.origin.error(f"{self._place} is not set; set it, or name another")
        return _checked(_bare(self.secret.reveal()), self.kind, self.origin, self._place)

    @property
    def renewal(self) -> str:
        return f"put the right {self.kind.word} into {self._place}, then {RESTART}"

    @property
    def _place(self) -> str:
        # A token pasted in place of the variable's name must not be repeated by the message.
        return f"the environment variable {self.variable if self.variable.isupper() else 'that is named here'}"


class FileSecret(msgspec.Struct, frozen=True):
    """Read from a file, which may be replaced while the daemon runs.

    `credential`: the name under which systemd gives it to the service, as it was when that started. `unit`: the unit
    that loads it, when this process is not the service; `path` is then what systemd reads, as root, so that it need not
    be readable here. `reader`: the service's user, who reads the file itself, when this process is somebody else.
    """

    path: Path
    kind: SecretKind
    origin: Origin
    unit: Path | None = None
    credential: str | None = None
    reader: str = ""

    def read(self) -> Secret:
        try:
            # Opening a FIFO would wait for a writer, so the kind of file is checked first.
            if not stat.S_ISREG(self.path.stat().st_mode):
                if self.unit is not None:
                    raise self._unseen("it is no regular file")
                raise self.origin.error(f"{self.path} is not a regular file; name one that is")
            with self.path.open("rb") as file:
                raw = file.read(_LARGEST_SECRET_BYTES + 1)
        except FileNotFoundError:
            loads = f", and {self.unit} loads it" if self.unit is not None else ""
            raise self.origin.error(f"{self.path} does not exist{loads}; create it with the secret in it") from None
        except PermissionError:
            if self.unit is not None:
                raise self._unseen("this user may not read it, root may") from None
            if self.reader:
                reason = f"{self.path} was not checked: the service's user {self.reader} reads it, this one may not"
                raise self.origin.unseen(reason, _ASK_THE_DAEMON) from None
            raise self.origin.error(
                f"{self.path} may not be read by this user; give it the right to (chown or chgrp the file)"
            ) from None
        except OSError as error:
            raise self.origin.error(f"{self.path} cannot be read: {error.strerror}") from None
        if len(raw) > _LARGEST_SECRET_BYTES:
            raise self.origin.error(f"{self.path} is larger than 64 KiB; a secret is a single short line")
        return _checked(_bare(self._text(raw)), self.kind, self.origin, str(self.path))

    def _unseen(self, why: str) -> UnseenError:
        reason = f"{self.path}, which {self.unit} loads for the service, was not checked: {why}"
        return self.origin.unseen(reason, _ASK_THE_DAEMON)

    def _text(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.origin.error(f"{self.path} is not UTF-8 text; write the secret as one plain line") from None

    def fingerprint(self) -> Fingerprint | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        # Whoever keeps size and time of change when writing cannot keep this one.
        return (found.st_mtime_ns, found.st_ino, found.st_size, found.st_ctime_ns)

    def warning(self) -> str | None:
        try:
            mode = self.path.stat().st_mode
        except OSError:
            return None
        if not mode & stat.S_IROTH:
            return None
        return f"{self.path} can be read by every user of this machine; run: chmod o= {self.path}"

    @property
    def renewal(self) -> str:
        right = f"put the right {self.kind.word} into"
        if self.credential is None:
            return f"{right} {self.path}, it is noticed at once"
        if self.unit is not None:
            return f"{right} {self.path}, then {RESTART}"
        return (
            f'{right} the file that the unit loads as the credential "{self.credential}" '
            f"(/etc/pollerd/{self.credential} unless it was changed), then {RESTART}"
        )

    @property
    def watched(self) -> bool:
        return self.credential is None


class SealedSecret(_Fixed, frozen=True):
    """A credential that systemd gives to the service alone: encrypted, or kept in a store of its own."""

    credential: str
    unit: Path
    kind: SecretKind
    origin: Origin

    def read(self) -> Secret:
        reason = f'the credential "{self.credential}" was not checked: {self.unit} gives it to the service alone'
        raise self.origin.unseen(reason, _ASK_THE_DAEMON)

    @property
    def renewal(self) -> str:
        return f'give systemd the right {self.kind.word} as the credential "{self.credential}", then {RESTART}'


class AbsentSecret(_Fixed, frozen=True):
    """Named nowhere. Loading goes on, so that commands which need no gateway work; reading is the error."""

    kind: SecretKind
    origin: Origin
    ways: str

    def read(self) -> Secret:
        raise self.origin.error(self.ways)

    @property
    def renewal(self) -> str:
        return f"put the right {self.kind.word} in place; pollerd doctor says where it is read from"


def proof(secret: str, nonce: bytes) -> str:
    """Shows who knows the secret too that it is the same one, and nobody else what it is."""
    import hmac

    return hmac.digest(secret.encode("utf-8", "surrogatepass"), nonce, "sha256").hex()


def _bare(text: str) -> str:
    """The secret without what editors and shells leave around it: a byte order mark, blanks and line ends."""
    return text.removeprefix("\ufeff").strip(" \t\r\n")


def _checked(
    text: str, kind: SecretKind, origin: Origin, place: str, value: str | None = None, *, literal: bool = False
) -> Secret:
    fault = kind.fault(text, literal=literal)
    if fault is not None:
        raise origin.error(f"{place} {fault}", value)
    return Secret(text)


def check_secrets(sources: tuple[SecretSource, ...]) -> tuple[str, ...]:
    """Read every source; returns warnings, raises :class:`ConfigError` with all problems."""
    problems: list[Problem] = []
    unseen: list[str] = []
    weak: list[str] = []
    for source in sources:
        try:
            weak += weakness(source)
        except UnseenError as error:
            unseen.append(f"{error.reason.rstrip('.')}; {error.next_step}")
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(tuple(problems))
    warnings = (source.warning() for source in sources)
    return tuple(dict.fromkeys([*unseen, *(text for text in warnings if text is not None), *weak]))


def weakness(source: SecretSource) -> tuple[str, ...]:
    """Read the source; what is unwise about the secret in it. Raises :class:`ConfigError`."""
    found = source.kind.weakness(source.read().reveal())
    return () if found is None else (f"{source.origin.key}: the secret {found}",)
