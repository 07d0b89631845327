#!/bin/sh
# `found`: is there a Chromium? `install`: get one where the system lets us, else say what to do.
#
# Only Debian's own package is taken: Ubuntu's is a snap stub, and a browser downloaded from
# elsewhere would get no security updates with the system. Without one, render degrades; that is
# no reason to stop, so `install` always succeeds.
set -eu

OS_RELEASE=${OS_RELEASE:-/etc/os-release}
PACKAGES="chromium-headless-shell fonts-dejavu-core"
WITHOUT="Without it, render answers html and text by a plain fetch and refuses screenshots and PDFs."

found() {
    [ -z "${TIDEGATE_SKIP_BROWSER:-}" ] || return 0
    for name in chromium-headless-shell chromium chromium-browser google-chrome; do
        command -v "$name" >/dev/null && return 0
    done
    for cached in "${PLAYWRIGHT_BROWSERS_PATH:-${HOME:-}/.cache/ms-playwright}"/chromium*/*/*; do
        [ -x "$cached" ] && return 0
    done
    return 1
}

# give_up SENTENCE: say why there is none, and go on without.
give_up() {
    printf '      %s\n      %s\n' "$1" "$WITHOUT"
    exit 0
}

is_debian() {
    grep -Eq '^ID(_LIKE)?=.*debian' "$OS_RELEASE" && ! grep -Eq '^ID(_LIKE)?=.*ubuntu' "$OS_RELEASE"
}

# The prefix that makes a command run as root, or failure.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        echo env
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        echo "sudo -n env"
    else
        return 1
    fi
}

# apt COMMAND...: bounded in time, asks nothing, and shows its last lines if it fails.
apt() {
    $root DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=60 \
        -o Acquire::Retries=1 -o Acquire::http::Timeout=20 "$@" >"$log" 2>&1 </dev/null && return 0
    tail -n 5 "$log" | sed 's/^/      /'
    return 1
}

known() {
    LC_ALL=C apt-cache policy chromium-headless-shell 2>/dev/null | grep -q 'Candidate: [0-9]'
}

install() {
    command -v apt-get >/dev/null && is_debian ||
        give_up "No Chromium was found, and this system has none that apt-get can install: install Chromium or Chrome yourself and put it on the PATH."
    root=$(as_root) ||
        give_up "No Chromium was found. As root: apt-get install --no-install-recommends $PACKAGES"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! known; then
        echo "      asking the system: apt-get update"
        apt update || give_up "apt-get update failed, so no Chromium could be installed."
    fi
    echo "      asking the system: apt-get install --no-install-recommends $PACKAGES"
    echo "      (65 to 120 MB to download, by what is there already; TIDEGATE_SKIP_BROWSER=1 leaves it out)"
    # shellcheck disable=SC2086
    apt install --no-install-recommends $PACKAGES || give_up "Chromium could not be installed."
}

"$1"
