#!/bin/sh
# Bring .venv up to date with the named parts: run, test, lock (requirement sets under
# requirements/), compile (the hot modules, where a C compiler is there) and browser.
#
# A stamp holds the checksum of what was installed and is written last: an interrupted install goes
# on where it stopped, and a complete one costs milliseconds.
set -eu
cd "$(dirname "$0")/.."
. scripts/steps.sh
# Settings of the caller that would make pip install somewhere else than into .venv.
unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX

STAMPS=.venv/.stamps
HOT="scripts/compile.py src/tidegate/domain/admission.py src/tidegate/adapters/memory/*.py"
COMPILED=src/tidegate/compiled/made-from.txt
PIP_HINT="pip failed; the lines above say why. When that is mended, the same command goes on here."

# checksum PART: what its stamp says once it is installed.
checksum() {
    case $1 in
    package) cat pyproject.toml requirements/build.txt | cksum ;;
    # A compiler that came meanwhile is a reason to try again, too.
    compile) { cat $HOT $COMPILED 2>/dev/null || command -v "${CC:-cc}" || true; } | cksum ;;
    *) cksum <"requirements/$1.txt" ;;
    esac
}

# A moved checkout needs a new environment: the scripts in it name their interpreter by full path.
venv_is_done() {
    [ -x .venv/bin/python ] && [ -f "$STAMPS/venv" ] || return 1
    { read -r made_in && read -r made_by; } <"$STAMPS/venv"
    [ "$made_in" = "$PWD" ] && [ "${PYTHON:-$made_by}" = "$made_by" ]
}

is_done() {
    case $1 in
    venv) venv_is_done ;;
    browser) scripts/browser.sh found ;;
    *) [ -f "$STAMPS/$1" ] && [ "$(cat "$STAMPS/$1")" = "$(checksum "$1")" ] ;;
    esac
}

# True for an environment that somebody made by hand and that serves as well as ours.
venv_is_usable() {
    [ -z "${PYTHON:-}" ] && [ -f .venv/bin/pip ] && head -n 1 .venv/bin/pip | grep -qF "$PWD/" &&
        .venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

install_venv() {
    python=$(scripts/find-python.sh) || exit 1
    announce "make the environment .venv with $python"
    venv_is_usable || quietly 15 "$python" -m venv --clear .venv ||
        fail "The environment could not be made; the lines above say why."
    mkdir -p "$STAMPS"
    printf '%s\n%s\n' "$PWD" "${PYTHON:-$python}" >"$STAMPS/venv"
}

pip_install() {
    quietly 15 .venv/bin/python -m pip --disable-pip-version-check --no-input -q install "$@" ||
        fail "$PIP_HINT"
}

install_requirements() {
    announce "install the pinned requirements of $1"
    # Wheels only: building a source archive would fetch build tools that no hash pins.
    pip_install --only-binary :all: --require-hashes -r "requirements/$1.txt"
    checksum "$1" >"$STAMPS/$1"
}

install_package() {
    announce "install tidegate itself"
    # The build backend comes from a pinned set too, so pip must not fetch one of its own choice.
    pip_install --only-binary :all: --require-hashes -r requirements/build.txt
    pip_install --no-build-isolation --no-deps -e .
    checksum package >"$STAMPS/package"
}

# Never fatal: without a compiler, or if it fails, the Python files do the same, slower.
compile_hot() {
    announce "compile the hot modules (a minute)"
    quietly 15 .venv/bin/python scripts/compile.py ||
        printf '      They could not be compiled; the Python files are used.\n'
    grep '^Nothing is compiled' "$step_log" | sed 's/^/      /' || true
    checksum compile >"$STAMPS/compile"
}

missing=""
for part in venv "$1" package $(shift && echo "$@"); do
    is_done "$part" && continue
    missing="$missing $part"
    step_total=$((step_total + 1))
    # A new environment is empty, whatever the stamps of the old one say.
    [ "$part" != venv ] || rm -rf "$STAMPS"
done
for part in $missing; do
    case $part in
    venv) install_venv ;;
    package) install_package ;;
    compile) compile_hot ;;
    browser) announce "get a headless Chromium" && scripts/browser.sh install ;;
    *) install_requirements "$part" ;;
    esac
    finished
done
