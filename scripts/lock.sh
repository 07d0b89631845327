#!/bin/sh
# Pin every requirement set again with its hashes, for all platforms. Existing pins stay unless the
# argument is --upgrade. The files name no package index, so that each user's own one is asked.
set -eu
cd "$(dirname "$0")/.."
. scripts/steps.sh

# compile SET ARGUMENTS...: the requirements come from pyproject.toml or standard input.
compile() {
    set_name=$1
    shift
    announce "pin requirements/$set_name.txt"
    # shellcheck disable=SC2086
    UV_PYTHON_DOWNLOADS=never quietly 30 .venv/bin/uv pip compile --universal --python-version 3.11 \
        --generate-hashes --no-header --no-config $upgrade -o "requirements/$set_name.txt" "$@" ||
        fail "uv could not resolve this set; the lines above say why."
    finished
}

upgrade=${1:-}
step_total=6
compile run pyproject.toml --extra all
compile test pyproject.toml --extra all --group test -c requirements/run.txt
compile bench --group bench -c requirements/test.txt
compile wasm-build --group wasm-build
compile lock --group lock

build_requires=$(mktemp)
.venv/bin/python -c '
import pathlib, tomllib
print(*tomllib.loads(pathlib.Path("pyproject.toml").read_text())["build-system"]["requires"], sep="\n")
' >"$build_requires"
compile build "$build_requires" --no-annotate -c requirements/test.txt
rm -f "$build_requires"
