#!/usr/bin/env python3
"""Lines per second of Drain3 from PyPI (`pip install drain3`), over the lines that log-templates-bench --lines-out wrote.

  benches/log_templates/drain3_python.py LINES [--lines-max N] [--rounds N]

Prints the median of the rounds, in million lines a second of processor time, with Drain3's defaults and with its usual masks.
"""
import argparse
import itertools
import logging
import statistics
import time

from drain3 import TemplateMiner
from drain3.masking import MaskingInstruction
from drain3.template_miner_config import TemplateMinerConfig

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("lines")
parser.add_argument("--lines-max", type=int, default=48_000)
parser.add_argument("--rounds", type=int, default=3)
arguments = parser.parse_args()
logging.disable(logging.INFO)

with open(arguments.lines, encoding="utf-8") as handle:
    lines = [line.rstrip("\n") for line in itertools.islice(handle, arguments.lines_max)]

# Those of the example configuration of Drain3.
MASKS = [
    (r"((?<=[^A-Za-z0-9])|^)(([0-9a-f]{2,}:){3,}([0-9a-f]{2,}))((?=[^A-Za-z0-9])|$)", "ID"),
    (r"((?<=[^A-Za-z0-9])|^)(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})((?=[^A-Za-z0-9])|$)", "IP"),
    (r"((?<=[^A-Za-z0-9])|^)([0-9a-f]{6,} ?){3,}((?=[^A-Za-z0-9])|$)", "SEQ"),
    (r"((?<=[^A-Za-z0-9])|^)([0-9A-F]{4} ?){4,}((?=[^A-Za-z0-9])|$)", "SEQ"),
    (r"((?<=[^A-Za-z0-9])|^)(0x[a-f0-9A-F]+)((?=[^A-Za-z0-9])|$)", "HEX"),
    (r"((?<=[^A-Za-z0-9])|^)([\-\+]?\d+)((?=[^A-Za-z0-9])|$)", "NUM"),
]

for name, masks in (("Drain3", []), ("Drain3, 6 masks", MASKS)):
    speeds = []
    for _ in range(arguments.rounds):
        config = TemplateMinerConfig()
        config.masking_instructions = [MaskingInstruction(pattern, mask) for pattern, mask in masks]
        miner = TemplateMiner(config=config)
        begun = time.process_time()
        for line in lines:
            miner.add_log_message(line)
        speeds.append(len(lines) / (time.process_time() - begun) / 1e6)
    print(f"{name:<22}{statistics.median(speeds):>12.4f}   of {len(lines)} lines, median of {arguments.rounds}")
