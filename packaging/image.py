"""A container image made of Debian's packages and ours; no base image is pulled.

    python packaging/image.py [--architecture amd64] [--security-mirror URL]
                                                  dist/pollerd-VERSION-image-ARCHITECTURE.tar

As root, with `debootstrap`. The archive is an OCI layout that `docker load`, `podman load` and `skopeo` read too.
The process is the user pollerd (10001), /var/lib/pollerd is its one volume, and the root may be read-only.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))

import deb
import wheels

RELEASE: Final = "13"
SUITE: Final = "trixie"
USER: Final = 10001
"""Above the ids that distributions give out, so that it is nobody on the host."""
INTERVAL: Final = 30_000_000_000
"""Nanoseconds between two checks of health, as systemd's watchdog has them."""
NEEDLESS: Final = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/cache/apt",
    "var/lib/apt/lists",
)
CONFIGURATION: Final = {
    "User": f"{USER}:{USER}",
    "WorkingDir": "/",
    "Entrypoint": ["/usr/bin/pollerd"],
    "Cmd": ["run"],
    "Env": ["PATH=/usr/bin:/bin", "STATE_DIRECTORY=/var/lib/pollerd"],
    "Volumes": {"/var/lib/pollerd": {}},
    "StopSignal": "SIGTERM",
    # An engine restarts what is unhealthy, and only a daemon that is gone or stands still is helped by that.
    "Healthcheck": {
        "Test": ["CMD", "/usr/bin/pollerd", "health", "--alive"],
        "Interval": INTERVAL,
        "StartPeriod": INTERVAL,
    },
}


def build(architecture: str, target: Path, security: str | None = None) -> Path:
    """Make the image, with the updates of the mirror `security`; its path."""
    os.umask(0o022)
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "root"
        python = f"python{deb.PYTHONS[RELEASE]}"
        words = ["--variant=minbase", f"--arch={architecture}", f"--include={python},libsqlite3-0,ca-certificates"]
        subprocess.run(["debootstrap", *words, SUITE, root], check=True, stdout=subprocess.DEVNULL)
        _update(root, security)
        package = deb.build(RELEASE, architecture, Path(place))
        subprocess.run(["dpkg-deb", "--extract", package, root], check=True)
        # With a root that is read-only, each start and each check of health would compile everything anew.
        subprocess.run(["chroot", root, python, "-m", "compileall", "-q", "/usr/lib/pollerd"], check=True)
        _settle(root)
        made = target / f"pollerd-{version('pollerd')}-image-{architecture}.tar"
        write(root, architecture, made)
        return made


def _update(root: Path, security: str | None) -> None:
    """Bring in Debian's security updates: what debootstrap takes is as old as the last point release."""
    sources = root / "etc/apt/sources.list"
    mirror = sources.read_text().split()[1].rstrip("/")
    if security is None:
        if not mirror.endswith("/debian"):
            sys.exit(f"{mirror} does not say where its security updates are: name them with --security-mirror URL.")
        security = f"{mirror}-security"
    with sources.open("a") as file:
        file.write(f"deb {security} {SUITE}-security main\n")
    # A list that cannot be had ends the build; there is no terminal in there to keep a log of.
    options = ["-qq", "-o", "APT::Update::Error-Mode=any", "-o", "Dpkg::Use-Pty=0", "-o", "Dir::Log::Terminal="]
    for words in (["update"], ["dist-upgrade", "--yes"]):
        subprocess.run(
            ["chroot", root, "apt-get", *options, *words],
            check=True,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.DEVNULL,
        )


def _settle(root: Path) -> None:
    # Those of the machine that built it; an engine mounts its own over them.
    for name in ("etc/resolv.conf", "etc/hostname"):
        (root / name).unlink(missing_ok=True)
        (root / name).touch()
    for name in NEEDLESS:
        shutil.rmtree(root / name, ignore_errors=True)
    # A service of systemd has no place here.
    for name in ("usr/lib/systemd", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d", "etc/logrotate.d"):
        shutil.rmtree(root / name, ignore_errors=True)
    with (root / "etc/passwd").open("a") as file:
        file.write(f"pollerd:x:{USER}:{USER}::/var/lib/pollerd:/usr/sbin/nologin\n")
    with (root / "etc/group").open("a") as file:
        file.write(f"pollerd:x:{USER}:\n")
    # Mounted over by whoever runs it; without a file the built-in defaults and $GATEWAYAPI_TOKEN are in force.
    (root / "etc/pollerd/config.toml").unlink()
    (root / "etc/pollerd").chmod(0o755)
    state = root / "var/lib/pollerd"
    state.mkdir(mode=0o750)
    shutil.chown(state, USER, USER)


def write(root: Path, architecture: str, made: Path) -> None:
    """Write `root` as an image of one layer."""
    layer = _layer(root)
    packed = gzip.compress(layer, 6, mtime=0)
    config = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {**CONFIGURATION, "Labels": {"org.opencontainers.image.version": version("pollerd")}},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
            "history": [{"created_by": "packaging/image.py"}],
        }
    )
    kind = "application/vnd.oci.image"
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": _described(f"{kind}.config.v1+json", config),
            "layers": [_described(f"{kind}.layer.v1.tar+gzip", packed)],
        }
    )
    name = f"pollerd:{version('pollerd')}"
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                **_described(f"{kind}.manifest.v1+json", manifest),
                "annotations": {
                    "org.opencontainers.image.ref.name": version("pollerd"),
                    "io.containerd.image.name": name,
                },
            }
        ],
    }
    # What docker load of older versions reads.
    old = [{"Config": _blob(config), "RepoTags": [name], "Layers": [_blob(packed)]}]
    with tarfile.open(made, "w") as archive:
        for content in (config, packed, manifest):
            _add(archive, _blob(content), content)
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", _json(index))
        _add(archive, "manifest.json", _json(old))


def _layer(root: Path) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(root.rglob("*")):
            # Devices are the container's own.
            if path.is_char_device() or path.is_block_device():
                continue
            archive.add(path, str(path.relative_to(root)), recursive=False)
    return whole.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _blob(content: bytes) -> str:
    return f"blobs/sha256/{_digest(content)}"


def _described(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{_digest(content)}", "size": len(content)}


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=sorted(deb.MACHINES), default="amd64")
    parser.add_argument("--security-mirror", metavar="URL", help="default: beside the mirror that debootstrap takes")
    parser.add_argument("--into", type=Path, default=wheels.TOP / "dist")
    options = parser.parse_args()
    print(build(options.architecture, options.into, options.security_mirror))


if __name__ == "__main__":
    main()
