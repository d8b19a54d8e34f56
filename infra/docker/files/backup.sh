#!/bin/sh
# Dumps a database again and again, and keeps what it dumped for a while. Runs in PostgreSQL's own image; POSIX sh.
#
#   backup.sh run     a dump whenever one is due, for ever; asked to end (SIGTERM) it stops at once
#   backup.sh once    one dump now; exit code 1 if it failed
#   backup.sh alive   whether `run` works: exit code 1 if it gave no sign of life for three minutes
#
# A dump is written under a name of its own, read back to its end, flushed to disk, and only then gets the name
# <UTC time>.dump: whatever interrupts us (kill -9, a full disk, a database that goes away), the earlier dumps stay as
# they were, and what was begun is cleared away at the next attempt. Old ones go after a new one is good, never the
# newest.
#
# Where PostgreSQL is: libpq's variables (PGHOST, PGDATABASE, PGUSER, ...). The password: the file PASSWORD_FILE.
# EVERY_SECONDS, KEEP_SECONDS, RETRY_SECONDS; FOLDER for dumps, FIGURES for Prometheus, SCRATCH for what need not last.

set -u
umask 077
: "${PGHOST:?}" "${PGDATABASE:?}" "${FOLDER:?}" "${FIGURES:?}" "${PASSWORD_FILE:?}" "${EVERY_SECONDS:?}" "${KEEP_SECONDS:?}"
: "${RETRY_SECONDS:=300}" "${TICK_SECONDS:=5}" "${FIGURES_SECONDS:=60}" "${SCRATCH:=/tmp}"
export PGCONNECT_TIMEOUT="${PGCONNECT_TIMEOUT:-10}" PGAPPNAME=slipway-backup PGPASSFILE="$SCRATCH/pgpass"
beat="$SCRATCH/beat"
child=
sleeper=
figures_at=0

log() { # level, message
    printf '%s %s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$2"
}

log_lines() { # level, file: each line of it
    while IFS= read -r line; do log "$1" "$line"; done <"$2"
}

newest() {
    # Names begin with the time: the last one in their order is the newest.
    ls -1 "$FOLDER" 2>/dev/null | grep '^[0-9TZ]*\.dump$' | sort | tail -n 1
}

made_at() { # name: when a dump was finished, as UNIX time
    stat -c %Y "$FOLDER/$1" 2>/dev/null || echo 0
}

flush() { # file or folder
    sync "$1" 2>/dev/null || sync
}

# What a dump holds is read back to its last byte: a table of contents alone does not tell of a dump cut short.
verify() { # file
    pg_restore --list "$1" >"$SCRATCH/contents" && grep -q ' TABLE DATA ' "$SCRATCH/contents" || return 1
    pg_restore --file=/dev/null "$1"
}

prune() {
    keep=$(newest)
    now=$(date +%s)
    ls -1 "$FOLDER" | grep '^[0-9TZ]*\.dump$' | while IFS= read -r name; do
        if [ "$name" != "$keep" ] && [ $((now - $(made_at "$name"))) -gt "$KEEP_SECONDS" ]; then
            rm -f "$FOLDER/$name" && log info "removed $name, older than $((KEEP_SECONDS / 86400)) days"
        fi
    done
}

figure() { # name, meaning, value
    printf '# HELP slipway_backup_%s %s\n# TYPE slipway_backup_%s gauge\nslipway_backup_%s %s\n' "$1" "$2" "$1" "$1" "$3"
}

figures() { # whether the last attempt failed: 0 or 1
    (
        umask 022
        last=$(newest)
        {
            figure last_attempt_failed 'Whether the last attempt failed (1) or not (0).' "$1"
            figure dumps 'Dumps that are kept.' "$(ls -1 "$FOLDER" | grep -c '^[0-9TZ]*\.dump$')"
            figure free_bytes 'Room left where the dumps are.' "$(df -Pk "$FOLDER" | awk 'NR == 2 { printf "%.0f", $4 * 1024 }')"
            if [ -n "$last" ]; then
                figure last_success_timestamp_seconds 'When the last good dump was finished.' "$(made_at "$last")"
                figure last_size_bytes 'Size of the last good dump.' "$(stat -c %s "$FOLDER/$last")"
            fi
        } >"$FIGURES/.partial" && mv "$FIGURES/.partial" "$FIGURES/backup.txt"
    ) || log error "cannot write figures to $FIGURES: Prometheus sees those from before"
}

