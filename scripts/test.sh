#!/bin/sh
# All tests with line coverage, also of the processes they start; then those of the hot modules once
# more, compiled; then what could not run, and why.
set -eu
cd "$(dirname "$0")/.."
. scripts/steps.sh

step_total=3
MISSING=build/could-not-run.txt
mkdir -p build
rm -f "$MISSING"
.venv/bin/python -m coverage erase

announce "run all tests"
failed=""
TIDEGATE_PURE=1 .venv/bin/python -m coverage run -m pytest --missing-report="$MISSING" || failed="tests"
finished

announce "line coverage of src"
.venv/bin/python -m coverage combine -q || failed="$failed coverage"
.venv/bin/python -m coverage report || failed="$failed coverage"
finished

announce "run the tests of the hot modules compiled"
if ! quietly 30 .venv/bin/python scripts/compile.py; then
    failed="$failed compile"
elif ! grep '^Nothing is compiled' "$step_log"; then
    .venv/bin/python -c 'import sys, tidegate.forms; sys.exit(tidegate.forms.FORM != "compiled")' ||
        failed="$failed form"
    .venv/bin/python -m pytest -q tests/conformance tests/property tests/unit/test_gate*.py \
        tests/unit/test_limiter.py tests/unit/test_memory_admission.py || failed="$failed compiled"
fi
finished

[ ! -f "$MISSING" ] || cat "$MISSING"
[ -z "$failed" ] || fail "Failed: $failed."
