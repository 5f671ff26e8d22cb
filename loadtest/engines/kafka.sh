# shellcheck shell=bash
# Kafka in KRaft mode from Maven's jars, for `engines`. Each node is broker and controller.

KAFKA_VERSION=4.4.0
kafka_cache() { echo "$ENGINES_CACHE/kafka-$KAFKA_VERSION"; }

kafka_nodes() {
  case $1 in
    kafka3) echo kafka3-1 kafka3-2 kafka3-3 ;;
    kafka | kafka-secure | kafka3-[123]) echo "$1" ;;
    *) fail "no group or node $1: there are kafka, kafka3 (kafka3-1 to kafka3-3) and kafka-secure" ;;
  esac
}

kafka_port() { # NODE: of clients; that of the controller is the next but one, or for three brokers three on
  case $1 in
    kafka) port 19092 ;;
    kafka-secure) port 19292 ;;
    kafka3-*) port $((19191 + ${1#kafka3-})) ;;
  esac
}
kafka_controller() { if [[ $1 == kafka3-* ]]; then echo $(($(kafka_port "$1") + 3)); else echo $(($(kafka_port "$1") + 2)); fi; }
kafka_internal() { echo $(($(kafka_port "$1") + 1)); } # of kafka-secure: for administration, without TLS

kafka_fetch() {
  needs java openjdk-17-jre-headless || return
  [[ ! -e $(kafka_cache)/fetched ]] || return 0
  needs mvn maven || return
  echo "kafka: fetching Kafka $KAFKA_VERSION with Maven"
  mkdir -p "$(kafka_cache)"
  mvn -q -B -C -f "$ENGINES_HERE/kafka/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$(kafka_cache)" >"$(kafka_cache)/mvn.log" 2>&1 ||
    { tail -n 5 "$(kafka_cache)/mvn.log" >&2; fail "Maven cannot fetch Kafka: check the network and Maven's settings"; return 1; }
  touch "$(kafka_cache)/fetched"
}

kafka_java() { java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$(kafka_cache)/*" "$@"; }

# A throw-away authority and a certificate of the broker.
kafka_certificates() { # DIRECTORY
  needs openssl openssl || return
  openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=millrace-test-ca -keyout "$1/ca.key" -out "$1/ca.pem" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$1/server.key" -out "$1/server.csr" 2>/dev/null
  openssl x509 -req -in "$1/server.csr" -CA "$1/ca.pem" -CAkey "$1/ca.key" -CAcreateserial -days 3650 -out "$1/server.crt" \
    -extfile <(echo 'subjectAltName=DNS:localhost,IP:127.0.0.1') 2>/dev/null
  cat "$1/server.key" "$1/server.crt" "$1/ca.pem" >"$1/server.pem"
}

# kafka_configure NODE REPLICAS QUORUM: once, and formats its log
kafka_configure() {
  local node=$1 n=$2 quorum=$3 d id=1; d=$(dir "$node")
  [[ ! -e $d/formatted ]] || return 0
  rm -rf "$d" && mkdir -p "$d"
  [[ $node != kafka3-* ]] || id=${node#kafka3-}
  cat >"$d/server.properties" <<P
process.roles=broker,controller
node.id=$id
controller.quorum.voters=$quorum
controller.listener.names=CONTROLLER
log.dirs=$d/data
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=$n
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=$n
transaction.state.log.min.isr=$((n > 1 ? 2 : 1))
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=$n
share.coordinator.state.topic.min.isr=1
default.replication.factor=$n
min.insync.replicas=$((n > 1 ? 2 : 1))
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
# So that a node that was killed is back in 4 s and not in 15: its old registration must end first.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
P
  local scram=()
  if [[ $node == kafka-secure ]]; then
    kafka_certificates "$d"
    cat >>"$d/server.properties" <<P
listeners=SASL_SSL://127.0.0.1:$(kafka_port "$node"),INTERNAL://127.0.0.1:$(kafka_internal "$node"),CONTROLLER://127.0.0.1:$(kafka_controller "$node")
advertised.listeners=SASL_SSL://localhost:$(kafka_port "$node"),INTERNAL://127.0.0.1:$(kafka_internal "$node")
listener.security.protocol.map=SASL_SSL:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_admin="admin-secret" user_app="app-secret";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location=$d/server.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS
allow.everyone.if.no.acl.found=false
P
    local user mechanism
    for user in admin app; do
      for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do scram+=(--add-scram "$mechanism=[name=$user,password=$user-secret]"); done
    done
  else
    cat >>"$d/server.properties" <<P
listeners=PLAINTEXT://127.0.0.1:$(kafka_port "$node"),CONTROLLER://127.0.0.1:$(kafka_controller "$node")
advertised.listeners=PLAINTEXT://127.0.0.1:$(kafka_port "$node")
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
P
  fi
  kafka_java -Dlog4j2.configurationFile="$ENGINES_HERE/kafka/log4j2.properties" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qg \
    -c "$d/server.properties" "${scram[@]}" >"$d/format.log" 2>&1 || { tail -n 5 "$d/format.log" >&2; fail "$node cannot be formatted"; return 1; }
  touch "$d/formatted"
}

kafka_launch() { # NODE
  free "$1" "$(kafka_port "$1")" "$(kafka_controller "$1")" || return
  run "$1" java -Xms512m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$ENGINES_HERE/kafka/log4j2.properties" \
    -cp "$(kafka_cache)/*" kafka.Kafka "$(dir "$1")/server.properties"
}
kafka_ready() { grep -qs 'Kafka Server started' "$(dir "$1")/log"; }

kafka_start() { # GROUP
  local nodes node quorum='' n=1 i=1; nodes=$(kafka_nodes "$1") || return
  if [[ $1 == kafka3* ]]; then n=3; nodes=$(kafka_nodes kafka3); fi
  for node in $nodes; do quorum+="${quorum:+,}$i@127.0.0.1:$(kafka_controller "$node")"; i=$((i + 1)); done
  for node in $(kafka_nodes "$1"); do
    pid "$node" >/dev/null || { kafka_configure "$node" "$n" "$quorum" && kafka_launch "$node"; } || return
  done
  for node in $(kafka_nodes "$1"); do await "$node" kafka_ready "$node" || return; done
}
kafka_up() { kafka_start "$1"; }
# All at once: one by one, the last would wait in vain for a majority of controllers.
kafka_stop() {
  local node p
  for node in $(kafka_nodes "$1"); do { p=$(pid "$node") && kill "$p" 2>/dev/null; } || true; done
  for node in $(kafka_nodes "$1"); do stop_node "$node"; done
}
