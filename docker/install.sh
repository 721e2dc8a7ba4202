#!/bin/sh
# Makes a virtual environment and installs into it, at the versions that constraints.txt pins.
#
#   docker/install.sh VENV REQUIREMENT…        docker/install.sh .venv -e '.[cpu]'
#
# PYTHON       the interpreter to make it with, 3.11 or newer [python3]
# TORCH_INDEX  a package index that pip shall search besides its own, for the wanted build of torch
set -eu

venv=$1
shift
python=${PYTHON:-python3}
here=$(dirname "$0")

fail() {
    echo "install: $1" >&2
    exit 1
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is not a Python 3.11 or newer; name one, as in PYTHON=python3.12"
quiet=
if [ -x "$venv/bin/pip" ]; then
    quiet=--quiet # most is there already, and pip would say so of each
else
    "$python" -m venv "$venv" ||
        fail "$python cannot make virtual environments; on Debian: apt-get install python3-venv"
fi

"$venv/bin/pip" install $quiet --disable-pip-version-check --constraint "$here/../constraints.txt" \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$@"
