#!/bin/sh
# One broker that is its own controller. Nobody is let in without a user and a password, on no listener.
set -eu
: "${MARM_KAFKA_USERNAME:?}" "${MARM_KAFKA_PASSWORD:?}" "${CLUSTER_ID:?}"
umask 077
folder=${TMPDIR:-/tmp}
login="required username=\"$MARM_KAFKA_USERNAME\" password=\"$MARM_KAFKA_PASSWORD\""
scram="org.apache.kafka.common.security.scram.ScramLoginModule $login;"
cat > "$folder/server.properties" <<END
process.roles=broker,controller
node.id=1
log.dirs=/var/lib/kafka/data
num.partitions=6
offsets.topic.replication.factor=1
listeners=CLIENT://:9092,CONTROLLER://127.0.0.1:9093
advertised.listeners=CLIENT://kafka:9092
listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
inter.broker.listener.name=CLIENT
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.client.scram-sha-512.sasl.jaas.config=$scram
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:9093
sasl.mechanism.controller.protocol=PLAIN
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule $login user_$MARM_KAFKA_USERNAME="$MARM_KAFKA_PASSWORD";
END
cat > "$folder/client.properties" <<END
security.protocol=SASL_PLAINTEXT
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=$scram
END
bin=${KAFKA_BIN:-/opt/kafka/bin}
$bin/kafka-storage.sh format --ignore-formatted --cluster-id "$CLUSTER_ID" --config "$folder/server.properties" \
    --add-scram "SCRAM-SHA-512=[name=$MARM_KAFKA_USERNAME,password=$MARM_KAFKA_PASSWORD]"
exec $bin/kafka-server-start.sh "$folder/server.properties"
