# shellcheck shell=bash
# Flink 1.19 with Beam's job server, for `engines`, which sources this file; alone it runs as `bash flink.sh start flink-local`. Groups:
#   flink        a JobManager (flink-jm), two TaskManagers of two slots (flink-tm1, flink-tm2) and a job server (flink-js)
#   flink-local  all of it in one process (flink-local) on the same ports; its REST service is up only while a job runs
# flink_fetch, flink_start [GROUP], flink_stop [GROUP], flink_status [GROUP], flink_kill NODE, flink_up NODE, flink_nodes [GROUP]; a group may be one node.

FLINK_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
FLINK_ROOT=$(cd "$FLINK_HERE/../.." && pwd)
FLINK_VERSION=1.19.3
FLINK_BEAM_VERSION=2.70.0
# Flink as Python's package index has it: the jars are in its archive.
FLINK_ARCHIVE=apache-flink-libraries-$FLINK_VERSION
FLINK_URL=${FLINK_URL:-https://files.pythonhosted.org/packages/4e/35/1c4e72f5930a92d0cb107c28fc25f757ce0d69f6c1b6a00c6daf27cc7bed/$FLINK_ARCHIVE.tar.gz}
FLINK_SHA256=4a58e3a1fb7d83340bc96b6c080624c6d792d69fae5d294b96224775204a9c60
FLINK_WAIT=120 # seconds that a node may take to be ready

flink_cache() { echo "${ENGINES_CACHE:-$FLINK_ROOT/.cache/engines}/flink-$FLINK_VERSION-beam-$FLINK_BEAM_VERSION"; }
flink_dir() { echo "${ENGINES_DIR:-$FLINK_ROOT/.cache/engines/run}/$1"; }
flink_fail() { echo "engines: $*" >&2; return 1; }

flink_port() {
  local port
  case $1 in
    rest) port=18081 ;; rpc) port=18123 ;; blob) port=18124 ;;
    flink-tm1) port=18130 ;; flink-tm2) port=18135 ;; # each the first of five
    job) port=18099 ;; artifact) port=18098 ;; expansion) port=18097 ;;
  esac
  echo $((port + ${ENGINES_PORT_SHIFT:-0}))
}

flink_nodes() {
  case ${1:-flink} in
    flink) echo flink-jm flink-tm1 flink-tm2 flink-js ;;
    flink-local) echo flink-local ;;
    flink-jm | flink-tm1 | flink-tm2 | flink-js) echo "$1" ;; # a node is a group of one
    *) flink_fail "no group or node $1: there are flink (flink-jm, flink-tm1, flink-tm2, flink-js) and flink-local" ;;
  esac
}

# flink_tool COMMAND PACKAGE: what fetch needs
flink_tool() { command -v "$1" >/dev/null || flink_fail "fetch needs $1: install it (apt-get install $2)"; }

# Downloads the jars once, and compiles the Java sources beside this file when they are newer than their jar.
flink_fetch() {
  local cache; cache=$(flink_cache)
  if [ ! -e "$cache/fetched" ]; then
    flink_tool curl curl && flink_tool mvn maven || return
    rm -rf "$cache" && mkdir -p "$cache/part" || return
    echo "flink: fetching $FLINK_ARCHIVE (230 MB)"
    curl -fsSL --retry 3 -o "$cache/part/flink.tar.gz" "$FLINK_URL" ||
      { flink_fail "cannot download $FLINK_URL: check the network, or set FLINK_URL to another place of $FLINK_ARCHIVE.tar.gz"; return 1; }
    echo "$FLINK_SHA256  $cache/part/flink.tar.gz" | sha256sum -c --quiet - ||
      { flink_fail "$FLINK_URL is not the archive that was expected (its sha256 differs): fetch again"; return 1; }
    mkdir -p "$cache/flink" && tar -xzf "$cache/part/flink.tar.gz" -C "$cache/flink" --strip-components 3 --wildcards \
      "$FLINK_ARCHIVE/deps/lib/flink-dist-*.jar" "$FLINK_ARCHIVE/deps/lib/log4j-*.jar" || return
    echo "flink: fetching Beam's job server $FLINK_BEAM_VERSION with Maven"
    mvn -q -B -C -f "$FLINK_HERE/flink/pom.xml" dependency:copy-dependencies -DoutputDirectory="$cache/beam" \
      -DexcludeGroupIds=org.apache.flink,org.slf4j,org.apache.logging.log4j >"$cache/part/mvn.log" 2>&1 ||
      { tail -5 "$cache/part/mvn.log" >&2; flink_fail "Maven cannot fetch Beam's job server: check the network and Maven's settings"; return 1; }
    rm -rf "$cache/part" && touch "$cache/fetched" || return
  fi
  local jar=$cache/millrace-flink.jar
  if [ ! -e "$jar" ] || [ -n "$(find "$FLINK_HERE/java" -name '*.java' -newer "$jar")" ]; then
    flink_tool javac openjdk-17-jdk-headless && flink_tool jar openjdk-17-jdk-headless || return
    local classes; classes=$(mktemp -d) || return
    find "$FLINK_HERE/java" -name '*.java' -exec javac --release 11 -Xlint:-options -d "$classes" -cp "$cache/beam/*" {} + &&
      jar --create --file "$jar.part" -C "$classes" . || { rm -rf "$classes"; flink_fail "cannot compile $FLINK_HERE/java"; return 1; }
    rm -rf "$classes" && mv "$jar.part" "$jar" || return
  fi
}

