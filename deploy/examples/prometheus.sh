#!/usr/bin/env bash
# Prometheus scrapes a node exporter and writes all of it to Foreshock's door (Debian: prometheus, prometheus-node-exporter, curl).
#
#   node exporter ─▶ prometheus ─▶ /api/v1/write of foreshock ─▶ Apache Kafka ─▶ foreshock
set -euo pipefail
. "$(dirname "$0")/common.sh"
need prometheus "install Debian's prometheus"
need prometheus-node-exporter "install Debian's prometheus-node-exporter"
need curl "install Debian's curl"

find_foreshock
start_kafka
door=$(free_port)
topic=example-$$-prometheus
create_topics "$topic"
printf 'a token of the example\n' >"$work/token"
start_engine "sources: [{ topic: $topic, signal: metrics, encoding: prometheus_remote_write }]
receivers: { http: 127.0.0.1:$door, token_file: $work/token }"

exporter=$(free_port)
run exporter prometheus-node-exporter "--web.listen-address=127.0.0.1:$exporter"
cat >"$work/prometheus.yml" <<YAML
global: { scrape_interval: 1s }
scrape_configs:
  - { job_name: node, static_configs: [{ targets: ["127.0.0.1:$exporter"] }] }
remote_write:
  - url: http://127.0.0.1:$door/api/v1/write
    authorization: { credentials_file: $work/token }
    queue_config: { batch_send_deadline: 1s }
YAML
run prometheus prometheus "--config.file=$work/prometheus.yml" "--storage.tsdb.path=$work/tsdb" \
  "--web.listen-address=127.0.0.1:$(free_port)"

wait_until "samples arrive at the door" is_above 'foreshock_receiver_items_total{door="remote_write"}' 2000
wait_until "the series are modelled" is_above 'foreshock_series{worker="series"}' 200
no_dead_letters
say "$(metric 'foreshock_receiver_items_total{door="remote_write"}') samples received, $(metric 'foreshock_series{worker="series"}') series modelled"
"$FORESHOCK" inspect "$topic" -c "$work/foreshock.yaml"
