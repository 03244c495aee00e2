#!/bin/sh
# Runs redis-server as the user redis, whatever the arguments; anything else (redis-cli, sh, …) as it is.
set -e

# `docker run redis --appendonly yes` and `docker run redis /my/redis.conf`
case "${1:-}" in
  -* | *.conf) set -- redis-server "$@" ;;
esac

if [ "${1:-}" = redis-server ]; then
  if [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis '{}' +
    exec gosu redis "$0" "$@"
  fi

  # Only the owner may read what redis writes.
  if [ "$(umask)" = 0022 ]; then umask 0077; fi

  # The original is compiled with protected mode off: a container's port is reached from outside only when it is published.
  # Put first among the options, it gives way to one of the user's own; a file that decides it is left alone.
  shift
  case "${1:-}" in
    -v | --version | -h | --help | --test-memory | --check-system) set -- redis-server "$@" ;;
    '' | -*) set -- redis-server --protected-mode no "$@" ;;
    *)
      if grep -qsiE '^[[:space:]]*(protected-mode|include)[[:space:]]' "$1"; then
        set -- redis-server "$@"
      else
        config="$1"
        shift
        set -- redis-server "$config" --protected-mode no "$@"
      fi
      ;;
  esac
fi

exec "$@"
