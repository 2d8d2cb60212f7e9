"""Solver states, against the original's own files and against protobuf and h5py."""

import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import nets
from nets import snapshot
from nets.snapshot import State
from nets.weights import load_weights
from protos import text
from protos.errors import WeightsError
from protos.schema import NetParameter, SolverState
from tests.folders import no_text

GOLDEN = Path(__file__).parents[1] / "golden" / "solvers"
KINDS = ["x.solverstate", "x.solverstate.h5"]
EXTRA = {
    "rng": bytes(range(256)),
    "cursors": {"data": 17, "order": b"\0\1"},
    "losses": [0.5, None, "x"],
    "$": {},
}


def state() -> State:
    draw = np.random.default_rng(0)
    shapes = [(4, 1, 3, 3), (4,), (10, 100), (), (0, 3)]
    return State(12, "run/snap_iter_12.caffemodel", 3, [draw.random(shape, np.float32) for shape in shapes], EXTRA)


def assert_equal(a: State, b: State) -> None:
    assert (a.iter, a.learned_net, a.current_step, a.extra) == (
        b.iter,
        b.learned_net,
        b.current_step,
        b.extra,
    )
    assert len(a.history) == len(b.history)
    for x, y in zip(a.history, b.history, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("case", sorted(p.parent.name for p in GOLDEN.glob("*/solver.prototxt")))
def test_state_of_the_original(case):
    folder = GOLDEN / case
    solver = text.read_solver(folder / "solver.prototxt")
    (path,) = folder.glob("*.solverstate*")
    found = snapshot.read(path)
    assert (found.iter, found.extra) == (12, {})
    assert found.learned_net.endswith(path.name.replace("solverstate", "caffemodel"))
    assert found.current_step == {"step": 11 // max(solver.stepsize, 1), "multistep": 1}.get(solver.lr_policy, 0)
    learnable = NetParameter.FromString((folder / "init.caffemodel").read_bytes()).layer
    shapes = [tuple(blob.shape.dim) for layer in learnable for blob in layer.blobs]
    copies = 2 if solver.type in ("Adam", "AdaDelta") else 1
    assert [blob.shape for blob in found.history] == shapes * copies
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            stored = [file[f"history/{i}"][()] for i in range(len(found.history))]
    else:
        blobs = SolverState.FromString(path.read_bytes()).history
        stored = [np.array(blob.data, np.float32).reshape(blob.shape.dim) for blob in blobs]
    for mine, theirs in zip(found.history, stored, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_and_equal_bytes(tmp_path, kind):
    snapshot.write(tmp_path / kind, state())
    first = (tmp_path / kind).read_bytes()
    found = snapshot.read(tmp_path / kind)
    assert_equal(found, state())
    found.history = [torch.from_numpy(blob) for blob in found.history]
    snapshot.write(tmp_path / kind, found)
    assert (tmp_path / kind).read_bytes() == first


def test_hdf5_keeps_no_time_of_writing(tmp_path):
    for name in ("a.h5", "b.h5"):
        snapshot.write(tmp_path / name, state())
        time.sleep(1.1)  # the library's clock counts seconds
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_in_a_folder_whose_name_is_no_text(tmp_path, kind):
    weights = no_text(tmp_path) / "w.caffemodel"
    weights.touch()
    snapshot.write(tmp_path / kind, State(0, str(weights)))
    assert snapshot.weights_of(snapshot.read(tmp_path / kind), tmp_path / kind) == weights


@pytest.mark.parametrize("kind", KINDS)
def test_the_least_state(tmp_path, kind):
    snapshot.write(tmp_path / kind, State(0))
    assert_equal(snapshot.read(tmp_path / kind), State(0))


def test_binary_is_what_protobuf_reads(tmp_path):
    snapshot.write(tmp_path / "s", state())
    message = SolverState.FromString((tmp_path / "s").read_bytes())
    assert (message.iter, message.learned_net, message.current_step) == (12, "run/snap_iter_12.caffemodel", 3)
    for blob, stored in zip(state().history, message.history, strict=True):
        assert tuple(stored.shape.dim) == blob.shape
        np.testing.assert_array_equal(stored.data, blob.ravel())


def test_hdf5_is_what_the_original_writes(tmp_path):
    snapshot.write(tmp_path / "s.h5", state())
    (golden,) = GOLDEN.glob("sgd_hdf5_snapshot/*.solverstate.h5")
    with h5py.File(tmp_path / "s.h5") as mine, h5py.File(golden) as theirs:
        assert mine.keys() - theirs.keys() == {"extra"}
        for name in ("iter", "current_step"):
            assert (mine[name].shape, mine[name].dtype) == (theirs[name].shape, theirs[name].dtype)
        for file in (mine, theirs):
            kind = file["learned_net"].id.get_type()
            assert kind.get_strpad() == h5py.h5t.STR_NULLTERM
            assert kind.get_size() == len(file["learned_net"][()]) + 1
            assert file["learned_net"].shape == ()


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_or_foreign(tmp_path, kind):
    snapshot.write(tmp_path / kind, state())
    whole = (tmp_path / kind).read_bytes()
    cut = tmp_path / "cut"
    for size in [0, 1, 5, 10, 20, len(whole) // 3, len(whole) // 2, len(whole) - 1]:
        cut.write_bytes(whole[:size])
        with pytest.raises(WeightsError) as error:
            snapshot.read(cut)
        assert str(error.value).startswith(f"{cut}: no solver state, or a damaged one: ")
        assert "\n" not in str(error.value)


def test_other_files(tmp_path):
    with pytest.raises(WeightsError, match=r"there is no such solver state$"):
        snapshot.read(tmp_path / "absent")
    for weights in ("sgd_fixed/init.caffemodel", "adam_hdf5_snapshot/snap_iter_12.caffemodel.h5"):
        with pytest.raises(WeightsError, match="no solver state, or a damaged one"):
            snapshot.read(GOLDEN / weights)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_kept_leaves_the_old_file(tmp_path, kind):
    snapshot.write(tmp_path / kind, state())
    wrong = state()
    wrong.extra = {"rng": {1, 2}}
    with pytest.raises(TypeError, match="a solver state cannot keep a set"):
        snapshot.write(tmp_path / kind, wrong)
    assert_equal(snapshot.read(tmp_path / kind), state())
    assert [path.name for path in tmp_path.iterdir()] == [kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_byte_anywhere_is_one_error_or_none(tmp_path, kind):
    path = tmp_path / kind
    snapshot.write(path, state())
    content = path.read_bytes()
    errors = []
    for at in range(0, min(len(content), 3000), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        try:
            snapshot.read(path)
        except WeightsError as error:
            errors.append(str(error))
    assert len(errors) > 5
    assert not [error for error in errors if "\n" in error or error.count(kind) > 1]


def test_a_path_with_a_zero_byte_is_an_error(tmp_path):
    with pytest.raises(WeightsError, match=r"'.x00x': cannot be read: embedded null byte"):
        load_weights(nets.Net(nets.graph.build(NetParameter())), "\0x")
