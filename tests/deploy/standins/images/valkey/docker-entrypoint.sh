#!/bin/sh
# Options or a configuration file alone mean the server; as root, the data folder and the process become valkey's.
set -e
case "$1" in -* | *.conf) set -- valkey-server "$@" ;; esac
if [ "$1" = valkey-server ] && [ "$(id -u)" = 0 ]; then
    find . ! -user valkey -exec chown valkey:valkey {} +
    exec setpriv --reuid valkey --regid valkey --clear-groups "$0" "$@"
fi
umask "${VALKEY_UMASK:-0077}"
# shellcheck disable=SC2086 # several arguments in one variable are the public image's contract
exec "$@" $VALKEY_EXTRA_FLAGS
