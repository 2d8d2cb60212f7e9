"""Nets and solvers begin without PyTorch's compiler, which takes more than a second to load."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BEGIN = """
import sys
import nets
from protos import text
from tests.nets.cases import CASES

# Rare ones, whose shapes are found by a run on meta tensors, or which hold functions that compiled nets do not follow.
LOAD_IT = {
    "BoxAnnotatorOHEM", "ChannelNorm", "ConstantPad", "Correlation", "Downsample", "FlowWarp", "GRU", "HDF5Output",
    "LabelsequenceAccuracy", "LocallyConnected", "Local", "MarginInnerProduct", "PSROIPooling", "Pad", "PeepholeLSTM",
    "Pooling3D", "Python", "RegionPooling", "Resample", "ResizeBilinear", "ResizeNearestNeighbor", "SegAccuracy",
    "SimpleRNN", "SpatialTransformer", "StridedSlice", "Upscale", "WindowPooling", "WinnerTakeAll",
}

def check(what):
    assert not {"sympy", "torch._dynamo"} & {*sys.modules}, what
"""
LAYERS = """
types = set()
for case in CASES:
    kinds = [layer.type for layer in case.param.layer if layer.type != "Input"]
    if len(kinds) == 1 and kinds[0] not in LOAD_IT:
        nets.load(case.param, phase=case.phase)
        check(case.name)
        types |= {*kinds}
print(*sorted(types))
"""
SOLVERS = """
SOLVER = '''net_param {
  layer { name: "in" type: "DummyData" top: "x" top: "t" dummy_data_param {
    shape { dim: 4 dim: 3 } shape { dim: 4 } data_filler { type: "gaussian" } data_filler { value: 1 } } }
  layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {
    num_output: 2 weight_filler { type: "xavier" } } }
  layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }
  layer { name: "drop" type: "Dropout" bottom: "y" top: "y" }
  layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "t" top: "loss" }
}
base_lr: 0.1 lr_policy: "fixed" momentum: %s delta: 1e-4 test_iter: 2 test_interval: 2 solver_mode: CPU type: "%s"'''
for kind in ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"):
    momentum = 0 if kind in ("AdaGrad", "RMSProp") else 0.9
    solver = nets.Solver.load(text.parse_solver(SOLVER % (momentum, kind)))
    solver.step(5)
    check(kind)
    print(kind, solver.iter)
"""


def output(script):
    made = subprocess.run([sys.executable, "-c", BEGIN + script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert made.returncode == 0, made.stderr
    return made.stdout.split()


def test_layers_load_without_the_compiler():
    assert len(output(LAYERS)) > 70


def test_solvers_train_and_test_without_the_compiler():
    assert output(SOLVERS)[-2:] == ["Adam", "5"]
