#!/bin/sh
# Print a Python that can make the environment: $PYTHON if set, else the newest one known to work.
set -eu

found_without_venv=""
for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
    # Run it: version managers leave commands on the path that only say "not installed".
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
    if "$candidate" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        "$candidate" -c 'import sys; print(sys.executable)'
        exit 0
    fi
    found_without_venv=$candidate
done

if [ -n "$found_without_venv" ]; then
    echo "$found_without_venv has no venv. On Debian or Ubuntu: apt-get install python3-venv" >&2
elif [ -n "${PYTHON:-}" ]; then
    echo "PYTHON=$PYTHON is not a Python 3.11 or newer that runs." >&2
else
    echo "No Python 3.11 or newer was found. On Debian or Ubuntu: apt-get install python3-venv;" \
        "elsewhere install one and say make PYTHON=/path/to/python3." >&2
fi
exit 1
