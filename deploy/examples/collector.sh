#!/usr/bin/env bash
# An OpenTelemetry Collector reads this host, a log file and OTLP, and writes all three signals to Kafka, where Foreshock reads them.
# The Collector is built from its modules by Go and kept in COLLECTOR_DIR (by default .collector, which git ignores); that takes minutes.
#
#   host metrics, file logs, OTLP ─▶ otelcol ─▶ Apache Kafka ─▶ foreshock
set -euo pipefail
. "$(dirname "$0")/common.sh"
need curl "install Debian's curl"

version=v0.165.0
build=${COLLECTOR_DIR:-$root/.collector}
if [ ! -x "$build/otelcol-kafka" ]; then
  need go "install Go"
  say "building the Collector in $build"
  mkdir -p "$build"
  { sed "s|^dist:|dist:\n  output_path: $build|" "$root/deploy/examples/collector.builder.yaml"; } >"$work/builder.yaml"
  # The builder's own compilation also wants what only tests of the modules need, so only its sources are taken.
  (cd "$work" && go run "go.opentelemetry.io/collector/cmd/builder@$version" --config builder.yaml \
    --skip-get-modules --skip-compilation) >"$work/builder.log" 2>&1 || fail "the sources could not be made"
  modules=$(sed -n 's/^  - gomod: \(.*\) \(v.*\)/\1@\2/p' "$work/builder.yaml")
  # shellcheck disable=SC2086
  (cd "$build" && rm -f go.mod go.sum && go mod init foreshock.example/otelcol-kafka && go get $modules &&
    GOFLAGS=-mod=mod go build -trimpath -ldflags "-s -w" -o otelcol-kafka .) >"$work/go.log" 2>&1 ||
    fail "the Collector could not be built"
fi

find_foreshock
start_kafka
prefix=example-$$
create_topics "$prefix-metrics" "$prefix-logs" "$prefix-spans"
start_engine "sources:
  - { topic: $prefix-metrics, signal: metrics, encoding: otlp_proto }
  - { topic: $prefix-logs, signal: logs, encoding: otlp_proto }
  - { topic: $prefix-spans, signal: spans, encoding: otlp_proto }"

otlp=$(free_port)
for number in $(seq 100); do
  printf '%s ERROR payment %s was refused\n' "$(date -u +%FT%TZ)" "$number"
done >"$work/shop.txt"
cat >"$work/collector.yaml" <<YAML
receivers:
  hostmetrics: { collection_interval: 1s, scrapers: { cpu: {}, memory: {}, load: {} } }
  filelog: { include: ["$work/shop.txt"], start_at: beginning, resource: { service.name: shop } }
  otlp: { protocols: { http: { endpoint: "127.0.0.1:$otlp" } } }
processors:
  resource: { attributes: [{ key: service.name, value: host, action: insert }] }
exporters:
  kafka:
    brokers: ["$BROKERS"]
    metrics: { topic: $prefix-metrics }
    logs: { topic: $prefix-logs }
    traces: { topic: $prefix-spans }
service:
  telemetry: { metrics: { level: none } }
  pipelines:
    metrics: { receivers: [hostmetrics, otlp], processors: [resource], exporters: [kafka] }
    logs: { receivers: [filelog, otlp], processors: [resource], exporters: [kafka] }
    traces: { receivers: [otlp], processors: [resource], exporters: [kafka] }
YAML
run collector "$build/otelcol-kafka" --config "$work/collector.yaml"
wait_until "the Collector listens" bash -c "exec 3<>/dev/tcp/127.0.0.1/$otlp"

now_s=$(date +%s)
span='{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"pay","kind":2'
curl -fsS -H 'content-type: application/json' "http://127.0.0.1:$otlp/v1/traces" -d "{\"resourceSpans\":[{\"resource\":{\"attributes\":[
  {\"key\":\"service.name\",\"value\":{\"stringValue\":\"shop\"}}]},\"scopeSpans\":[{\"spans\":[
  $span,\"startTimeUnixNano\":\"${now_s}000000000\",\"endTimeUnixNano\":\"${now_s}200000000\"}]}]}]}" >"$work/otlp.log"

wait_until "host metrics are modelled" is_above 'foreshock_series{worker="series"}' 10
no_dead_letters
for signal in metrics logs spans; do
  printf '\n'
  "$FORESHOCK" inspect "$prefix-$signal" -c "$work/foreshock.yaml" | tee "$work/inspected"
  grep -q "^format .*otlp_proto in .* of $signal" "$work/inspected" || fail "no $signal as otlp_proto on $prefix-$signal"
done
say "metrics, logs and spans are read"
