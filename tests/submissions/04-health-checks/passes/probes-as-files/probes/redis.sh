#!/bin/sh
# Redis has to keep what it is told.
set -e
redis-cli set probe 42 > /dev/null
[ "$(redis-cli get probe)" = 42 ]
