"""Training beside the original: nets.Solver and Caffe's own solver on the same prototxts and the same LMDB store.

    python benchmarks/original.py --python /path/to/a/python/that/imports/caffe [--nets lenet,mlp] [--seconds 5]

The nets are those of benchmarks/train.py. The contenders take turns of about a second, each in its own process, both on
the CPU, with as many threads as OMP_NUM_THREADS says or as each likes best.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

sys.path[0] = str(Path(__file__).parents[1])  # a neighbour of this file is called as a package

from benchmarks.train import JOBS, our_steps, write_job  # noqa: E402
from benchmarks.turns import measure, place  # noqa: E402

# It runs in the other interpreter, which may be of Python 2.
ORIGINAL = """
import os, sys, time
os.environ.setdefault("GLOG_minloglevel", "2")
import caffe
caffe.set_mode_cpu()
solver = caffe.get_solver(sys.argv[1])
for line in iter(sys.stdin.readline, ""):
    start = time.time()
    solver.step(int(line))
    sys.stdout.write("%r\\n" % (time.time() - start))
    sys.stdout.flush()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="an interpreter that can import the original caffe")
    parser.add_argument("--nets", default=",".join(JOBS))
    parser.add_argument("--seconds", type=float, default=5, help="turns of about a second for each contender")
    args = parser.parse_args()
    device = torch.device("cpu")
    print(f"{place(device)}; steps a second")
    print(f"{'net':14} {'batch':>5} {'ours':>9} {'original':>9} {'ours/original':>14}")
    for net in args.nets.split(","):
        with tempfile.TemporaryDirectory() as folder:
            solver = write_job(net, Path(folder))
            contenders = {
                "ours": partial(our_steps, net, device),
                "original": [args.python, "-c", ORIGINAL, str(solver)],
            }
            speeds = measure(contenders, args.seconds)
        ours, original = speeds["ours"], speeds["original"]
        print(f"{net:14} {JOBS[net].batch:5} {ours:9.1f} {original:9.1f} {ours / original:14.2f}", flush=True)


if __name__ == "__main__":
    main()
