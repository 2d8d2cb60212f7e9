"""caffe.Net and the solvers: what scripts saw with the original, they see here."""

import copy
import itertools
import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.run import main
from protos.errors import CaffeError, CaffeWarning, NetError
from tests.nets.cases import golden

GOLDEN = Path(__file__).parents[2] / "golden"
HERE = Path(__file__).parent
# Their gradients were worked out here, for the original had computed none: it needs force_backward.
FORMULAS = {"batchreindex", "filter"}
LAYERS = [case for case in golden() if case.part("top_diff") and case.name not in FORMULAS]

NET = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 3 } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }"""


@pytest.fixture
def small(tmp_path, caffe):
    """The path of a small net's prototxt."""
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return str(path)


def agree(found, wanted, name):
    assert found.shape == wanted.shape, name
    if wanted.dtype.kind in "US":
        assert found.tolist() == wanted.tolist(), name
    else:
        near_zero = max(1e-5, 1e-6 * float(np.abs(wanted).max(initial=0)))
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=near_zero, err_msg=name)


def test_a_script_sees_what_it_saw_with_the_original(caffe, tmp_path):
    seen = runpy.run_path(str(HERE / "script.py"))["run"](str(tmp_path))
    with np.load(GOLDEN / "pycaffe" / "script.npz") as stored:
        assert [f"{i:03} {name}" for i, (name, _) in enumerate(seen)] == list(stored)
        for (name, found), wanted in zip(seen, stored.values(), strict=True):
            agree(found, wanted, name)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in LAYERS])
def test_every_layer_runs_back_by_itself(case, caffe, tmp_path):
    """Layer by layer from the diffs in the blobs, not by one graph of autograd from a loss."""
    path = tmp_path / "net.prototxt"
    path.write_text(case.prototxt.replace("force_backward: false", "force_backward: true"))  # there is no loss
    net = caffe.Net(str(path), caffe.TRAIN if case.phase == "TRAIN" else caffe.TEST)
    for key, value in case.part("param").items():
        layer, i = key.rsplit("/", 1)
        net.params[layer][int(i)].data[...] = value
    for name, value in case.part("bottom").items():
        net.blobs[name].data[...] = value
    net.forward()
    for name, value in case.part("top").items():
        agree(net.blobs[name].data, value, name)
    for name, value in case.part("top_diff").items():
        net.blobs[name].diff[...] = value
    net.backward()
    for name, value in case.part("bottom_diff").items():
        np.testing.assert_allclose(net.blobs[name].diff, value, rtol=1e-3, atol=1e-4, err_msg=name)
    for key, value in case.part("param_diff").items():
        layer, i = key.rsplit("/", 1)
        np.testing.assert_allclose(net.params[layer][int(i)].diff, value, rtol=1e-3, atol=1e-4, err_msg=key)


def test_a_net_with_a_store_takes_a_batch_with_each_pass(caffe, monkeypatch):
    monkeypatch.chdir(GOLDEN / "formats")
    net = caffe.Net("data_plain.prototxt", caffe.TEST)
    assert (net.inputs, net._layer_names) == ([], ["data"])
    with np.load("data_plain.npz") as stored:
        for number in range(14):  # 12 records, 5 at a time: after 12 batches the first comes again
            found = net.forward()
            if number % 12 < 2:
                np.testing.assert_array_equal(found["data"], stored[f"data/{number % 12}"])
                np.testing.assert_array_equal(found["label"], stored[f"label/{number % 12}"])
            found["data"][...] = found["label"][...] = -1  # what is written to a batch stays in it


def test_arrays_of_one_s_own_are_batches(caffe, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        """layer { name: "in" type: "MemoryData" top: "data" top: "label"
            memory_data_param { batch_size: 2 channels: 1 height: 1 width: 3 } }
        layer { name: "double" type: "Power" bottom: "data" top: "double" power_param { scale: 2 } }"""
    )
    net = caffe.Net(str(path), caffe.TEST)
    data = np.arange(12, dtype=np.float32).reshape(4, 1, 1, 3)
    net.set_input_arrays(data, np.arange(4, dtype=np.float32))
    for part in (data[:2], data[2:], data[:2]):
        np.testing.assert_array_equal(net.forward()["double"], part * 2)


