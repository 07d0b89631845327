#!/bin/sh
# Run bench/NAME.py, or every benchmark when NAME is `all`; further arguments go to it.
set -eu
cd "$(dirname "$0")/.."
. scripts/steps.sh

name=$1
shift
if [ "$name" = all ]; then
    benchmarks=$(ls bench/*.py 2>/dev/null | grep -v '/__' || true)
else
    benchmarks=bench/$name.py
fi
# shellcheck disable=SC2012
[ -n "$benchmarks" ] && [ -f "${benchmarks%%.py*}.py" ] ||
    fail "There is no such benchmark. These exist: $(ls bench/*.py 2>/dev/null | xargs -r -n 1 basename -s .py | grep -v '^__' | xargs)"

step_total=$(echo "$benchmarks" | wc -l)
for benchmark in $benchmarks; do
    announce "run $benchmark"
    .venv/bin/python "$benchmark" "$@"
    finished
done
