#!/bin/sh
# A 60-second key with curl: ./mint.sh KEY | jq --raw-output .token
set -eu
socket=${SIXTY_SOCKET:-$XDG_RUNTIME_DIR/sixty/broker.sock}

exec curl --silent --show-error --fail-with-body --unix-socket "$socket" \
    --json "{\"key\":\"$1\",\"ttl\":60}" http://sixty/v1/leases
