#!/bin/sh
# Installs pollerd into a virtual environment of its own, from the wheels beside this script. Needs no internet.
#
#   sudo ./install.sh [FOLDER]          default: /opt/pollerd
#
# $PYTHON names the Python to use; without it, the newest of 3.13, 3.12 and 3.11 that is there. Run it again with a newer
# archive to upgrade, and after the system got another Python. Each file's hash is checked. What comes next, it says at
# its end.
set -eu
# The service runs as a user of its own, who must be able to read all of it.
umask 022

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
into=${1:-/opt/pollerd}

fits() { # fits PYTHON: whether it is one of those that the wheels are for, and can make virtual environments
    "$1" -I -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

version() { # version PYTHON: such as 3.11; nothing when it does not run
    "$1" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

if [ -z "${PYTHON:-}" ]; then
    for candidate in python3.13 python3.12 python3.11 python3; do
        if fits "$candidate"; then
            PYTHON=$candidate
            break
        fi
    done
fi
if [ -z "${PYTHON:-}" ] || ! fits "$PYTHON"; then
    echo "pollerd needs Python 3.11, 3.12 or 3.13 with the module venv, and there is none here." >&2
    echo "Debian and Ubuntu: the package python3-venv. Others: name one with PYTHON=/path/to/python3.11 $0" >&2
    exit 1
fi
if ! mkdir -p -- "$into" 2>/dev/null || [ ! -w "$into" ]; then
    echo "$into may not be written by this user: use sudo, or name another folder." >&2
    exit 1
fi
into=$(CDPATH= cd -- "$into" && pwd)

# An environment of a Python that is gone, or of another version, is made anew; a folder of anything else is left alone.
clear=
if [ -e "$into/pyvenv.cfg" ] && [ "$(version "$into/bin/python")" != "$(version "$PYTHON")" ]; then
    clear=--clear
fi
"$PYTHON" -I -m venv $clear "$into"
# Neither settings of pip (user = true, another index) nor variables of Python change what is installed.
PIP_CONFIG_FILE=/dev/null "$into/bin/python" -I -m pip --isolated install --quiet --disable-pip-version-check \
    --no-index --find-links "$here/wheels" --require-hashes --only-binary :all: -r "$here/requirements.txt"
"$into/bin/pollerd" --version
echo "Installed in $into. Next: sudo $into/bin/pollerd service install"