def test_no_blob_has_another_one_s_memory(caffe, tmp_path):
    """Sums hand one gradient to all their bottoms, and dropout in testing its bottom on."""
    path = tmp_path / "net.prototxt"
    path.write_text(
        """force_backward: true
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "a" type: "Power" bottom: "data" top: "a" power_param { scale: 2 } }
        layer { name: "b" type: "Power" bottom: "data" top: "b" power_param { scale: 3 } }
        layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }
        layer { name: "more" type: "Power" bottom: "a" top: "more" power_param { scale: 5 } }
        layer { name: "drop" type: "Dropout" bottom: "sum" top: "drop" }
        layer { name: "flat" type: "Flatten" bottom: "drop" top: "flat" }
        layer { name: "out" type: "Eltwise" bottom: "flat" bottom: "more" top: "out" }"""
    )
    net = caffe.Net(str(path), caffe.TEST)
    data, diff = ({name: getattr(blob, kind) for name, blob in net.blobs.items()} for kind in ("data", "diff"))
    for scale in (1, 2):
        net.forward(data=np.full((2, 3), scale))
        diff["out"][...] = scale
        net.backward()
        found = {name: (data[name][0, 0] / scale, diff[name][0, 0] / scale) for name in net.blobs}
        assert found == {
            "data": (1, 2 * 6 + 3), "a": (2, 6), "b": (3, 1), "sum": (5, 1), "more": (10, 1), "drop": (5, 1),
            "flat": (5, 1), "out": (15, 1),
        }  # fmt: skip
    fresh = caffe.Net(str(path), caffe.TEST)
    fresh.forward(data=np.ones((2, 3)))
    fresh.blobs["out"].diff[...] = 1
    fresh.backward()
    arrays = [getattr(blob, kind) for blob in fresh.blobs.values() for kind in ("data", "diff")]
    assert not any(np.shares_memory(one, other) for one, other in itertools.combinations(arrays, 2))


def test_arrays_that_were_given_out_stay_the_net_s(small, caffe):
    net = caffe.Net(small, caffe.TEST)
    data, weight, prob = net.blobs["data"].data, net.params["ip"][0].data, net.blobs["prob"].data
    data[...] = 1
    weight[...] = np.arange(12).reshape(3, 4)
    net.forward()
    wanted = torch.softmax(torch.tensor([6.0, 22.0, 38.0]), 0)
    np.testing.assert_allclose(prob, wanted.repeat(2, 1), rtol=1e-6)
    assert prob is net.blobs["prob"].data


def test_a_blob_that_is_put_in_another_s_place_is_computed_with(small, caffe, tmp_path):
    """As scripts copy weights: ``net.params[name][0] = other.params[name][0]``, which shares them."""
    net, other = caffe.Net(small, caffe.TEST), caffe.Net(small, caffe.TEST)
    other.params["ip"][0].data[...] = np.arange(12).reshape(3, 4)
    net.params["ip"][0] = other.params["ip"][0]
    net.params["ip"][1] = net.blobs["prob"]
    net.blobs["prob"].reshape(3)
    net.params["ip"][1] = net.blobs["prob"]
    net.blobs["prob"].data[...] = [1, 2, 3]
    np.testing.assert_array_equal(net.forward(data=np.ones((2, 4)), end="ip")["ip"], [[7, 24, 41]] * 2)
    other.params["ip"][0].data[...] = 0
    np.testing.assert_array_equal(net.forward(end="ip")["ip"], [[1, 2, 3]] * 2)
    with pytest.raises(TypeError, match=r"a blob is needed, not ndarray: write its values to data\[...\]"):
        net.params["ip"][0] = np.zeros((3, 4))


