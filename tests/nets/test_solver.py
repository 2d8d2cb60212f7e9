"""The solver against the original's traces, and what it does between iterations."""

import gc
import logging
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import nets
from data.labelled import LabelledSource
from nets.graph import build
from nets.inputs import Inputs
from nets.settings import choose_device, snapshot_prefix
from nets.solver import Action
from nets.step import Options
from nets.trace import Trace
from protos import text
from protos.errors import CaffeError, NetError, WeightsError
from protos.schema import SolverParameter
from tests.nets.conftest import GOLDEN

CASES = sorted(path.parent.name for path in GOLDEN.glob("*/trace.npz"))
Make = Callable[..., nets.Solver]


@pytest.fixture
def make(work: Path) -> Make:
    def made(case: str = "sgd_momentum_inv", **fields: object) -> nets.Solver:
        param = text.read_solver(Path(case) / "solver.prototxt")
        param.snapshot = 0
        param.snapshot_prefix = "out/snap"
        for name, value in fields.items():
            if isinstance(value, list):
                getattr(param, name)[:] = value
            else:
                setattr(param, name, value)
        solver = nets.Solver(param, "cpu")
        solver.load_weights(f"{case}/init.caffemodel")
        return solver

    return made


def blob(solver: nets.Solver, key: str) -> np.ndarray:
    _, layer, index = key.split("/")
    return solver.net.layer(layer).blobs[int(index)].detach().numpy()


def test_a_path_in_the_place_of_a_message_is_pointed_out() -> None:
    with pytest.raises(TypeError, match=r"nets\.Solver\.load\('solver\.prototxt'\) reads a file"):
        nets.Solver("solver.prototxt")  # type: ignore[arg-type]  # what scripts for pycaffe do