# flink_pid NODE prints the pid of a node that runs; fails if it does not.
flink_pid() {
  local dir pid; dir=$(flink_dir "$1")
  pid=$(cat "$dir/pid" 2>/dev/null) && [ -n "$pid" ] || return 1
  # A pid may have gone to another process since: ours has its own file of arguments in its command line.
  case $(ps -o stat=,args= -p "$pid" 2>/dev/null) in
    Z*) return 1 ;;
    *"@$dir/java.args"*) echo "$pid" ;;
    *) return 1 ;;
  esac
}

flink_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
flink_rest() { curl -fsS --noproxy "*" -m 2 "http://127.0.0.1:$(flink_port rest)/$1" 2>/dev/null; }

# flink_node_ports NODE: the ports that it opens and that must be free
flink_node_ports() {
  case $1 in
    flink-jm) echo "$(flink_port rest) $(flink_port rpc) $(flink_port blob)" ;;
    flink-tm*) flink_port "$1" ;;
    flink-js) echo "$(flink_port job) $(flink_port artifact) $(flink_port expansion)" ;;
    flink-local) echo "$(flink_port job) $(flink_port artifact) $(flink_port expansion) $(flink_port rest)" ;;
  esac
}

flink_configure() { # NODE
  local node=$1 dir part; dir=$(flink_dir "$node")
  mkdir -p "$dir/conf" "$dir/tmp" || return
  part=$FLINK_HERE/flink/cluster.yaml
  [ "$node" = flink-local ] && part=$FLINK_HERE/flink/local.yaml
  {
    sed -e "s/@REST@/$(flink_port rest)/; s/@RPC@/$(flink_port rpc)/; s/@BLOB@/$(flink_port blob)/" "$FLINK_HERE/flink/common.yaml" "$part"
    echo "io.tmp.dirs: $dir/tmp"
    case $node in flink-tm*)
      # A name of its own at each start, so that a new TaskManager is not taken for the dead one.
      echo "taskmanager.resource-id: $node-$(date +%s%N)"
      echo "taskmanager.rpc.port: $(flink_port "$node")-$(($(flink_port "$node") + 4))" ;;
    esac
  } >"$dir/conf/flink-conf.yaml"
  cp "$FLINK_HERE/flink/log4j.properties" "$dir/conf/"
}

