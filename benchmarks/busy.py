"""Training on a machine that has other work: as it comes, and with the wait that GNU's OpenMP has of itself.

    python benchmarks/busy.py [--nets mlp,lenet] [--busy 1] [--seconds 5]

The nets are those of benchmarks/train.py, by nets.Solver on all cores. The contenders take turns of about a second,
each in its own process, beside as many endless loops as --busy says.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

sys.path[0] = str(Path(__file__).parents[1])  # a neighbour of this file is called as a package

from benchmarks.train import JOBS, write_job  # noqa: E402
from benchmarks.turns import measure, place  # noqa: E402

PROGRAM = """
import logging, sys, time
import nets
logging.disable(logging.INFO)
solver = nets.Solver.load(sys.argv[1], "cpu")
for line in iter(sys.stdin.readline, ""):
    start = time.perf_counter()
    solver.step(int(line))
    print(time.perf_counter() - start, flush=True)
"""
AS_OF_ITSELF = "GOMP_SPINCOUNT=300000"
LOOP = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()  # it ends with the one who started it
while True:
    pass
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="mlp,lenet")
    parser.add_argument("--busy", type=int, default=1, help="endless loops beside it")
    parser.add_argument("--seconds", type=float, default=5, help="turns of about a second for each contender")
    args = parser.parse_args()
    print(f"{place(torch.device('cpu'))}, {args.busy} busy; steps a second")
    print(f"{'net':14} {'batch':>5} {'as it comes':>12} {'long waits':>12}")
    loops = [
        subprocess.Popen([sys.executable, "-c", LOOP], stdin=subprocess.PIPE, start_new_session=True)
        for _ in range(args.busy)
    ]
    try:
        for net in args.nets.split(","):
            with tempfile.TemporaryDirectory() as folder:
                call = [sys.executable, "-c", PROGRAM, str(write_job(net, Path(folder)))]
                plain = ["env", "-u", "GOMP_SPINCOUNT", f"PYTHONPATH={sys.path[0]}"]
                speeds = measure({"ours": [*plain, *call], "long": [*plain, AS_OF_ITSELF, *call]}, args.seconds)
            print(f"{net:14} {JOBS[net].batch:5} {speeds['ours']:12.1f} {speeds['long']:12.1f}", flush=True)
    finally:
        for loop in loops:
            loop.kill()


if __name__ == "__main__":
    main()
