#!/bin/sh
# build.sh FILE.tar: the root file system that every equivalent stands on, Debian 12 at its smallest. mmdebstrap takes it from
# the mirror that it knows for Debian and writes the same mirror into the image's apt sources.
set -e
exec mmdebstrap --variant=minbase --include=ca-certificates \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  bookworm "$1"