def test_a_layer_goes_back_through_a_blob_that_came_after_its_pass(small, caffe):
    Path(small).write_text("force_backward: true " + NET)
    net, other = caffe.Net(small, caffe.TEST), caffe.Net(small, caffe.TEST)
    other.params["ip"][0].data[...] = 2
    net.forward()
    net.params["ip"][0] = other.params["ip"][0]
    net.blobs["ip"].diff[...] = 1
    np.testing.assert_array_equal(net.backward(start="ip")["data"], np.full((2, 4), 6))
    net.share_with(caffe.Net(small, caffe.TEST))
    np.testing.assert_array_equal(net.backward(start="ip")["data"], np.zeros((2, 4)))


def test_a_blob_that_is_added_is_saved(small, caffe, tmp_path):
    net = caffe.Net(small, caffe.TEST)
    net.params["ip"].add_blob(2, 1)
    net.params["ip"][2].data[...] = 7
    net.forward()
    net.save(str(tmp_path / "w.caffemodel"))
    found = caffe.proto.caffe_pb2.NetParameter.FromString((tmp_path / "w.caffemodel").read_bytes())
    assert [list(blob.data) for layer in found.layer for blob in layer.blobs][2:] == [[7, 7]]


def test_a_blob_of_another_layer_is_not_replaced_here(small, caffe):
    shared = 'param { name: "w" share_mode: PERMISSIVE }'
    Path(small).write_text(
        NET.replace('top: "ip"', f'top: "ip" {shared}')
        + f"""layer {{ name: "wide" type: "Input" top: "wide" input_param {{ shape {{ dim: 2 dim: 6 }} }} }}
        layer {{ name: "again" type: "InnerProduct" bottom: "wide" top: "again" {shared}
            inner_product_param {{ num_output: 2 bias_term: false }} }}"""
    )
    net = caffe.Net(small, caffe.TEST)
    with pytest.raises(CaffeError, match="blob 'weight' is one that its layer shares with another: put the blob in"):
        net.params["again"][0] = net.blobs["data"]


def test_paths_may_be_bytes(small, caffe, tmp_path):
    net = caffe.Net(small.encode(), caffe.TEST)
    net.save(str(tmp_path / "w.caffemodel").encode())
    caffe.Net(small.encode(), str(tmp_path / "w.caffemodel").encode(), caffe.TEST)


def test_a_blob_of_one_value_is_a_number(caffe, tmp_path):
    """``train_loss[i] = solver.net.blobs["loss"].data``, whose shape is (1,) where a Python layer makes it."""
    path = tmp_path / "net.prototxt"
    path.write_text('input: "loss" input: "two" input_shape { dim: 1 } input_shape { dim: 2 }')
    net = caffe.Net(str(path), caffe.TEST)
    net.blobs["loss"].data[...] = 2.5
    loss, losses = net.blobs["loss"].data, np.zeros(3)
    losses[1] = loss
    losses[1] += loss
    losses[2] += loss * 2
    text = "%.2f" % loss  # noqa: UP031  # as scripts of 2015 do
    assert (float(loss), int(loss), text, losses.tolist()) == (2.5, 2, "2.50", [0, 5, 5])
    assert (repr(loss), repr(loss + losses)) == ("array([2.5], dtype=float32)", "array([2.5, 7.5, 7.5])")
    assert [type(x) for x in (loss.sum(), loss + losses, pickle.loads(pickle.dumps(loss)))] == [
        np.float32, np.ndarray, np.ndarray]  # fmt: skip
    with pytest.raises(TypeError):
        float(net.blobs["two"].data)


def test_a_layer_goes_back_without_having_run(small, caffe):
    """From what its blobs hold, as in the original's own test_backward_start_end."""
    Path(small).write_text("force_backward: true " + NET)
    net = caffe.Net(small, caffe.TEST)
    net.params["ip"][0].data[...] = weight = np.arange(12).reshape(3, 4)
    net.blobs["data"].data[...] = data = np.arange(8).reshape(2, 4)
    net.blobs["ip"].diff[...] = diff = np.arange(6).reshape(2, 3)
    net.backward(start="ip", end="ip")
    np.testing.assert_array_equal(net.params["ip"][0].diff, diff.T @ data)
    np.testing.assert_array_equal(net.blobs["data"].diff, diff @ weight)


INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }'
SCALE = 'layer { name: "s" type: "Scale" bottom: "data" top: "s" scale_param { bias_term: true } }'
RESHAPE = 'layer { name: "r" type: "Reshape" bottom: "s" top: "r" reshape_param { shape { dim: 2 dim: 2 } } }'
FLAT = 'layer { name: "f" type: "Flatten" bottom: "r" top: "f" }'
SUM = 'layer { name: "sum" type: "Reduction" bottom: "%s" top: "sum" loss_weight: 1 }'


def test_two_passes_add_up_but_where_the_original_writes_a_diff_anew(small, caffe):
    Path(small).write_text("".join((INPUT, SCALE, SUM % "s")))
    net = caffe.Net(small, caffe.TRAIN)
    for _ in range(2):
        net.forward(data=np.arange(4.0).reshape(1, 4))
        net.backward()
    weight, bias = (blob.diff for blob in net.params["s"])
    np.testing.assert_array_equal(weight, np.arange(4))
    np.testing.assert_array_equal(bias, np.full(4, 2))


def test_a_gradient_that_the_original_loses_is_lost(small, caffe):
    for layers, found in (((SCALE, RESHAPE, SUM % "r"), True), ((SCALE, RESHAPE, FLAT, SUM % "f"), False)):
        Path(small).write_text("".join(("force_backward: true ", INPUT, *layers)))
        net = caffe.Net(small, caffe.TEST)
        net.forward(data=np.ones((1, 4)))
        net.backward()
        assert [x.diff.any() for x in (net.blobs["data"], net.params["s"][0])] == [found] * 2


def test_a_layer_in_place_goes_back_from_what_it_found(small, caffe):
    """Also where the script has the array that it writes to."""
    in_place = 'layer { name: "t" type: "Scale" bottom: "s" top: "s" scale_param { filler { value: 3 } } }'
    Path(small).write_text("".join(("force_backward: true ", INPUT, SCALE, in_place, SUM % "s")))
    net = caffe.Net(small, caffe.TRAIN)
    shown = net.blobs["s"].data
    net.forward(data=np.arange(4.0).reshape(1, 4))
    net.backward()
    np.testing.assert_array_equal(shown, [[0, 3, 6, 9]])
    np.testing.assert_array_equal(net.params["t"][0].diff, np.arange(4))
    np.testing.assert_array_equal(net.params["s"][0].diff, 3 * np.arange(4))


def test_a_gradient_is_read_from_what_a_layer_in_place_left(small, caffe):
    """The original keeps one copy of a blob: TanH finds there what Bias made of its top."""
    tanh = 'layer { name: "t" type: "TanH" bottom: "data" top: "s" }'
    bias = 'layer { name: "b" type: "Bias" bottom: "s" top: "s" bias_param { filler { value: 2 } } }'
    Path(small).write_text("".join(("force_backward: true ", INPUT, tanh, bias, SUM % "s")))
    net = caffe.Net(small, caffe.TRAIN)
    for shown in (False, True):
        net.forward(data=np.zeros((1, 4)))
        net.backward()
        np.testing.assert_array_equal(net.blobs["data"].diff, np.full((1, 4), 1 - 2**2))
        assert not shown or net.blobs["s"].data.any()


def test_force_backward_goes_before_propagate_down(small, caffe):
    for force, found in (("", False), ("force_backward: true ", True)):
        held = SCALE.replace("top:", "propagate_down: false top:", 1)
        Path(small).write_text("".join((force, INPUT, held, SUM % "s")))
        net = caffe.Net(small, caffe.TEST)
        net.forward(data=np.ones((1, 4)))
        net.backward()
        assert net.blobs["data"].diff.any() == found


def test_a_net_without_a_loss_goes_back_where_the_file_forces_it(small, caffe):
    """As in the original, whose backward passes by what no loss is made of."""
    for text, moved in ((NET, False), ("force_backward: true " + NET, True)):
        Path(small).write_text(text)
        net = caffe.Net(small, caffe.TEST)
        net.params["ip"][0].data[...] = np.arange(12).reshape(3, 4)
        net.forward(data=np.ones((2, 4)))
        net.backward(prob=np.arange(6).reshape(2, 3))
        assert [x.diff.any() for x in (net.blobs["ip"], net.blobs["data"], net.params["ip"][0])] == [moved] * 3


