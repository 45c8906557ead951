# What the examples share: a folder of their own, an engine on loopback, and the end of everything that they started.
#
#   FORESHOCK  the binary; by default the one that cargo has built
#   BROKERS    Apache Kafka; by default .ci/kafka starts a node of its own, and it is stopped at the end

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
pids=()
patience_s=${PATIENCE:-90}

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*"; }
fail() {
  say "$*" >&2
  for log in "$work"/*.log; do
    printf '\n-- %s\n' "$(basename "$log")" >&2
    tail -n 15 "$log" >&2
  done
  exit 1
}
need() { command -v "$1" >/dev/null 2>&1 || fail "$1 is missing: $2"; }

finish() {
  local pid
  for pid in "${pids[@]}"; do
    kill "$pid" 2>/dev/null || true
  done
  for pid in "${pids[@]}"; do
    wait "$pid" 2>/dev/null || true
  done
  [ -z "${own_kafka:-}" ] || KAFKA_RUN=$own_kafka "$root/.ci/kafka" stop
  rm -rf "$work"
}
trap finish EXIT

# Starts a program in the background, with its output in NAME.log.
run() {
  local name=$1
  shift
  "$@" >"$work/$name.log" 2>&1 &
  pids+=($!)
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Waits until a command succeeds.
wait_until() {
  local what=$1
  shift
  local deadline=$((SECONDS + patience_s))
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || fail "not within $patience_s s: $what"
    sleep 0.3
  done
}

start_kafka() {
  if [ -z "${BROKERS:-}" ]; then
    own_kafka=$work/kafka
    BROKERS=$(KAFKA_RUN=$own_kafka "$root/.ci/kafka" start | tail -n 1)
  fi
}

# Creates topics, which .ci/kafka has the tools for.
create_topics() {
  local topic
  for topic in "$@"; do
    "$root/.ci/kafka" topic "$BROKERS" "$topic" || fail "the topic $topic could not be created"
  done
}

find_foreshock() {
  local target=${CARGO_TARGET_DIR:-$root/target}
  if [ -z "${FORESHOCK:-}" ]; then
    FORESHOCK=$target/release/foreshock
    [ -x "$FORESHOCK" ] || FORESHOCK=$target/debug/foreshock
  fi
  [ -x "$FORESHOCK" ] || fail "$FORESHOCK is missing: cargo build -p foreshock"
}

# Starts the engine on topics of its own. Takes the stanzas of sources and receivers.
start_engine() {
  local topic
  prefix=example-$$
  http=$(free_port)
  {
    printf 'kafka: { brokers: "%s", group: %s, start: earliest, partitions: 2 }\n' "$BROKERS" "$prefix"
    printf 'http: { listen: 127.0.0.1:%s }\ngrpc: { listen: 127.0.0.1:%s }\nstate: { location: null }\ntopics:\n' "$http" "$(free_port)"
    for topic in samples spans findings anomalies incidents alerts coverage; do
      printf '  %s: %s-out-%s\n' "$topic" "$prefix" "$topic"
    done
    printf '  dead_letter: %s-out-dead-letter\n%s\n' "$prefix" "$1"
  } >"$work/foreshock.yaml"
  "$FORESHOCK" validate -c "$work/foreshock.yaml" 2>"$work/validate.log" || fail "the configuration is wrong"
  run foreshock "$FORESHOCK" run -c "$work/foreshock.yaml"
  wait_until "the engine is ready" curl -fsS "http://127.0.0.1:$http/readyz"
}

# The value of a metric of the engine.
metric() {
  curl -fsS "http://127.0.0.1:$http/metrics" | awk -v name="$1" '$1 == name { print $2 }'
}

# Whether a metric of the engine is so large.
is_above() {
  local value
  value=$(metric "$1")
  awk -v value="${value:-0}" -v wanted="$2" 'BEGIN { exit !(value > wanted) }'
}

no_dead_letters() {
  [ "$(metric 'foreshock_dead_letters_total{worker="ingest"}')" = 0 ] || {
    "$FORESHOCK" dead-letter list -c "$work/foreshock.yaml" --limit 5 >&2
    fail "some records could not be read"
  }
}
