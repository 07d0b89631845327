#!/bin/sh
# Format, lint, types and the house rules. All of them run, so that one look shows everything.
set -eu
cd "$(dirname "$0")/.."
. scripts/steps.sh

step_total=4
failed=""

# check NAME COMMAND...
check() {
    name=$1
    shift
    announce "check $name"
    quietly 200 "$@" || failed="$failed $name,"
    finished
}

check format .venv/bin/ruff format --check .
check lint .venv/bin/ruff check --output-format concise .
check types .venv/bin/mypy
check rules .venv/bin/python -m pytest -q --tb=short tests/architecture

[ -z "$failed" ] || fail "These checks failed:${failed%,}. The lines above say where."