# Room goes while nothing is dumped, too. What the last attempt came to stays, and outlives a restart.
refresh_figures() {
    [ $(($(date +%s) - figures_at)) -ge "$FIGURES_SECONDS" ] || return 0
    figures_at=$(date +%s)
    figures "$(sed -n 's/^slipway_backup_last_attempt_failed //p' "$FIGURES/backup.txt" 2>/dev/null | grep . || echo 0)"
}

write_password() {
    # Colons and backslashes have a meaning in a password file.
    { printf '*:*:*:*:' && sed 's/[\\:]/\\&/g' "$PASSWORD_FILE"; } >"$PGPASSFILE" && chmod 600 "$PGPASSFILE"
}

failed() { # what
    if [ -s "$SCRATCH/errors" ]; then log_lines error "$SCRATCH/errors"; fi
    log error "backup failed: $1; earlier dumps are as they were, newest: $(newest | grep . || echo none)"
    rm -f "$partial"
    exit 1
}

attempt() { # one dump; a subshell, whose exit code says whether it is good
    flock -w 600 9 || { log error "backup failed: another one is at work in $FOLDER"; exit 1; }
    rm -f "$FOLDER"/.*.partial
    name=$(date -u +%Y%m%dT%H%M%SZ).dump
    partial="$FOLDER/.$name.partial"
    : >"$SCRATCH/errors"
    trap 'kill "$work" 2>/dev/null; rm -f "$partial"; log info "backup interrupted"; exit 143' TERM INT
    work=
    started=$(date +%s)
    write_password || failed "cannot write $PGPASSFILE"
    pg_dump --format=custom --no-password --lock-wait-timeout=60s --file="$partial" 2>"$SCRATCH/errors" 9>&- &
    work=$!
    wait "$work" || failed "pg_dump ended with $?"
    verify "$partial" 2>"$SCRATCH/errors" 9>&- &
    work=$!
    wait "$work" || failed "the dump cannot be read back"
    flush "$partial" && mv "$partial" "$FOLDER/$name" || failed "cannot finish $name"
    flush "$FOLDER"
    size=$(stat -c %s "$FOLDER/$name")
    log info "backup done: $name, $size bytes in $(($(date +%s) - started)) s"
    prune
}

back_up() {
    (attempt) 9>"$FOLDER/.lock" &
    child=$!
    while kill -0 "$child" 2>/dev/null; do
        touch "$beat"
        refresh_figures
        pause 1
    done
    wait "$child"
    good=$?
    child=
    figures "$((good != 0))"
    return "$((good != 0))"
}

pause() { # seconds, interruptible
    sleep "$1" &
    sleeper=$!
    wait "$sleeper"
}

seconds_until_due() {
    last=$(newest)
    if [ -z "$last" ]; then
        echo 0
    else
        echo $((EVERY_SECONDS - $(date +%s) + $(made_at "$last")))
    fi
}

stop() {
    if [ -n "$child" ]; then
        kill "$child" 2>/dev/null
        wait "$child"
    fi
    kill "$sleeper" 2>/dev/null
    exit 0
}

run() {
    trap stop TERM INT
    log info "a backup every $((EVERY_SECONDS / 60)) min of $PGDATABASE on $PGHOST, kept for $((KEEP_SECONDS / 86400)) days"
    retry_at=0
    while :; do
        refresh_figures
        touch "$beat"
        if [ "$(seconds_until_due)" -le 0 ] && [ "$(date +%s)" -ge "$retry_at" ]; then
            back_up || retry_at=$(($(date +%s) + RETRY_SECONDS))
        fi
        pause "$TICK_SECONDS"
    done
}

case "${1:-}" in
run) run ;;
once) back_up ;;
alive) [ -n "$(find "$beat" -mmin -3 2>/dev/null)" ] ;;
*)
    echo "usage: backup.sh run|once|alive" >&2
    exit 2
    ;;
esac