flink_arguments() { # NODE: its arguments for java, one a line
  local node=$1 dir cache; dir=$(flink_dir "$node") cache=$(flink_cache)
  cat "$FLINK_HERE/flink/opens.args"
  # Small processes on few cores: G1's threads and the second compiler cost more than they bring, save where data flows.
  printf '%s\n' -Xmx512m -XX:+UseSerialGC
  case $node in
    flink-tm*) printf '%s\n' -Xms512m -XX:MaxDirectMemorySize=256m -XX:MaxMetaspaceSize=256m ;;
    flink-jm | flink-js) echo -XX:TieredStopAtLevel=1 ;;
  esac
  printf '"-Djava.io.tmpdir=%s"\n"-Dlog4j.configurationFile=file:%s"\n' "$dir/tmp" "$dir/conf/log4j.properties"
  printf -- '-cp\n"'
  # In this order: our ServerFactory stands before Beam's, and Flink's libraries before Beam's.
  printf '%s:' "$cache/millrace-flink.jar" "$cache"/flink/*.jar "$cache"/beam/*.jar
  printf '"\n'
  case $node in
    flink-jm) printf '%s\n' org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint --configDir "\"$dir/conf\"" ;;
    flink-tm*) printf '%s\n' org.apache.flink.runtime.taskexecutor.TaskManagerRunner --configDir "\"$dir/conf\"" ;;
    flink-js | flink-local)
      local master
      master=127.0.0.1:$(flink_port rest)
      [ "$node" = flink-local ] && master='[local]'
      printf '%s\n' org.apache.beam.runners.flink.FlinkJobServerDriver --job-host=127.0.0.1 "--job-port=$(flink_port job)" \
        "--artifact-port=$(flink_port artifact)" "--expansion-port=$(flink_port expansion)" "\"--artifacts-dir=$dir/artifacts\"" \
        "\"--flink-conf-dir=$dir/conf\"" "--flink-master=$master" ;;
  esac
}

flink_launch() { # NODE: starts its process and does not wait for it to be ready
  local node=$1 dir port cache i; dir=$(flink_dir "$node") cache=$(flink_cache)
  command -v java >/dev/null || { flink_fail "there is no java: install it (apt-get install openjdk-17-jdk-headless)"; return 1; }
  [ -e "$cache/millrace-flink.jar" ] || { flink_fail "Flink is not fetched: run engines fetch flink"; return 1; }
  for port in $(flink_node_ports "$node"); do
    # A process that was killed may hold its ports for a moment after it counts as gone.
    for ((i = 0; i < 50; i++)); do flink_open "$port" || break; sleep 0.1; done
    if flink_open "$port"; then
      flink_fail "$node cannot start: another process has port $port. Stop it, or set ENGINES_PORT_SHIFT (and ENGINES_DIR) for a set of your own"
      return 1
    fi
  done
  # What a killed process has left behind is of no use to the next.
  rm -rf "$dir/tmp" "$dir/artifacts"
  flink_configure "$node" && flink_arguments "$node" >"$dir/java.args" || return
  [ -e "$dir/log" ] && mv "$dir/log" "$dir/log.old"
  setsid java "@$dir/java.args" >"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
  disown $!
}

flink_ready() { # NODE
  local id nodes=0 tm
  case $1 in
    flink-jm) # A new JobManager has its TaskManagers back when those that run have registered with it.
      for tm in flink-tm1 flink-tm2; do flink_pid $tm >/dev/null && nodes=$((nodes + 1)); done
      flink_rest overview | grep -E "\"taskmanagers\":([$nodes-9]|[0-9]{2})" >/dev/null ;;
    flink-tm*) id=$(sed -n 's/^taskmanager.resource-id: //p' "$(flink_dir "$1")/conf/flink-conf.yaml")
      flink_rest taskmanagers | grep -F "\"$id\"" >/dev/null ;;
    flink-js | flink-local) flink_open "$(flink_port job)" ;;
  esac
}

flink_await() { # NODE BEGUN: waits until it is ready, and says how long that took since BEGUN (ms)
  local node=$1 begun=$2 dir; dir=$(flink_dir "$node")
  until flink_ready "$node"; do
    flink_pid "$node" >/dev/null ||
      { tail -5 "$dir/log" >&2; flink_fail "$node has ended while it started: read $dir/log"; return 1; }
    [ $(($(date +%s%3N) - begun)) -lt $((FLINK_WAIT * 1000)) ] ||
      { flink_fail "$node is not ready after $FLINK_WAIT s: read $dir/log"; return 1; }
    sleep 0.2
  done
  echo "$node ready after $(($(date +%s%3N) - begun)) ms, pid $(cat "$dir/pid")"
}

# Starts those nodes of a group that do not run, all at once, and waits until they are ready.
flink_start() {
  local nodes node begun started=; nodes=$(flink_nodes "${1:-flink}") || return
  flink_fetch || return
  begun=$(date +%s%3N)
  for node in $nodes; do
    if flink_pid "$node" >/dev/null; then
      echo "$node runs already, pid $(flink_pid "$node")"
    else
      flink_launch "$node" || return
      started="$started $node"
    fi
  done
  for node in $started; do flink_await "$node" "$begun" || return; done
}

# Ends the nodes of a group, by their pids: the job server first, the JobManager last.
flink_stop() {
  local nodes node pid i reversed=; nodes=$(flink_nodes "${1:-flink}") || return
  for node in $nodes; do reversed="$node $reversed"; done
  for node in $reversed; do
    { pid=$(flink_pid "$node") && kill "$pid" 2>/dev/null; } || true
  done
  for node in $reversed; do
    for ((i = 0; i < 100; i++)); do flink_pid "$node" >/dev/null || break; sleep 0.1; done
    { pid=$(flink_pid "$node") && kill -9 "$pid" 2>/dev/null; } || true
    rm -f "$(flink_dir "$node")/pid"
  done
  return 0
}

# Prints a line for each node of a group; fails if one does not run.
flink_status() {
  local nodes node pid result=0; nodes=$(flink_nodes "${1:-flink}") || return
  for node in $nodes; do
    if ! pid=$(flink_pid "$node"); then
      echo "$node stopped"; result=1
    elif flink_ready "$node"; then
      echo "$node ready, pid $pid, port $(flink_node_ports "$node" | cut -d' ' -f1), $(($(ps -o rss= -p "$pid") / 1024)) MB"
    else
      echo "$node starting, pid $pid"; result=1
    fi
  done
  return $result
}

# Ends a node with SIGKILL.
flink_kill() {
  local pid
  flink_nodes "$1" >/dev/null || return
  pid=$(flink_pid "$1") || { flink_fail "$1 does not run"; return 1; }
  kill -9 "$pid" || return
  while flink_pid "$1" >/dev/null; do sleep 0.05; done
}

# Starts a node again and waits until it is ready: a TaskManager is registered, a JobManager has its TaskManagers back.
flink_up() {
  flink_start "$1"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  case ${1:-} in
    fetch | start | stop | status | kill | up) "flink_$1" "${@:2}" ;;
    *) flink_fail "usage: flink.sh fetch|start|stop|status [flink|flink-local], or flink.sh kill|up NODE" ;;
  esac
fi
