"""A release that fails leaves the checkout as it was."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PREPARED = "import release\nwith release.released('0.2.0', '2026-01-02'):\n    {}\n"


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=checkout, capture_output=True, text=True, check=False)


def seen(checkout: Path) -> str:
    return "".join(
        run(checkout, "git", *words).stdout for words in (["log", "--format=%s"], ["tag"], ["status", "--porcelain"])
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small project with the scripts of this one."""
    made = tmp_path / "project"
    (made / "packaging").mkdir(parents=True)
    for name in ("release.py", "wheels.py"):
        shutil.copy(TOP / "packaging" / name, made / "packaging" / name)
    (made / "pyproject.toml").write_text('[project]\nversion = "0.1.0"\n')
    (made / "CHANGELOG.md").write_text("## 0.2.0 - unreleased\n")
    (made / ".gitignore").write_text("dist/\n__pycache__/\n")
    run(made, "git", "init", "--quiet")
    run(made, "git", "config", "user.name", "Tester")
    run(made, "git", "config", "user.email", "tester@localhost")
    run(made, "git", "add", ".")
    assert run(made, "git", "commit", "--message", "First").returncode == 0
    return made


def prepared(checkout: Path, block: str) -> subprocess.CompletedProcess[str]:
    return run(checkout / "packaging", sys.executable, "-c", PREPARED.format(block))


def test_it_commits_and_tags_when_all_is_built(checkout: Path) -> None:
    done = prepared(
        checkout, "assert not release.git('tag') and 'version = \"0.2.0\"' in open('../pyproject.toml').read()"
    )
    assert done.returncode == 0, done.stderr
    assert seen(checkout) == "Release 0.2.0\nFirst\nv0.2.0\n"
    assert (checkout / "CHANGELOG.md").read_text() == "## 0.2.0 - 2026-01-02\n"


def test_a_build_that_fails_changes_nothing(checkout: Path) -> None:
    assert prepared(checkout, "(release.DIST / 'x').parent.mkdir(); raise SystemExit('no root')").returncode == 1
    assert seen(checkout) == "First\n"
    assert not (checkout / "dist").exists()


@pytest.mark.parametrize("hook", ["pre-commit", "reference-transaction"])
def test_a_commit_or_a_tag_that_is_refused_changes_nothing(checkout: Path, hook: str) -> None:
    script = checkout / ".git/hooks" / hook
    only = "grep -q refs/tags/ || exit 0; " if hook == "reference-transaction" else ""
    script.write_text(f"#!/bin/sh\n{only}echo the hook says no >&2; exit 1\n")
    script.chmod(0o755)
    done = prepared(checkout, "pass")
    assert (done.returncode, "the hook says no" in done.stderr) == (1, True)
    assert seen(checkout) == "First\n"


def test_an_old_build_in_dist_is_no_part_of_a_release(checkout: Path) -> None:
    (checkout / "dist").mkdir()
    (checkout / "dist/old.deb").touch()
    done = run(checkout, sys.executable, "packaging/release.py", "0.2.0")
    assert (done.returncode, "is not empty" in done.stderr) == (1, True)
    assert seen(checkout) == "First\n"
