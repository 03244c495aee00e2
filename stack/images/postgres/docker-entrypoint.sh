#!/usr/bin/env bash
# Makes the database on the first start, then becomes the server. The variables and the folder it reads are those of the
# original image: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, POSTGRES_INITDB_ARGS (each also as …_FILE),
# POSTGRES_INITDB_WALDIR, POSTGRES_HOST_AUTH_METHOD, PGDATA and /docker-entrypoint-initdb.d. Functions named docker_… are
# named as in the original, because init scripts call them.
set -Eeuo pipefail

log() { printf '%s: %s\n' "$(basename "$0")" "$*"; }

fail() {
  printf 'Error: %s\n' "$1" >&2
  shift
  if (($#)); then printf '       %s\n' "$@" >&2; fi
  exit 1
}

# file_env NAME [DEFAULT]: NAME keeps its value, or gets the content of the file named by NAME_FILE, or DEFAULT.
file_env() {
  local name="$1" file_name="${1}_FILE" value="${2:-}"
  if [[ -n "${!name:-}" && -n "${!file_name:-}" ]]; then
    fail "both $name and $file_name are set; keep one of them."
  elif [[ -n "${!name:-}" ]]; then
    value="${!name}"
  elif [[ -n "${!file_name:-}" ]]; then
    [[ -r "${!file_name}" ]] || fail "$file_name is ${!file_name}, and $(id -un 2> /dev/null || id -u) cannot read that file."
    value="$(< "${!file_name}")"
  fi
  export "$name"="$value"
  unset "$file_name"
}

wants_server() {
  [[ "$1" == postgres ]] || return 1
  local argument
  for argument in "$@"; do
    case "$argument" in
      -'?' | --help | --describe-config | -V | --version) return 1 ;;
    esac
  done
}

make_folders() {
  mkdir -p "$PGDATA"
  chmod 00700 "$PGDATA" 2> /dev/null || true
  mkdir -p /var/run/postgresql 2> /dev/null || true
  chmod 03775 /var/run/postgresql 2> /dev/null || true
  if [[ -n "${POSTGRES_INITDB_WALDIR:-}" ]]; then
    mkdir -p "$POSTGRES_INITDB_WALDIR"
    chmod 700 "$POSTGRES_INITDB_WALDIR"
  fi
  if [[ "$(id -u)" == 0 ]]; then
    find "$PGDATA" /var/run/postgresql ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"} \
      \! -user postgres -exec chown postgres '{}' +
  fi
}

require_password() {
  if [[ -z "$POSTGRES_PASSWORD" && "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]]; then
    fail "the database does not exist yet, and its superuser has no password." \
      'Set POSTGRES_PASSWORD to a non-empty value: "-e POSTGRES_PASSWORD=…" with docker run, "environment:" in a Compose file.' \
      'POSTGRES_PASSWORD_FILE names a file to read it from, such as a secret under /run/secrets.' \
      'POSTGRES_HOST_AUTH_METHOD=trust lets everyone in without a password: not recommended.'
  fi
  if [[ "${POSTGRES_HOST_AUTH_METHOD:-}" == trust ]]; then
    printf 'WARNING: POSTGRES_HOST_AUTH_METHOD is "trust": whoever reaches the port needs no password.\n' >&2
  fi
}

docker_init_database_dir() {
  # initdb looks its user up by number; `user: 1234` in a Compose file is a number with no name.
  if ! getent passwd "$(id -u)" > /dev/null; then
    local library
    library="$(find /usr/lib -name libnss_wrapper.so -print -quit)"
    export LD_PRELOAD="$library" NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
    NSS_WRAPPER_PASSWD="$(mktemp)"
    NSS_WRAPPER_GROUP="$(mktemp)"
    printf 'postgres:x:%s:%s:PostgreSQL:%s:/bin/false\n' "$(id -u)" "$(id -g)" "$PGDATA" > "$NSS_WRAPPER_PASSWD"
    printf 'postgres:x:%s:\n' "$(id -g)" > "$NSS_WRAPPER_GROUP"
  fi
  # --no-sync: until the first start has ended, a machine that crashes loses nothing that could not be made again, and
  # waiting for a thousand small files to reach the disk takes longer than all else.
  # The extra arguments are one string of words, quotes included, as a shell would read them.
  eval 'initdb --no-sync --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") \
    ${POSTGRES_INITDB_WALDIR:+--waldir="$POSTGRES_INITDB_WALDIR"} '"$POSTGRES_INITDB_ARGS"
  if [[ -n "${NSS_WRAPPER_PASSWD:-}" ]]; then
    rm -f "$NSS_WRAPPER_PASSWD" "$NSS_WRAPPER_GROUP"
    unset LD_PRELOAD NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
  fi
}

pg_setup_hba_conf() {
  local method="${POSTGRES_HOST_AUTH_METHOD:-}"
  [[ -n "$method" ]] || method="$(postgres -C password_encryption "${@:2}")"
  printf '\nhost all all all %s\n' "$method" >> "$PGDATA/pg_hba.conf"
}

# Only the socket: nobody on the network may take a half-made database for the real one.
docker_temp_server_start() {
  NOTIFY_SOCKET='' PGUSER="$POSTGRES_USER" \
    pg_ctl --pgdata="$PGDATA" --options="$(printf '%q ' "${@:2}" -c listen_addresses='' -p "${PGPORT:-5432}")" --wait start
}

docker_temp_server_stop() {
  PGUSER="$POSTGRES_USER" pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
}

# Reads SQL from its standard input or its arguments, as psql does; the first error ends the initialisation.
docker_process_sql() {
  local -a database=()
  [[ -z "$POSTGRES_DB" ]] || database=(--dbname "$POSTGRES_DB")
  PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password --no-psqlrc "${database[@]}" "$@"
}

docker_setup_db() {
  local known
  known="$(POSTGRES_DB='' docker_process_sql --dbname postgres --set db="$POSTGRES_DB" --tuples-only \
    <<< "SELECT 1 FROM pg_database WHERE datname = :'db';")"
  if [[ -z "$known" ]]; then
    POSTGRES_DB='' docker_process_sql --dbname postgres --set db="$POSTGRES_DB" <<< 'CREATE DATABASE :"db";'
  fi
}

docker_process_init_files() {
  local file
  for file; do
    case "$file" in
      *.sh)
        if [[ -x "$file" ]]; then
          log "running $file"
          "$file"
        else
          log "sourcing $file"
          # shellcheck source=/dev/null
          . "$file"
        fi
        ;;
      *.sql) log "running $file"; docker_process_sql -f "$file"; printf '\n' ;;
      *.sql.gz) log "running $file"; gunzip -c "$file" | docker_process_sql; printf '\n' ;;
      *.sql.xz) log "running $file"; xzcat "$file" | docker_process_sql; printf '\n' ;;
      *.sql.zst) log "running $file"; zstd -dc "$file" | docker_process_sql; printf '\n' ;;
      *) log "ignoring $file" ;;
    esac
  done
}

