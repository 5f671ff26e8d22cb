#!/usr/bin/env bash
# The demo's prices and view on a real Kafka, Redis and Flink, all started here on loopback and ended with this script: see `make demo-flink`.
# On a terminal it stays at the end until Ctrl-C.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$PWD/.cache/demo-flink
# A set of engines of its own, beside those of the tests.
export ENGINES_DIR=$work/engines ENGINES_PORT_SHIFT=${ENGINES_PORT_SHIFT:-200}
engines=$PWD/loadtest/engines/engines
port() { echo $(($1 + ENGINES_PORT_SHIFT)); }
say() { printf '\n==> %s\n' "$*"; }

serve=
finish() {
	[[ -z $serve ]] || kill "$serve" 2>/dev/null || true
	"$engines" stop flink kafka redis
}
trap finish EXIT
trap 'exit 130' INT TERM

[[ -x bin/millrace && -x bin/millrace-beam ]] || { echo "build bin/millrace and bin/millrace-beam first: make build build-beam" >&2; exit 1; }
say "Kafka, Redis and Flink"
"$engines" clean kafka redis
"$engines" start kafka redis flink
mkdir -p "$work/project"
project=$work/project/stocks.yaml
{
	echo "kafka: {addresses: [127.0.0.1:$(port 19092)]}"
	echo "store: {redis: {addresses: [127.0.0.1:$(port 16379)]}}"
	echo "http: {listen: 127.0.0.1:$(port 18765)}"
	sed '/^models:/,$d' loadtest/stocks/stocks.yaml # the view, and not the loop
} >"$project"

say "millrace serve, and the pipeline as a job on Flink"
bin/millrace --log-level warn serve -p "$project" &
serve=$!
bin/millrace-beam run -p "$project" --endpoint "127.0.0.1:$(port 18099)" --rest "http://127.0.0.1:$(port 18081)" --parallelism 2 --detach
bin/millrace-beam status -p "$project" --rest "http://127.0.0.1:$(port 18081)"

say "thirteen years of prices of five stocks"
# The server is up as soon as it answers.
for _ in $(seq 100); do curl -fs -o /dev/null "http://127.0.0.1:$(port 18765)/healthz" && break; sleep 0.1; done
bin/millrace ingest -p "$project" loadtest/stocks/stocks_daily.csv

say "their features, when all days are in them"
# AAPL has traded on most of them: the last day of the file is in its features.
last=$(tail -n 1 loadtest/stocks/stocks_daily.csv | cut -d, -f2)
for _ in $(seq 300); do
	bin/millrace features get daily AAPL -p "$project" --json 2>/dev/null | grep -q "$last" && break
	sleep 0.1
done
bin/millrace features get daily AAPL IBM MSFT -p "$project"
# Flink's counters come a few seconds later.
for _ in $(seq 15); do
	bin/millrace-beam status -p "$project" --rest "http://127.0.0.1:$(port 18081)" | grep -Eq '^applied +[1-9]' && break
	sleep 1
done
bin/millrace-beam status -p "$project" --rest "http://127.0.0.1:$(port 18081)"

if [[ -t 1 ]]; then
	say "Flink's own page is http://127.0.0.1:$(port 18081); features are at http://127.0.0.1:$(port 18765). Ctrl-C ends it all."
	wait "$serve"
fi
