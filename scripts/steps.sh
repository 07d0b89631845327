# Sourced by the other scripts: each step is said before it is done, and how long it took after.
# A step's own output is shown only if it fails.

# shellcheck shell=sh
step_number=0
step_total=0
step_log=$(mktemp)
trap 'rm -f "$step_log"' EXIT
# Without this a signal ends dash without running the EXIT trap.
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# announce WHAT: say the next step.
announce() {
    step_number=$((step_number + 1))
    printf '[%d/%d] %s\n' "$step_number" "$step_total" "$1"
    step_start=$(date +%s)
}

# finished: say how long the announced step took.
finished() {
    printf '      done in %d s\n' "$(($(date +%s) - step_start))"
}

# quietly LINES COMMAND...: run it; if it fails, show the last LINES of what it said.
quietly() {
    step_lines=$1
    shift
    "$@" >"$step_log" 2>&1 </dev/null && return 0
    step_status=$?
    tail -n "$step_lines" "$step_log" | sed 's/^/      /' >&2
    return "$step_status"
}

# fail SENTENCE: say what to do, and end.
fail() {
    printf '%s\n' "$1" >&2
    exit 1
}
