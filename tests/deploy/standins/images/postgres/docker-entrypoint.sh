#!/usr/bin/env bash
# The public image's promises: a first start makes the cluster, its superuser and its database, then runs
# /docker-entrypoint-initdb.d; every start runs the server with the arguments given, as the user postgres.
set -Eeuo pipefail

# VAR, or the content of the file that VAR_FILE names.
from_file() {
    local name=$1 file_name=${1}_FILE default=${2:-}
    if [[ -n ${!name:-} && -n ${!file_name:-} ]]; then
        echo "error: both $name and $file_name are set" >&2
        exit 1
    fi
    local value=$default
    if [[ -n ${!name:-} ]]; then value=${!name}; elif [[ -n ${!file_name:-} ]]; then value=$(<"${!file_name}"); fi
    export "$name"="$value"
    unset "$file_name"
}

run_initial_files() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
        *.sh) if [[ -x $file ]]; then "$file"; else . "$file"; fi ;;
        *.sql) query --dbname "$POSTGRES_DB" --file "$file" ;;
        *.sql.gz) gunzip --stdout "$file" | query --dbname "$POSTGRES_DB" ;;
        esac
    done
}

query() {
    PGHOST='' PGHOSTADDR='' PGPASSWORD=${POSTGRES_PASSWORD:-} \
        psql --set ON_ERROR_STOP=1 --no-psqlrc --no-password --username "$POSTGRES_USER" "$@"
}

make_cluster() {
    from_file POSTGRES_PASSWORD
    from_file POSTGRES_USER postgres
    from_file POSTGRES_DB "$POSTGRES_USER"
    from_file POSTGRES_INITDB_ARGS
    if [[ -z $POSTGRES_PASSWORD && ${POSTGRES_HOST_AUTH_METHOD:-} != trust ]]; then
        echo "error: set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE" >&2
        exit 1
    fi
    # shellcheck disable=SC2086 # several arguments in one variable are the public image's contract
    initdb --username "$POSTGRES_USER" --pwfile <(printf '%s\n' "$POSTGRES_PASSWORD") \
        ${POSTGRES_INITDB_WALDIR:+--waldir "$POSTGRES_INITDB_WALDIR"} $POSTGRES_INITDB_ARGS
    # As the public image's sample has it: the world may connect, pg_hba.conf says who. The wheel's own clients look for
    # the socket in /tmp.
    printf '%s\n' "listen_addresses = '*'" "unix_socket_directories = '/var/run/postgresql, /tmp'" \
        >>"$PGDATA/postgresql.conf"
    local method=${POSTGRES_HOST_AUTH_METHOD:-$(postgres -C password_encryption)}
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
    pg_ctl --wait start --options "$(printf '%q ' "${@:2}" -c listen_addresses= -p "${PGPORT:-5432}")"
    if [[ $POSTGRES_DB != postgres ]]; then
        query --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
    fi
    run_initial_files
    pg_ctl --wait --mode fast stop
    unset POSTGRES_PASSWORD
}

if [[ ${1:-} == -* ]]; then set -- postgres "$@"; fi
if [[ ${1:-} == postgres ]]; then
    if [[ $(id --user) == 0 ]]; then
        mkdir --parents "$PGDATA"
        find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres:postgres {} +
        exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
    fi
    mkdir --parents "$PGDATA"
    chmod 0700 "$PGDATA" || true
    if [[ ! -s $PGDATA/PG_VERSION ]]; then
        make_cluster "$@"
        echo "PostgreSQL init process complete; ready for start up."
    fi
fi
exec "$@"
