#!/usr/bin/env python3
"""Time a sample of River's half-space trees on the series of benches/detectors, for comparison with it in one run.

  benches/half_space_trees.py [--series 5] [--points 2000]

Needs river (pip install river). The trees have River's defaults (10 trees of height 8, windows of 250) behind a scaler, one
model a series: score first, learn second. Prints the median over rounds in ns a sample, and the size of the pickled model.
"""
import argparse
import math
import pickle
import random
import statistics
import time

from river import anomaly, compose, preprocessing

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--series", type=int, default=5)
parser.add_argument("--points", type=int, default=2000)
arguments = parser.parse_args()

noise = random.Random(1)
values = [
    [100 + 40 * math.sin(i / 288 * math.tau) + 10 * noise.triangular(-1, 1) for i in range(arguments.points)]
    for _ in range(arguments.series)
]
models = [
    compose.Pipeline(preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(seed=1)) for _ in range(arguments.series)
]
rounds, length = [], 100
for start in range(0, arguments.points - length + 1, length):
    begin = time.perf_counter()
    for i in range(start, start + length):
        for model, series in zip(models, values):
            point = {"value": series[i]}
            model.score_one(point)
            model.learn_one(point)
    rounds.append((time.perf_counter() - begin) * 1e9 / (length * arguments.series))
print(f"half-space trees of River: {statistics.median(rounds):.0f} ns a sample, {len(pickle.dumps(models[0]))} bytes a series")