def test_mistakes_are_named(small, caffe):
    net = caffe.Net(small, caffe.TEST)
    Path(small).write_text("force_backward: true " + NET)
    stale = caffe.Net(small, caffe.TEST)
    stale.blobs["data"].reshape(5, 4)
    for wrong, message in (
        (lambda: net.forward(dta=np.zeros((2, 4))), "do not match net inputs: given dta; there are data"),
        (lambda: net.forward(data=np.zeros((3, 4))), "Input is not batch sized: 'data' has 3 items, its blob 2"),
        (lambda: net.forward(end="prb"), "the net has no layer 'prb', did you mean prob"),
        (lambda: net.forward(blobs=["ipp"]), "the net has no blob 'ipp', did you mean ip"),
        (lambda: net.backward(ip=np.zeros((2, 3))), "do not match net outputs: given ip; there are prob"),
        (lambda: net.backward(prob=np.zeros((1, 3))), "Diff is not batch sized: 'prob' has 1 items, its blob 2"),
        (lambda: net.set_input_arrays(np.zeros(1), np.zeros(1)), "the net has no MemoryData layer"),
        (stale.backward, r"'ip' \(InnerProduct\): blob 'ip' is 2x3, and the layer makes 5x3; call net.resh"),
        (lambda: caffe.Net(small), "caffe.Net takes a prototxt, perhaps a weights file, and a phase"),
        (lambda: caffe.Net(small, "TEST"), "caffe.Net takes a prototxt, perhaps a weights file, and a phase"),
        (lambda: net.blobs["data"].reshape(-1, 4), "a blob cannot be of the shape -1, 4"),
        (lambda: copy.deepcopy(net), "a caffe.Net is not copied or pickled: save its weights"),
        (lambda: pickle.dumps(net.blobs["data"]), "a blob is not copied or pickled: copy its data and its diff"),
    ):
        with pytest.raises((NetError, CaffeError), match=message):
            wrong()


def test_what_belongs_to_the_process(caffe, small):
    drawn = []
    for _ in range(2):
        caffe.set_random_seed(7)
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
    with pytest.raises(CaffeError, match=r"Solver\.add_callback is not supported: call step"):
        caffe.SGDSolver.add_callback(None, print, print)


def test_a_layer_is_cut_by_hand(caffe, tmp_path):
    """As pruning scripts do: blobs take other shapes, and the file is for a prototxt with fewer outputs."""
    cut = NET.replace("num_output: 3", "num_output: 2")
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "cut.prototxt").write_text(cut)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    weight, bias = net.params["ip"]
    weight.data[...] = np.arange(12).reshape(3, 4)
    kept = weight.data[[0, 2]].copy()
    weight.reshape(*kept.shape)
    weight.data[...] = kept
    bias.reshape(2)
    assert (weight.diff.shape, bias.data.tolist()) == ((2, 4), [0, 0])
    net.save(str(tmp_path / "cut.caffemodel"))
    found = caffe.Net(str(tmp_path / "cut.prototxt"), str(tmp_path / "cut.caffemodel"), caffe.TEST)
    np.testing.assert_array_equal(found.params["ip"][0].data, [[0, 1, 2, 3], [8, 9, 10, 11]])
    weight.data[...] = 1
    np.testing.assert_array_equal(net.forward(data=np.ones((2, 4)), blobs=["ip"])["ip"], [[4, 4], [4, 4]])


def test_weights_of_other_layers_are_left_alone(small, caffe, tmp_path):
    """Scripts that make convolutions of inner products copy them by hand from a second net."""
    caffe.Net(small, caffe.TEST).save(str(tmp_path / "w.caffemodel"))
    Path(small).write_text(NET.replace('name: "ip"', 'name: "other"'))
    net = caffe.Net(small, caffe.TEST)
    net.params["other"][0].data[...] = 1
    with pytest.warns(CaffeWarning, match="no layer has weights for this net: it has ip; the net has other"):
        net.copy_from(str(tmp_path / "w.caffemodel"))
    assert net.params["other"][0].data.all()


