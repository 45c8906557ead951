#!/usr/bin/env python3
"""Ranks the causes of recorded faults with `foreshock replay` and prints one JSON line a case.

  benches/root_cause.py CASES [--binary target/release/foreshock] [--config FILE] > RANKINGS
  benches/root_cause.py CASES --untriggered [--half 0|1] > RANKINGS

CASES/<dataset>/<case>/ holds the telemetry and a truth.json with inject_ms and eval_end_ms (what is later is not read).
As a rule the incident is opened at inject_ms with --trigger-ms, and the answer is its last version:
{"dataset": "...", "case": "...", "ranked": ["service", ...]}. The truth itself is not looked at.

With --untriggered the engine has to notice by itself. The answer is the last version of the first incident that opens from 60 s before
inject_ms on; a case without one is a miss. Incidents that open before that are false. A table of AC@1, AC@3, delays of detection and false
incidents an hour goes to standard error; --half takes every other case, so that one half can be left for checking.
"""
import argparse
import collections
import concurrent.futures
import json
import pathlib
import re
import statistics
import subprocess
import sys

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("cases", type=pathlib.Path)
parser.add_argument("--binary", default="target/release/foreshock")
parser.add_argument("--config", help="a configuration other than the defaults")
parser.add_argument("--untriggered", action="store_true")
parser.add_argument("--half", type=int, choices=[0, 1])
parser.add_argument("--dataset", help="only this one")
parser.add_argument("--jobs", type=int, default=1)
parser.add_argument("--verbose", action="store_true", help="say of each case what was opened")
arguments = parser.parse_args()

EARLY_MS = 60_000


def play(truth, folder):
    command = [arguments.binary, "replay", "--input", folder, "--output", "json", "--to", str(truth["eval_end_ms"])]
    if arguments.config:
        command += ["--config", arguments.config]
    if not arguments.untriggered:
        command += ["--trigger-ms", str(truth["inject_ms"])]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def start_ms(folder):
    """When the data begin: a trigger outside of them is refused with the time that they cover."""
    command = [arguments.binary, "replay", "--input", folder, "--trigger-ms", "0"]
    said = subprocess.run(command, capture_output=True, text=True).stderr
    return int(re.search(r"covers (\d+) to", said).group(1))


def untriggered(truth, folder):
    versions = play(truth, folder)
    first = [version for version in versions if version["version"] == 1]
    # What was split off an incident tells of the same anomalies.
    false = [v for v in first if v["updated_ms"] < truth["inject_ms"] - EARLY_MS and not v.get("split_from")]
    right = [v for v in first if v["updated_ms"] >= truth["inject_ms"] - EARLY_MS]
    last = [v for v in versions if right and v["incident"] == right[0]["incident"]]
    ranked = [cause["service"] for cause in last[-1]["root_causes"]] if last else []
    delay_s = (right[0]["updated_ms"] - truth["inject_ms"]) / 1000 if right else None
    hours = (truth["inject_ms"] - start_ms(folder)) / 3_600_000
    if arguments.verbose:
        cause = truth["root_cause_service"]
        place = ranked.index(cause) + 1 if cause in ranked else None
        print(f"{folder.parent.name}/{folder.name}: cause {cause} place {place} delay {delay_s} s first {ranked[:3]}", file=sys.stderr)
        for v in right[:1]:
            print(f"    opened: {v['title']} {v['services']}", file=sys.stderr)
        for v in false:
            at_s = (v["updated_ms"] - truth["inject_ms"]) / 1000
            print(f"    false at {at_s:.0f} s: {v['severity']} {v['title']} {v['services'][:6]}", file=sys.stderr)
    return ranked, {"cause": truth["root_cause_service"], "ranked": ranked, "delay_s": delay_s, "false": len(false), "hours": hours}


def triggered(truth, folder):
    versions = play(truth, folder)
    by_hand = {v["incident"] for v in versions if v["version"] == 1 and v["opened_ms"] == truth["inject_ms"]}
    last = [v for v in versions if v["incident"] in by_hand][-1]
    return [cause["service"] for cause in last["root_causes"]], None


def answer(path):
    truth = json.loads(path.read_text())
    return truth, (untriggered if arguments.untriggered else triggered)(truth, path.parent)


truths = sorted(arguments.cases.glob("*/*/truth.json"))
if arguments.half is not None:
    truths = truths[arguments.half :: 2]
if arguments.dataset:
    truths = [path for path in truths if path.parent.parent.name == arguments.dataset]
if not truths:
    sys.exit(f"no <dataset>/<case>/truth.json under {arguments.cases}")
outcomes = collections.defaultdict(list)
with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
    for i, (truth, (ranked, outcome)) in enumerate(pool.map(answer, truths)):
        print(json.dumps({"dataset": truth["dataset"], "case": truth["case"], "ranked": ranked}), flush=True)
        outcomes[truth["dataset"]].append(outcome)
        if sys.stderr.isatty():
            print(f"\r{i + 1} of {len(truths)}", end="", file=sys.stderr)

if arguments.untriggered:
    print(f"{'dataset':12}{'cases':>6}{'opened':>7}{'AC@1':>7}{'AC@3':>7}{'delay_s median':>15}{'max':>7}{'false':>6}{'an hour':>8}", file=sys.stderr)
    for dataset, cases in sorted(outcomes.items()):
        delays = [case["delay_s"] for case in cases if case["delay_s"] is not None]
        hit = [sum(case["cause"] in case["ranked"][:k] for case in cases) / len(cases) for k in (1, 3)]
        false, hours = sum(case["false"] for case in cases), sum(case["hours"] for case in cases)
        middle, most = (statistics.median(delays), max(delays)) if delays else (float("nan"), float("nan"))
        print(
            f"{dataset:12}{len(cases):6}{len(delays):7}{hit[0]:7.3f}{hit[1]:7.3f}{middle:15.0f}{most:7.0f}{false:6}{false / hours:8.2f}",
            file=sys.stderr,
        )
