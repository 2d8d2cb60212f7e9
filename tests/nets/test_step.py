"""A training iteration: eager and, where there is a GPU, as a replayed CUDA graph."""

import logging
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from PIL import Image

import nets
from nets.step import EAGER_FIRST, Options
from protos import text
from protos.schema import SolverParameter
from tests.nets.conftest import GOLDEN

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CASES = sorted(path.parent.name for path in GOLDEN.glob("*/trace.npz"))


def trained(case: str, device: str, options: Options, iterations: int = 20) -> nets.Solver:
    param = text.read_solver(Path(case) / "solver.prototxt")
    param.snapshot = 0
    solver = nets.Solver(param, device, options=options)
    solver.load_weights(f"{case}/init.caffemodel")
    solver.step(iterations)
    return solver


@needs_gpu
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_trace_on_a_gpu(case: str, graph: bool, work: Path) -> None:
    solver = trained(case, "cuda", Options(graph=graph))
    trace = np.load(GOLDEN / case / "trace.npz")
    np.testing.assert_allclose(solver.losses, trace["loss"], rtol=1e-3, atol=1e-4)
    assert (solver._step._graph is not None) == (graph and solver.param.iter_size == 1)


@needs_gpu
def test_graph_draws_new_dropout_masks(work: Path) -> None:
    net = work / "adam" / "net.prototxt"
    drop = 'layer { name: "drop" type: "Dropout" bottom: "ip1" top: "ip1" }\n'
    net.write_text(net.read_text().replace('layer { name: "accuracy"', drop + 'layer { name: "accuracy"'))
    param = text.read_solver("adam/solver.prototxt")
    param.snapshot, param.base_lr = 0, 1e-12
    solver = nets.Solver(param, "cuda")
    solver.step(EAGER_FIRST + 4)
    outputs = []
    for _ in range(2):
        solver.inputs.restore([{**cursor, "batches": 0} for cursor in solver.inputs.state()])
        solver.step(1)
        outputs.append(solver.losses[-1])
    assert outputs[0] != outputs[1]


MIXED = """
layer { name: "data" type: "ImageData" top: "data" top: "label" image_data_param { source: "list.txt" batch_size: 1 } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "constant" value: 0.01 } } }
layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { pool: AVE global_pooling: true } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "p" bottom: "label" top: "loss" }
"""


@needs_gpu
def test_batches_of_other_shapes_end_the_graph_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, logger="caffe")
    draw = np.random.default_rng(0)
    heights = [20] * 5 + [24, 20]
    for i, height in enumerate(heights):
        Image.fromarray(draw.integers(0, 255, (height, 24, 3), np.uint8)).save(f"{i}.png")
    Path("list.txt").write_text("".join(f"{i}.png {i % 4}\n" for i in range(len(heights))))
    param = SolverParameter(net_param=text.parse_net(MIXED), base_lr=0.001, momentum=0.9, lr_policy="fixed")
    solvers = [nets.Solver(param, "cuda", options=Options(graph=graph)) for graph in (True, False)]
    for solver in solvers:
        solver.step(EAGER_FIRST + 11)
    np.testing.assert_allclose(solvers[0].losses, solvers[1].losses, rtol=1e-5)
    assert len([line for line in caplog.messages if "CUDA graph from now on" in line]) == 1


def test_a_graph_is_ruled_out_with_its_reasons(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The rule by itself, as it is asked on a GPU."""
    caplog.set_level(logging.INFO, logger="caffe")
    solver = trained("sgd_multistep_itersize", "cpu", Options(), 1)
    caplog.clear()
    solver._step._device = torch.device("cuda")
    solver.param.debug_info = True
    assert not solver._step._can_capture(solver.net, solver.param)
    assert caplog.messages == [
        "Running without a CUDA graph, because iter_size is above 1 and debug_info reads every blob"
    ]


class Capture:
    """Stands in for torch.cuda.graph: its end is an error of its own where the capture went wrong."""

    def __init__(self, graph: object) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            raise torch.AcceleratorError("operation failed due to a previous error during capture")


def test_a_capture_that_fails_ends_in_eager_training(
    work: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What goes on around it, as on a GPU: the stream and the generator are put back, and the log says why."""
    before, generator = SimpleNamespace(device_index=0), MagicMock()
    graph, put_back = MagicMock(), MagicMock()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: before)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    monkeypatch.setattr(torch.cuda, "set_stream", put_back)
    monkeypatch.setattr(torch.cuda, "default_generators", (generator,))
    solver = trained("adam", "cpu", Options(), 2)

    def waits(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    hook = solver.net.layer("ip1").register_forward_pre_hook(waits)
    assert solver._step._captured(0.001) is None
    hook.remove()
    put_back.assert_called_once_with(before)
    graph.reset.assert_called_once_with()
    generator.graphsafe_set_state.assert_called_once_with(generator.clone_state())
    said = "Running without a CUDA graph, because capturing one failed: layer 'ip1' (InnerProduct) with bottoms"
    assert [line for line in caplog.messages if said in line and "operation not permitted" in line]
    solver.step(3)
    assert solver.losses == trained("adam", "cpu", Options(), 5).losses


@needs_gpu
def test_training_goes_on_where_a_capture_fails(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = work / "adam" / "net.prototxt"
    drop = 'layer { name: "drop" type: "Dropout" bottom: "ip1" top: "ip1" }\n'
    net.write_text(net.read_text().replace('layer { name: "accuracy"', drop + 'layer { name: "accuracy"'))
    solver = trained("adam", "cuda", Options(), 0)
    stream = torch.cuda.current_stream()
    solver.net.layer("ip1").register_forward_pre_hook(lambda _, bottoms: bottoms[0].sum().item() and None)
    solver.step(EAGER_FIRST + 5)
    assert solver._step._graph is None
    assert any("capturing one failed" in line for line in caplog.messages)
    assert torch.cuda.current_stream() == stream
    assert np.isfinite(solver.losses).all()


def test_deterministic_repeats_bit_for_bit(work: Path) -> None:
    try:
        first = trained("adam", "cpu", Options(deterministic=True)).losses
        assert trained("adam", "cpu", Options(deterministic=True)).losses == first
    finally:
        torch.use_deterministic_algorithms(False)
