"""The service under systemd: its state, and whether its sandbox lets it write where the configuration wants."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pollerd.config import Config
from pollerd.deployment.doctor.check import Check, failure, ok, warning
from pollerd.deployment.doctor.unit import NAME as UNIT
from pollerd.deployment.doctor.unit import Unit

NAME: Final = "service"
BOOTED: Final = Path("/run/systemd/system")
"""There only while systemd runs this machine, as sd_booted(3) says."""
_TIMEOUT: Final = 5.0  # Seconds for systemctl, which answers at once unless systemd hangs.
_PROPERTIES: Final = ("LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "NRestarts", "ExecMainStatus")
_LOG: Final = "journalctl -u pollerd -n 50"
_CODES: Final = {
    "75": "another daemon holds the database",
    "78": "bad configuration",
    "203": "the program is not there",
    "243": "a credential cannot be loaded: LoadCredential= names a file that is not there",
}


def checks(config: Config, unit: Unit | None) -> Iterator[Check]:
    """The unit that uses this configuration, if any."""
    if unit is None:
        return
    yield from _program(unit)
    yield from _credentials(unit)
    yield from _sandbox(config, unit)
    if BOOTED.is_dir() and (shown := _show()) is not None:
        yield judge(shown)


def _program(unit: Unit) -> Iterator[Check]:
    if not os.access(unit.program, os.X_OK):
        evidence = f"{unit.path} starts {unit.program or 'nothing'}, which cannot be run"
        yield failure(NAME, evidence, "run again, from where pollerd is installed now: pollerd service install")


def _credentials(unit: Unit) -> Iterator[Check]:
    """The files that systemd loads at the start; one that is not there, and has no SetCredential=, ends it with 243."""
    given = {value.partition(":")[0] for value in unit.settings.get("SetCredential", ())}
    for value in unit.settings.get("LoadCredential", ()) + unit.settings.get("LoadCredentialEncrypted", ()):
        name, _, source = value.partition(":")
        try:
            missing = source.startswith("/") and "%" not in source and not os.path.lexists(source)
        except OSError:
            continue
        if missing and name not in given and os.access(Path(source).parent, os.X_OK, effective_ids=True):
            evidence = f"{unit.path} loads the credential {name} from {source}, which does not exist: no start succeeds"
            yield failure(NAME, evidence, f"put the secret into {source}, then: systemctl restart pollerd")


def _sandbox(config: Config, unit: Unit) -> Iterator[Check]:
    if not unit.strict:
        return
    wanted = [config.store.path] if config.store.url is None else []
    wanted += [output.path for output in config.outputs.sqlite]
    wanted += [Path(output.url.place) for output in config.outputs.sql if output.url.kind == "sqlite"]
    wanted += [output.path for output in (config.outputs.file, config.outputs.socket) if output is not None]
    wanted += [config.control.socket] if config.control.socket is not None else []
    outside = sorted({path.parent for path in wanted if not any(path.is_relative_to(f) for f in unit.writable)})
    for folder in outside:
        yield failure(
            NAME,
            f"{UNIT} may not write to {folder}: ProtectSystem=strict leaves it {_list(unit.writable)}",
            f"run: systemctl edit pollerd, and add under [Service]: ReadWritePaths={folder}",
        )


def _list(paths: tuple[Path, ...]) -> str:
    return ", ".join(str(path) for path in paths) or "nothing"


def _show() -> dict[str, str] | None:
    program = shutil.which("systemctl")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program with fixed arguments
            [program, "show", UNIT, f"--property={','.join(_PROPERTIES)}"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {name: value for name, _, value in pairs}


def judge(shown: dict[str, str]) -> Check:
    """The unit's state, by the properties that `systemctl show` prints."""
    active, sub = shown.get("ActiveState", ""), shown.get("SubState", "")
    restarts = shown.get("NRestarts", "0")
    if shown.get("LoadState") == "not-found":
        return warning(NAME, f"systemd does not know {UNIT} yet", "run: systemctl daemon-reload")
    if active == "failed" or sub == "auto-restart":
        code = shown.get("ExecMainStatus", "")
        why = f"{shown.get('Result', 'failed')}, exit code {code}{f' ({_CODES[code]})' if code in _CODES else ''}"
        return failure(NAME, f"{UNIT} does not stay up: {why}, {restarts} restarts", f"its last words: {_LOG}")
    enabled = shown.get("UnitFileState") in ("enabled", "enabled-runtime", "static")
    if active != "active":
        start = "start" if enabled else "enable --now"
        return warning(NAME, f"{UNIT} is {active or 'unknown'}", f"run: systemctl {start} pollerd")
    if not enabled:
        return warning(NAME, f"{UNIT} runs but will not after a reboot", "run: systemctl enable pollerd")
    if restarts not in ("", "0"):
        return warning(NAME, f"{UNIT} runs, after {restarts} restarts since it was started", f"see why: {_LOG}")
    return ok(NAME, f"{UNIT} is active ({sub}) and enabled")
