#!/usr/bin/env bash
# rsyslog writes the lines that it gets to Kafka, as syslog of RFC 5424, and Foreshock reads them (Debian: rsyslog-kafka, curl).
#
#   logger ─▶ rsyslog ─▶ Apache Kafka ─▶ foreshock
set -euo pipefail
. "$(dirname "$0")/common.sh"
need rsyslogd "install Debian's rsyslog and rsyslog-kafka"
need logger "install Debian's bsdutils"
need curl "install Debian's curl"

find_foreshock
start_kafka
topic=example-$$-syslog
create_topics "$topic"
start_engine "sources: [{ topic: $topic, signal: logs, encoding: plain }]"

port=$(free_port)
cat >"$work/rsyslog.conf" <<CONF
global(workDirectory="$work")
module(load="imtcp")
module(load="omkafka")
input(type="imtcp" address="127.0.0.1" port="$port")
action(type="omkafka" broker="$BROKERS" topic="$topic" template="RSYSLOG_SyslogProtocol23Format" confParam=["linger.ms=50"])
CONF
run rsyslog rsyslogd -n -f "$work/rsyslog.conf" -i "$work/rsyslog.pid"
wait_until "rsyslog listens" bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"

lines=200
for number in $(seq $lines); do
  printf 'request %s took %s ms\n' "$number" "$((number % 17))"
done | logger --server 127.0.0.1 --port "$port" --tcp --rfc5424 --tag checkout --priority local0.warning
wait_until "the lines are read" is_above 'foreshock_records_total{worker="ingest"}' $((lines - 1))
no_dead_letters
say "$(metric 'foreshock_records_total{worker="ingest"}') lines read"
"$FORESHOCK" inspect "$topic" -c "$work/foreshock.yaml" | tee "$work/inspected"
grep -q '^services .*checkout' "$work/inspected" || fail "the service checkout is not found in the lines"
