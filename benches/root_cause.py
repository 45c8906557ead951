#!/usr/bin/env python3
"""Ranks the causes of recorded faults with `foreshock replay --trigger-ms` and prints one JSON line a case.

  benches/root_cause.py CASES [--binary target/release/foreshock] > RANKINGS

CASES/<dataset>/<case>/ holds the telemetry and a truth.json with inject_ms (the trigger) and eval_end_ms (what is later is
not read). The answer is the last version of the incident opened by the trigger:
{"dataset": "...", "case": "...", "ranked": ["service", ...]}. The truth itself is not looked at.
"""
import argparse
import json
import pathlib
import subprocess
import sys

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("cases", type=pathlib.Path)
parser.add_argument("--binary", default="target/release/foreshock")
arguments = parser.parse_args()

truths = sorted(arguments.cases.glob("*/*/truth.json"))
if not truths:
    sys.exit(f"no <dataset>/<case>/truth.json under {arguments.cases}")
for i, path in enumerate(truths):
    truth = json.loads(path.read_text())
    command = [arguments.binary, "replay", "--input", path.parent, "--output", "json"]
    command += ["--trigger-ms", str(truth["inject_ms"]), "--to", str(truth["eval_end_ms"])]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    incidents = [json.loads(line) for line in lines]
    by_hand = {v["incident"] for v in incidents if v["version"] == 1 and v["opened_ms"] == truth["inject_ms"]}
    last = [v for v in incidents if v["incident"] in by_hand][-1]
    ranked = [cause["service"] for cause in last["root_causes"]]
    print(json.dumps({"dataset": truth["dataset"], "case": truth["case"], "ranked": ranked}), flush=True)
    if sys.stderr.isatty():
        print(f"\r{i + 1} of {len(truths)}", end="", file=sys.stderr)
