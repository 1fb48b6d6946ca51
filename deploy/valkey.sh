#!/bin/sh
# A store that keeps what it took, evicts nothing, and lets in one user, to keys that begin with a name, with the commands that marm sends.
set -eu
: "${MARM_REDIS_USERNAME:?}" "${MARM_REDIS_PASSWORD:?}" "${STORE_NAME:?}" "${STORE_BYTES:?}"
umask 077
users="${TMPDIR:-/tmp}/users.acl"
hash=$(printf %s "$MARM_REDIS_PASSWORD" | sha256sum | cut -d ' ' -f 1)
commands="+get +set +setnx +del +unlink +hget +hmget +hset +hdel +pexpire +persist +evalsha +script|load +scan +info +wait +ping"
cat > "$users" <<END
user default off
user $MARM_REDIS_USERNAME on #$hash ~$STORE_NAME* $commands
END
exec valkey-server --aclfile "$users" --appendonly yes --save "" \
    --maxmemory "$STORE_BYTES" --maxmemory-policy noeviction "$@"