@pytest.mark.parametrize("rule", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_a_net_with_nothing_to_learn_only_runs(rule: str, make: Make) -> None:
    net = text.read_net("sgd_fixed/net.prototxt")
    for layer in net.layer:
        if layer.type in ("Convolution", "InnerProduct"):
            layer.ClearField("param")
            layer.param.add(lr_mult=0)
            layer.param.add(lr_mult=0)
    solver = nets.Solver(SolverParameter(net_param=net, type=rule, base_lr=0.1, lr_policy="fixed", iter_size=2), "cpu")
    before = [blob.clone() for blob in solver.net.parameters()]
    solver.step(3)
    assert solver.iter == 3
    assert all(torch.equal(old, new) for old, new in zip(before, solver.net.parameters(), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_trace_of_the_original(case: str, make: Make) -> None:
    trace = np.load(GOLDEN / case / "trace.npz")
    solver = make(case)
    solver.step(20)
    np.testing.assert_allclose(solver.losses, trace["loss"], rtol=1e-4, atol=1e-5)
    for key in (key for key in trace.files if key.startswith("param/")):
        np.testing.assert_allclose(blob(solver, key), trace[key], rtol=1e-4, atol=1e-4, err_msg=key)
    result = solver.test()[0]
    np.testing.assert_allclose([result["accuracy"], result["loss"]], trace["test"], rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_resume_from_the_original(case: str, make: Make) -> None:
    trace = np.load(GOLDEN / case / "trace.npz")
    solver = make(case)
    (state,) = Path(case).glob("snap_iter_12.solverstate*")
    solver.restore(state)
    assert solver.iter == 12
    solver.step(8)
    np.testing.assert_allclose(solver.losses, trace["loss"][12:], rtol=1e-4, atol=1e-5)


DROPOUT = """
layer { name: "drop" type: "Dropout" bottom: "ip1" top: "ip1" }
layer { name: "accuracy\""""


@pytest.mark.parametrize("ending", ["BINARYPROTO", "HDF5"])
@pytest.mark.parametrize("at", [1, 7, 15])
def test_resume_is_exact(ending: str, at: int, make: Make) -> None:
    """Weights, history, dropout's random state, cursors of training and test data: all bit for bit."""
    net = Path("adam/net.prototxt")
    net.write_text(net.read_text().replace('layer { name: "accuracy"', DROPOUT.strip("\n")))
    fields = {"snapshot_format": SolverParameter.SnapshotFormat.Value(ending), "test_interval": 4, "average_loss": 3}
    unbroken = make("adam", **fields)
    unbroken.step(20)
    first = make("adam", **fields)
    first.step(at)
    state = first.snapshot()
    torch.manual_seed(99)
    second = make("adam", **fields)
    second.restore(state)
    second.step(20 - at)
    assert second.losses == unbroken.losses[at:]
    for a, b in zip(unbroken.net.learnable, second.net.learnable, strict=True):
        assert torch.equal(a.tensor, b.tensor)
    assert second.test() == unbroken.test()


SEQUENCES = """
layer { name: "data" type: "Data" top: "data" top: "label" data_param { source: "digits_lmdb" batch_size: 12 } }
layer { name: "x" type: "Reshape" bottom: "data" top: "x" reshape_param { shape { dim: 3 dim: 4 dim: -1 } } }
layer { name: "y" type: "Reshape" bottom: "label" top: "y" reshape_param { shape { dim: 3 dim: 4 } } }
layer { name: "c" type: "DummyData" top: "c" dummy_data_param { shape { dim: 3 dim: 4 }
  data_filler { type: "constant" value: 1 } } }
layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "c" top: "h"
  recurrent_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "ip" type: "InnerProduct" bottom: "h" top: "ip"
  inner_product_param { num_output: 10 axis: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "loss" softmax_param { axis: 2 } }
"""


@pytest.mark.parametrize("ending", ["BINARYPROTO", "HDF5"])
def test_sequences_go_on_where_they_were(ending: str, work: Path) -> None:
    """What a recurrent layer carries from batch to batch, in training and testing, is part of the state."""
    fields = f'base_lr: 0.1 lr_policy: "fixed" random_seed: 3 test_iter: 2 test_interval: 2 snapshot_format: {ending}'
    param = text.parse_solver(f"net_param {{ {SEQUENCES} }} {fields}")
    first, second = nets.Solver(param, "cpu"), nets.Solver(param, "cpu")
    first.step(3)
    second.step(5)  # in the middle of something else
    second.restore(first.snapshot())
    first.step(4)
    second.step(4)
    assert second.losses[5:] == first.losses[3:]
    assert second.test() == first.test()
    carried = [solver.net.layer("lstm").carried for solver in (first, second)]
    assert all(torch.equal(a, b) for a, b in zip(*carried, strict=True))


MARGIN = """
layer { name: "data" type: "Data" top: "data" top: "label" data_param { source: "digits_lmdb" batch_size: 4 } }
layer { name: "m" type: "MarginInnerProduct" bottom: "data" bottom: "label" top: "m" top: "lambda"
  margin_inner_product_param { num_output: 10 type: DOUBLE base: 9 gamma: 1 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "m" bottom: "label" top: "loss" }
"""


def test_a_margin_counts_its_passes_on(work: Path) -> None:
    fields = 'base_lr: 0.001 lr_policy: "fixed" random_seed: 3'
    param = text.parse_solver(f"net_param {{ {MARGIN} }} {fields}")
    first, second = nets.Solver(param, "cpu"), nets.Solver(param, "cpu")
    first.step(3)
    second.step(1)
    second.restore(first.snapshot())
    first.step(2)
    second.step(2)
    assert second.losses[1:] == first.losses[3:]
    assert float(second.net.layer("m").carried[0]) == 5


def test_a_state_of_the_original_is_gone_on_from_whatever_ran_before(make: Make) -> None:
    solver = make("adam")
    solver.step(5)
    solver.restore("adam/snap_iter_12.solverstate")
    solver.step(8)
    np.testing.assert_allclose(solver.losses[5:], np.load(GOLDEN / "adam/trace.npz")["loss"][12:], rtol=1e-4, atol=1e-5)


def test_log_lines_are_the_originals(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Every line of the original's log from "Solving" on, figures included, but for speeds and times."""
    caplog.set_level(logging.INFO, logger="caffe")
    solver = make(display=2, test_interval=5, snapshot=12, snapshot_after_train=True, test_initialization=True)
    solver.solve()
    ours = [message for message in caplog.messages if "Finetuning" not in message]
    ours = ours[ours.index("Solving digits") :]
    log = (GOLDEN.parent / "formats" / "train.log").read_text().splitlines()
    theirs = [line.split("] ", 1)[1] for line in log if "] " in line]
    theirs = theirs[theirs.index("Solving digits") :]
    skipped = ("Waiting for data", "Restarting data prefetching", "Snapshotting", "Ignoring source layer")

    def timeless(lines: list[str]) -> list[str]:
        kept = [line for line in lines if not line.startswith(skipped)]
        return [re.sub(r" \(\S+ iter/s, \S+s/", " (# iter/s, #s/", line) for line in kept]

    assert timeless(ours) == timeless(theirs[:-1])  # the last line is the command's


def test_snapshots_are_whole_and_named_after_the_iteration(make: Make) -> None:
    solver = make(snapshot=5)
    solver.step(10)
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "snap_iter_10.caffemodel", "snap_iter_10.solverstate", "snap_iter_5.caffemodel", "snap_iter_5.solverstate",
    ]  # fmt: skip


def test_stop_ends_after_the_iteration_and_solve_snapshots(make: Make) -> None:
    solver = make(snapshot_after_train=True)
    solver.poll = lambda: Action.STOP if solver.iter == 3 else Action.NONE
    solver.solve()
    assert solver.iter == 3
    assert Path("out/snap_iter_3.solverstate").exists()


def test_snapshot_on_request_goes_on(make: Make) -> None:
    solver = make()
    solver.poll = lambda: Action.SNAPSHOT if solver.iter == 3 else Action.NONE
    solver.step(5)
    assert solver.iter == 5
    assert Path("out/snap_iter_3.solverstate").exists()


def test_a_loss_that_is_no_number_is_warned_of_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    solver = make()
    solver.step(2)
    with torch.no_grad():
        solver.net.layer("ip1").blobs[0].fill_(float("nan"))
    solver.step(3)
    solver.step(3)
    warnings = [message for message in caplog.messages if "not a number" in message]
    assert warnings == ["Iteration 2: the loss is not a number; a lower base_lr or clip_gradients may help"]


def test_a_snapshot_that_fails_in_passing_does_not_stop_the_training(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    Path("out").write_text("a file where the folder should be")
    solver = make(snapshot=3, snapshot_after_train=True)
    solver.step(5)
    assert [message for message in caplog.messages if "no snapshot, training goes on" in message]
    with pytest.raises(CaffeError, match="out"):
        solver.solve()
    assert solver.iter == 20


@pytest.mark.parametrize("case", ["sgd_momentum_inv", "adam"])
def test_snapshot_diff_is_the_update(case: str, make: Make) -> None:
    solver = make(case, snapshot_diff=True, snapshot_format=SolverParameter.HDF5)
    solver.step(2)
    before = [blob.tensor.detach().clone() for blob in solver.net.learnable]
    solver.step(1)
    solver.snapshot()
    with h5py.File("out/snap_iter_3.caffemodel.h5") as file:
        diffs = [file[f"diff/{layer}/{i}"][()] for layer in ("conv1", "ip1") for i in (0, 1)]
    for blob, old, diff in zip(solver.net.learnable, before, diffs, strict=True):
        np.testing.assert_allclose(diff, (old - blob.tensor.detach()).numpy(), rtol=1e-6)
        assert np.abs(diff).max() > 0


@pytest.mark.usefixtures("work")
def test_training_gathers_no_gradients_of_frozen_blobs_for_force_backward() -> None:
    net = text.read_net("sgd_fixed/net.prototxt")
    net.force_backward = True
    frozen = next(layer for layer in net.layer if layer.name == "conv1")
    frozen.param[0].lr_mult = frozen.param[1].lr_mult = 0
    solver = nets.Solver(SolverParameter(net_param=net, base_lr=0.1, lr_policy="fixed", snapshot_diff=True), "cpu")
    solver.step(3)
    assert [blob.tensor.grad is None for blob in solver.net.learnable] == [True, True, False, False]


def test_hints_of_forks_are_warned_of_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    make(engine="MKLDNN", eval_type="detection", gc=True, min_lr=0.001)
    assert [message for message in caplog.messages if "no effect" in message] == [
        "solver options of forks that have no effect here: engine, gc"
    ]


def test_stepvalues_out_of_order_are_warned_of(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    make(lr_policy="multistep", gamma=0.5, stepvalue=[4, 2])
    assert "stepvalue is not in rising order: as in the original, each waits for the one before it" in caplog.messages


def test_plateau_lowers_the_rate(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="caffe")
    solver = make(lr_policy="plateau", gamma=0.1, base_lr=1e-9, display=1, plateau_winsize=[3, 3])
    solver.step(20)
    rates = [float(message.split("lr = ")[1]) for message in caplog.messages if "lr = " in message]
    assert rates[0] == pytest.approx(1e-9)
    assert rates[-1] == pytest.approx(1e-11)
    solver.snapshot()
    again = make(lr_policy="plateau", gamma=0.1, base_lr=1e-9, plateau_winsize=[3, 3])
    again.restore("out/snap_iter_20.solverstate")
    assert again._plateau == solver._plateau


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_other_precisions_train(precision: str, make: Make) -> None:
    param = make().param
    solver = nets.Solver(param, "cpu", options=Options(precision=precision))
    solver.load_weights("sgd_momentum_inv/init.caffemodel")
    solver.step(20)
    assert solver.losses[-1] == pytest.approx(np.load(GOLDEN / "sgd_momentum_inv" / "trace.npz")["loss"][-1], rel=0.05)
    assert all(blob.tensor.dtype == torch.float32 for blob in solver.net.learnable)


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(CaffeError, match="unknown precision 'bf17', did you mean bf16"):
        Options(precision="bf17")


def test_test_nets_share_the_blobs(make: Make) -> None:
    solver = make()
    assert solver.test_nets[0].layer("ip1").blobs[0] is solver.net.layer("ip1").blobs[0]


def test_weights_of_the_message_are_loaded(make: Make) -> None:
    solver = make("adam")
    solver.step(1)
    solver.snapshot()
    again = make()
    again.load_weights("out/snap_iter_1.caffemodel")
    assert torch.equal(again.net.layer("ip1").blobs[0], solver.net.layer("ip1").blobs[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr_policy": "invv"}, "unknown lr_policy 'invv', did you mean inv"),
        ({"type": "Sgd"}, "unknown solver type 'Sgd', did you mean SGD"),
        ({"test_interval": 0}, "needs a test_interval above 0"),
        ({"net": "nowhere.prototxt"}, "nowhere.prototxt"),
        ({"iter_size": 0}, "iter_size"),
        ({"test_iter": [-1]}, "solver: test_iter must be at least 0, not -1"),
    ],
)
def test_bad_messages_are_refused(fields: dict[str, object], message: str, make: Make) -> None:
    with pytest.raises(CaffeError, match=message):
        make(**fields).step(1)


def test_a_state_that_moved_with_its_weights(make: Make) -> None:
    solver = make("adam")
    solver.step(2)
    state = solver.snapshot()
    state.parent.rename("elsewhere")
    again = make("adam")
    again.restore("elsewhere/snap_iter_2.solverstate")
    assert torch.equal(again.net.layer("ip1").blobs[0], solver.net.layer("ip1").blobs[0])
    Path("elsewhere/snap_iter_2.caffemodel").unlink()
    message = "^elsewhere/snap_iter_2.solverstate: its weights are neither out/snap_iter_2.caffemodel nor beside it$"
    with pytest.raises(WeightsError, match=message):
        again.restore("elsewhere/snap_iter_2.solverstate")


def test_state_of_another_net_is_refused(make: Make) -> None:
    solver = make("adam")
    state = solver.snapshot()
    with pytest.raises(WeightsError, match="history"):
        make().restore(state)


def test_input_that_nothing_feeds_is_refused(work: Path) -> None:
    param = SolverParameter(lr_policy="fixed", base_lr=0.1)
    layer = param.net_param.layer.add(name="data", type="Input", top=["data"])
    layer.input_param.shape.add(dim=[2, 3])
    with pytest.raises(NetError, match="no data layer feeds 'data'"):
        nets.Solver(param, "cpu")


def test_snapshot_prefix(tmp_path: Path) -> None:
    assert snapshot_prefix(SolverParameter(snapshot_prefix="a/b"), tmp_path / "s.prototxt") == "a/b"
    assert snapshot_prefix(SolverParameter(snapshot_prefix=str(tmp_path)), Path("x/s.prototxt")) == str(tmp_path / "s")
    assert snapshot_prefix(SolverParameter(), Path("x/s.prototxt")) == "x/s"


def test_gpu_mode_without_a_gpu_warns_once_and_runs(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    param = SolverParameter(solver_mode=SolverParameter.GPU)
    assert choose_device(param, None).type == "cpu"
    assert caplog.messages == ["solver_mode is GPU, and no GPU is found: running on the CPU"]


def test_on_a_cpu_no_tensor_outlives_its_iteration(make: Make) -> None:
    """Small ones that stay, each where large ones were freed around it, made the memory grow without end."""

    def tensors() -> list[torch.Tensor]:
        gc.collect()
        return [one for one in gc.get_objects() if type(one) is torch.Tensor]

    kept = tensors()  # those of tests before this one must not go meanwhile
    solver = make("adam", average_loss=50)
    solver.step(10)
    before = len(tensors())
    solver.step(50)
    assert len(tensors()) == before
    assert len(kept) < before
    assert len(solver.losses) == 60


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_run_resumed_on_a_gpu_averages_its_losses_on(make: Make) -> None:
    first, second = (nets.Solver(make("adam", average_loss=5).param, "cuda") for _ in range(2))
    first.step(4)
    second.restore(first.snapshot())
    first.step(2)
    second.step(2)
    assert second._smoothed_loss() == pytest.approx(first._smoothed_loss(), rel=1e-5)


def test_trace_wraps_around() -> None:
    trace = Trace(4)
    for value in (1.0, float("inf"), 3.0, 4.0, 5.0):
        trace.append(torch.tensor(value))
    assert trace.last(2) == [4.0, 5.0]
    assert trace.first_bad(4) == 4
    assert trace.first_bad(3) is None


def test_the_loss_of_a_test_is_said_where_asked_for(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="caffe")
    solver = make(test_iter=[3], test_compute_loss=True)
    (means,) = solver.test()
    (said,) = [line for line in caplog.messages if line.startswith("Test loss: ")]
    assert float(said.split()[-1]) == pytest.approx(means["loss"], rel=1e-4)


def test_a_snapshot_asked_for_in_a_test_is_written_and_the_test_goes_on(make: Make) -> None:
    solver = make(test_iter=[2])
    solver.step(1)
    wishes = iter([Action.SNAPSHOT, Action.NONE])
    solver.poll = lambda: next(wishes)
    assert len(solver.test()) == 1
    assert Path("out/snap_iter_1.solverstate").exists()


def test_a_solver_is_made_of_a_message_as_of_a_file(work: Path) -> None:
    path = "adam/solver.prototxt"
    one, other = (nets.Solver.load(each, "cpu") for each in (path, text.read_solver(path)))
    one.step(2)
    other.step(2)
    assert list(one.losses) == list(other.losses)


def test_a_state_with_other_test_nets_is_refused(make: Make) -> None:
    solver = make("adam")
    state = solver.snapshot()
    with pytest.raises(WeightsError, match=r"snap_iter_0.solverstate: its data cursors do not fit this solver: "):
        make("adam", test_iter=[], test_interval=0).restore(state)


def test_a_test_net_whose_blobs_have_other_shapes_is_refused(work: Path) -> None:
    param = text.read_solver("adam/solver.prototxt")
    param.ClearField("net")
    param.train_net_param.CopyFrom(text.read_net("adam/net.prototxt"))
    param.test_net_param.add().CopyFrom(param.train_net_param)
    (layer,) = [layer for layer in param.test_net_param[0].layer if layer.name == "ip1"]
    layer.inner_product_param.num_output = 12
    there = r"test net: layer 'ip1' \(InnerProduct\) has weight 12x100 where the training net has 10x100"
    with pytest.raises(NetError, match=there):
        nets.Solver(param, "cpu")


def test_when_a_source_cannot_be_opened_the_others_are_closed(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[list[str]] = []
    monkeypatch.setattr(LabelledSource, "close", lambda source: closed.append(list(source.shapes)))
    net = text.read_net("adam/net.prototxt")
    other = net.layer.add(name="other", type="Data", top=["other"])
    other.data_param.source, other.data_param.batch_size, other.data_param.shuffle = "digits_lmdb", 1, True
    graph = build(net, "TRAIN", input_shapes={"data": (16, 1, 8, 8), "label": (16,), "other": (1, 1, 8, 8)})
    with pytest.raises(CaffeError, match="needs a common seed"):
        Inputs(graph, torch.device("cpu"), None, rank=0, world_size=2)
    assert closed == [["data", "label"]]