initialise() {
  file_env POSTGRES_PASSWORD
  file_env POSTGRES_USER postgres
  file_env POSTGRES_DB "$POSTGRES_USER"
  file_env POSTGRES_INITDB_ARGS
  require_password
  # An unreadable folder must not pass for an empty one.
  ls /docker-entrypoint-initdb.d/ > /dev/null

  docker_init_database_dir
  pg_setup_hba_conf "$@"
  export PGPASSWORD="${PGPASSWORD:-$POSTGRES_PASSWORD}"
  docker_temp_server_start "$@"
  docker_setup_db
  local -a files
  shopt -s nullglob
  files=(/docker-entrypoint-initdb.d/*)
  shopt -u nullglob
  docker_process_init_files "${files[@]}"
  docker_temp_server_stop
  unset PGPASSWORD
  printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

main() {
  if [[ "${1:-}" == -* ]]; then set -- postgres "$@"; fi
  if (($# == 0)); then set -- postgres; fi
  if wants_server "$@"; then
    make_folders
    if [[ "$(id -u)" == 0 ]]; then exec gosu postgres "${BASH_SOURCE[0]}" "$@"; fi
    if [[ -s "$PGDATA/PG_VERSION" ]]; then
      printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
    else
      initialise "$@"
    fi
  fi
  exec "$@"
}

main "$@"
