#!/bin/sh
# build.sh FILE.tar [SOURCE…]: the root file system that every equivalent stands on, Debian 12 at its smallest. It comes from
# the given apt sources ("deb http://… bookworm main"), or from the mirror that mmdebstrap knows for Debian; what was used
# becomes the image's own apt sources.
set -e
archive="$1"
shift
exec mmdebstrap --variant=minbase --include=ca-certificates \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  bookworm "$archive" "$@"
