#!/bin/sh
# Before nginx starts: *.envsh of /docker-entrypoint.d are sourced and its executable *.sh run, in the order of their names.
set -e

log() {
  if [ -z "${NGINX_ENTRYPOINT_QUIET_LOGS:-}" ]; then echo "$0: $*"; fi
}

case "${1:-}" in
  nginx | nginx-debug)
    # The glob is in the order of the names; a name may not hold a line break, a space it may.
    for file in /docker-entrypoint.d/*; do
      case "$file" in
        *.envsh | *.sh)
          if [ ! -x "$file" ]; then
            log "Ignoring $file, not executable"
          elif [ "${file%.envsh}" != "$file" ]; then
            log "Sourcing $file"
            . "$file"
          else
            log "Launching $file"
            "$file"
          fi
          ;;
        *) [ ! -e "$file" ] || log "Ignoring $file" ;;
      esac
    done
    log "Configuration complete; ready for start up"
    ;;
esac

exec "$@"
