"""The configuration as far as it can be understood, with all that is wrong with it."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from pollerd.config import (
    BUILT_IN,
    SYSTEM_FILE,
    Config,
    ConfigError,
    FileSecret,
    InlineSecret,
    Problem,
    UnseenError,
)
from pollerd.config.environment import LoadContext
from pollerd.config.key import fields
from pollerd.config.lines import LineIndex
from pollerd.config.loader import build
from pollerd.config.reader import Diagnostics
from pollerd.config.search import find
from pollerd.config.secret import weakness
from pollerd.config.service_rights import unreadable
from pollerd.deployment.doctor.check import Check, failure, ok, warning
from pollerd.deployment.doctor.unit import Unit

NAME: Final = "configuration"
_TABLES: Final = frozenset(field.name for field in fields(Config))


class Inspection(msgspec.Struct, frozen=True):
    """What was found. `config` holds defaults where a problem is, and is None when nothing could be read at all.

    `unit` is the installed service when it uses this very configuration. `open_to_all`: every user may read the file.
    `unseen`: secrets that the service has and this process may not read.
    """

    config: Config | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    unit: Unit | None = None
    open_to_all: bool = False
    unseen: tuple[UnseenError, ...] = ()

    def intact(self, *tables: str) -> bool:
        """Whether these tables say what was meant: an unknown table might have been meant to be one of them."""
        tops = {problem.key.partition(".")[0] for problem in self.problems if not _of_secret(problem)}
        return tops.isdisjoint(tables) and tops <= _TABLES


def inspect(
    path: Path | None, env: Mapping[str, str], cwd: Path, *, system: Path = SYSTEM_FILE, unit: Unit | None = None
) -> Inspection:
    """Find and read the configuration as every command does, and go on where something is wrong."""
    try:
        document = find(path, env, cwd, system)
    except ConfigError as error:
        return Inspection(None, error.problems)
    if document is None:
        context = LoadContext(BUILT_IN, cwd, env, built_in=True)
        return _built({}, context, Diagnostics(context.file), None, open_to_all=False)
    unit = unit if unit is not None and unit.uses(document.path) else None
    context = LoadContext(
        str(document.path), document.path.absolute().parent, env, service=unit.service if unit is not None else None
    )
    diagnostics = Diagnostics(context.file, LineIndex(document.text))
    return _built(document.data, context, diagnostics, unit, open_to_all=document.world_readable)


def _built(
    data: Mapping[str, object], context: LoadContext, diagnostics: Diagnostics, unit: Unit | None, *, open_to_all: bool
) -> Inspection:
    config = build(data, context, diagnostics)
    diagnostics.finish()
    refused = {problem.key for problem in diagnostics.problems}
    unseen: list[UnseenError] = []
    for source in config.secret_sources():
        try:
            diagnostics.warnings += weakness(source)
        except UnseenError as error:
            unseen.append(error)
        except ConfigError as error:
            diagnostics.extend(tuple(problem for problem in error.problems if problem.key not in refused))
    diagnostics.extend(tuple(unreadable(config, context.service)))
    warnings = tuple(dict.fromkeys(diagnostics.warnings))
    return Inspection(config, diagnostics.finish(), warnings, unit, open_to_all, tuple(unseen))


def _of_secret(problem: Problem) -> bool:
    """Whether it is about the content or the rights of a secret, which leaves all else as it was meant."""
    last = problem.key.rpartition(".")[2]
    return last.removesuffix("_file").removesuffix("_env") in ("token", "password", "secret") and "not a key" not in (
        problem.expected
    )


def checks(inspection: Inspection) -> Iterator[Check]:
    """The configuration itself: each problem, each warning."""
    for problem in inspection.problems:
        yield failure(NAME, str(problem), "correct it, then try again: pollerd doctor")
    for text in inspection.warnings:
        yield warning(NAME, text, "change it in the configuration, or leave it when it is meant so")
    if inspection.config is not None and not inspection.problems:
        source = inspection.config.source
        accounts = ", ".join(inspection.config.accounts)
        service = f", used by {inspection.unit.path}" if inspection.unit else ""
        yield ok(NAME, f"{source} is good (accounts: {accounts}){service}")


def secret_files(inspection: Inspection) -> Iterator[Check]:
    """Who may read the secrets."""
    assert inspection.config is not None
    name = "secrets"
    inline = any(isinstance(source, InlineSecret) for source in inspection.config.secret_sources())
    if inline and inspection.open_to_all:
        source = inspection.config.source
        yield warning(
            name, f"{source} holds a secret and every user of this machine can read it", f"run: chmod o= {source}"
        )
    for secret in inspection.unseen:
        yield warning(name, secret.reason, secret.next_step)
    paths = {source.path for source in inspection.config.secret_sources() if isinstance(source, FileSecret)}
    for path in sorted(paths):
        try:
            found = path.stat()
        except OSError:
            # Said as a problem of the configuration already.
            continue
        mode = stat.S_IMODE(found.st_mode)
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            what = "read" if mode & stat.S_IROTH else "replace"
            yield warning(
                name, f"every user of this machine can {what} {path} (mode {mode:04o})", f"run: chmod o= {path}"
            )
        else:
            yield ok(name, f"{path}: mode {mode:04o}, closed to other users")