def test_level_and_stages_by_their_places(caffe, tmp_path):
    (tmp_path / "net.prototxt").write_text(
        NET + """layer { name: "a" type: "TanH" bottom: "ip" top: "a" include { min_level: 2 stage: "s" } }"""
    )
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST, 2, ["s"])
    assert net.outputs == ["a", "prob"]
    assert caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST, 1, ["s"]).outputs == ["prob"]


def test_weights_as_hdf5(small, caffe, tmp_path):
    net = caffe.Net(small, caffe.TEST)
    net.params["ip"][0].data[...] = np.arange(12).reshape(3, 4)
    net.save_hdf5(str(tmp_path / "weights"))
    other = caffe.Net(small, caffe.TEST)
    seen = other.params["ip"][0].data
    other.load_hdf5(str(tmp_path / "weights"))
    np.testing.assert_array_equal(seen, np.arange(12).reshape(3, 4))


def test_without_a_gpu_the_cpu_computes(small, caffe, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    caffe.set_device(0)
    caffe.set_mode_gpu()
    with pytest.warns(CaffeWarning, match="there is no GPU, so that the CPU computes"):
        caffe.Net(small, caffe.TEST)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_script_sees_the_same_on_a_gpu(caffe, tmp_path, monkeypatch):
    monkeypatch.setattr(caffe, "set_mode_cpu", caffe.set_mode_gpu)  # which is what the script calls
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    seen = runpy.run_path(str(HERE / "script.py"))["run"](str(tmp_path))
    with np.load(GOLDEN / "pycaffe" / "script.npz") as stored:
        for (name, found), wanted in zip(seen, stored.values(), strict=True):
            agree(found, wanted, name)


def test_a_script_of_python_2_runs(small, caffe, tmp_path, capsys):
    script = tmp_path / "classify.py"
    script.write_text(
        f"""import sys
sys.path.insert(0, '/home/me/caffe/python')
import caffe, numpy as np
from caffe.io import Transformer
net = caffe.Net('{small}', caffe.TEST)
print net.forward_all(data=np.zeros((3, 4)))['prob'].shape
for name, blobs in net.params.iteritems():
    print name, blobs[0].data.shape
"""
    )
    assert main([str(script)]) == 0
    assert capsys.readouterr().out == "(3, 3)\nip (3, 4)\n"


def test_the_phase_may_be_named(caffe, small, tmp_path):
    first = caffe.Net(small, phase=caffe.TEST)
    first.save(str(tmp_path / "net.caffemodel"))
    second = caffe.Net(small, str(tmp_path / "net.caffemodel"), phase=caffe.TRAIN)
    np.testing.assert_array_equal(second.params["ip"][0].data, first.params["ip"][0].data)


def test_losses_have_weights_for_each_blob(caffe, tmp_path):
    path = tmp_path / "net.prototxt"
    loss = 'layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "prob" top: "loss" loss_weight: 3 }'
    path.write_text(f"{NET}\n{loss}")
    net = caffe.Net(str(path), caffe.TRAIN)
    assert dict(zip(net._blob_names, net._blob_loss_weights, strict=True))["loss"] == 3


def test_statistics_of_a_normalisation_may_be_another_net_s(caffe, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET + '\nlayer { name: "bn" type: "BatchNorm" bottom: "ip" top: "bn" }')
    first, second = caffe.Net(str(path), caffe.TEST), caffe.Net(str(path), caffe.TEST)
    for blob, values in zip(first.params["bn"], (0, 4, 1), strict=True):
        blob.data[...] = values
    for i in range(3):
        second.params["bn"][i] = first.params["bn"][i]
    second.blobs["data"].data[...] = 1
    for mean in ([1.0, 2.0, 3.0], [5.0, 0.0, 7.0]):
        first.params["bn"][0].data[...] = mean
        found = second.forward()["bn"]
        np.testing.assert_allclose(found, (second.blobs["ip"].data - mean) / np.sqrt(4 + 1e-5), rtol=1e-5)
