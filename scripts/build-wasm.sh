#!/bin/sh
# Builds the HTML extractor from its C source, with a compiler that comes from PyPI.
#
#   build-wasm.sh           writes src/tidegate/adapters/wasmtime/extract.wasm
#   build-wasm.sh --check   fails if that file is not, byte for byte, what the source gives
#
# PYTHON is the interpreter to make the compiler's environment with (default: python3). The compiler
# is pinned by hash, so the same source gives the same bytes everywhere.
set -eu
cd "$(dirname "$0")/.."
. scripts/steps.sh

committed=src/tidegate/adapters/wasmtime/extract.wasm
requirements=requirements/wasm-build.txt
venv=build/wasm-venv
work=build/wasm

case "${1:-}" in
    "" | --check) ;;
    *) fail "usage: build-wasm.sh [--check]" ;;
esac

mkdir -p "$work"
step_total=1
if ! cmp -s "$requirements" "$venv/installed.txt"; then
    step_total=2
    announce "get the pinned compiler (80 MB) into $venv"
    rm -rf "$venv"
    { "${PYTHON:-python3}" -m venv "$venv" &&
        quietly 30 "$venv/bin/python" -m pip install --disable-pip-version-check \
            --require-hashes --only-binary :all: -r "$requirements"; } ||
        fail "The compiler could not be installed; the lines above say why."
    cp "$requirements" "$venv/installed.txt"
    finished
fi

announce "compile the extractor"
"$venv/bin/python" scripts/entity_table.py "$work/entities.h"
ZIG_GLOBAL_CACHE_DIR=$PWD/$work/cache ZIG_LOCAL_CACHE_DIR=$PWD/$work/cache \
    quietly 100 "$venv/bin/python" -m ziglang cc \
    --target=wasm32-freestanding -mcpu=generic+bulk_memory \
    -std=c11 -O2 -g0 -ffreestanding -nostdlib -fno-sanitize=all -fno-strict-aliasing \
    -Wall -Wextra -Werror -I "$work" \
    -Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=65536 \
    -o "$work/extract.wasm" "$(dirname "$committed")/extract.c" ||
    fail "The extractor does not compile; the lines above say why."
finished

if [ "${1:-}" != --check ]; then
    cp "$work/extract.wasm" "$committed"
else
    cmp -s "$work/extract.wasm" "$committed" ||
        fail "$committed is not what its source gives: run 'make wasm' and commit the result."
fi
echo "$committed is what its source gives: $(wc -c <"$committed" | tr -d ' ') bytes."
