"""Every secret in use is one that the log masks: also the one that took the place of another while the daemon runs."""

from __future__ import annotations

from collections.abc import Sequence

from pollerd.base.logs import Secrets
from pollerd.config import ConfigError, SecretSource
from pollerd.config.secret import Fingerprint


class MaskedSecrets:
    """Knows the sources of all secrets and masks what they hold through `secrets`."""

    def __init__(self, sources: Sequence[SecretSource], secrets: Secrets) -> None:
        self.secrets = secrets
        self._sources = sources
        self._seen: dict[int, Fingerprint | None] = {}

    def watch(self, sources: Sequence[SecretSource]) -> None:
        """Mask what these sources hold, from now on, beside what was masked before."""
        if sources != self._sources:
            self._sources, self._seen = sources, {}
            self.update()

    def update(self) -> None:
        """Mask what is new. What cannot be read now is named by who wants to use it, and tried again later."""
        for number, source in enumerate(self._sources):
            fingerprint = source.fingerprint()
            if number in self._seen and self._seen[number] == fingerprint:
                continue
            try:
                self.secrets.protect(source.read().reveal())
            except ConfigError:
                continue
            self._seen[number] = fingerprint
