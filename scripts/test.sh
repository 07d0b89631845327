#!/bin/sh
# All tests with line coverage, also of the processes they start; then what could not run, and why.
set -eu
cd "$(dirname "$0")/.."
. scripts/steps.sh

step_total=2
MISSING=build/could-not-run.txt
mkdir -p build
rm -f "$MISSING"
.venv/bin/python -m coverage erase

announce "run all tests"
failed=""
.venv/bin/python -m coverage run -m pytest --missing-report="$MISSING" || failed="tests"
finished

announce "line coverage of src"
.venv/bin/python -m coverage combine -q || failed="$failed coverage"
.venv/bin/python -m coverage report || failed="$failed coverage"
finished

[ ! -f "$MISSING" ] || cat "$MISSING"
[ -z "$failed" ] || fail "Failed: $failed."
