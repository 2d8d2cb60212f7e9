"""Weights files of Lasagne, honest and hostile."""

import gzip
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

import converters
import nets
from converters.lasagne import opcodes, to_net, unpickling
from converters.lasagne.layers import (
    Conv2DLayer,
    DenseLayer,
    InputLayer,
    LSTMLayer,
    batch_norm,
    get_all_param_values,
    get_output,
    set_all_param_values,
)
from converters.lasagne.theano.config import config
from converters.lasagne.unpickling import read_pickle
from converters.lasagne.weights_file import read
from protos.errors import WeightsError

FILES = Path(__file__).parents[2] / "golden" / "lasagne" / "networks"
RNG = np.random.RandomState(0)
WANTED = [RNG.normal(size=shape).astype("float32") for shape in ((2, 1, 3, 3), (2,), (32, 3), (3,))]


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    monkeypatch.setattr(config, "floatX", "float64")


def small():
    conv = Conv2DLayer(InputLayer((None, 1, 6, 6), name="input"), 2, 3, name="conv")
    return DenseLayer(conv, 3, name="dense")


@pytest.mark.parametrize(
    "name",
    ["py2_param_list_protocol0.pkl", "py2_modelzoo_protocol0.pkl", "py2_modelzoo_protocol2.pkl", "py2_model.npz"],
)
def test_files_of_python_2_hold_the_arrays_in_order(name):
    for found, wanted in zip(read(FILES / name), WANTED, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_file_of_nolearn_holds_them_by_layer():
    found = read(FILES / "py2_nolearn_params.pkl")
    assert [len(v) for v in found.values() if v] == [2, 2]
    np.testing.assert_array_equal([*found.values()][-1][0], WANTED[2])


@pytest.mark.parametrize("name", ["py2_modelzoo_protocol2.pkl", "py2_model.npz"])
def test_a_net_takes_them_in_its_own_layout(name):
    layer = small()
    converters.load_weights(layer, FILES / name)
    net = nets.load(to_net(layer, batch_size=2))
    converters.load_weights(net, FILES / name)
    np.testing.assert_array_equal(net.layer("conv").weight.detach(), WANTED[0][:, :, ::-1, ::-1])
    x = np.random.RandomState(1).normal(size=(2, 1, 6, 6)).astype("float32")
    import torch  # noqa: PLC0415

    np.testing.assert_allclose(
        net(data=torch.from_numpy(x))["dense"].detach() if "data" in net.graph.inputs
        else net(input=torch.from_numpy(x))["dense"].detach(), get_output(layer, x).eval(), rtol=1e-4, atol=1e-5)  # fmt: skip  # noqa: E501


def test_batch_norm_becomes_mean_variance_and_scale(tmp_path):
    layer = batch_norm(DenseLayer(InputLayer((None, 4), name="x"), 3, name="d"))
    values = [
        np.abs(np.random.RandomState(i).normal(size=v.shape)) + 0.1 for i, v in enumerate(get_all_param_values(layer))
    ]
    set_all_param_values(layer, values)
    np.savez(tmp_path / "w.npz", *values)
    import torch  # noqa: PLC0415

    net = nets.load(to_net(layer, batch_size=2)).double()
    converters.load_weights(net, tmp_path / "w.npz")
    x = np.random.RandomState(9).normal(size=(2, 4))
    (y,) = net(x=torch.from_numpy(x)).values()
    np.testing.assert_allclose(y.detach(), get_output(layer, x, deterministic=True).eval(), rtol=1e-6)


def test_all_that_does_not_fit_is_listed(tmp_path):
    np.savez(tmp_path / "w.npz", WANTED[0][:, :, :2], WANTED[1][:1], *WANTED[2:])
    with pytest.raises(WeightsError, match=r"(?s)'conv'.*'conv'"):
        converters.load_weights(small(), tmp_path / "w.npz")
    net = nets.load(to_net(small()))
    with pytest.raises(WeightsError, match=r"(?s)'conv' blob 0.*'conv' blob 1"):
        converters.load_weights(net, tmp_path / "w.npz")
    np.savez(tmp_path / "few.npz", *WANTED[:3])
    with pytest.raises(WeightsError, match="3 arrays in the file, 4 parameters"):
        converters.load_weights(small(), tmp_path / "few.npz")


class Hostile:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@pytest.mark.parametrize(
    ("call", "name"),
    [((os.system, "touch ran"), "system"), ((eval, "1"), "eval"), ((exec, "x=1"), "exec"), ((open, "ran", "w"), "open"),
     ((__import__, "os"), "__import__"), ((np.load, "x"), "numpy")],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_something_is_refused_by_name(call, name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("w.pkl").write_bytes(pickle.dumps({"param values": [Hostile(*call)]}, protocol))
    with pytest.raises(WeightsError, match=name):
        converters.load_weights(small(), "w.pkl")
    assert not Path("ran").exists()


def test_a_damaged_pickle_is_one_line(tmp_path):
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps(WANTED)[:-20])
    with pytest.raises(WeightsError, match="not a readable pickle"):
        read_pickle(path)


def test_pickled_objects_give_their_arrays(tmp_path):
    """Objects of classes that are not installed, laid out as pickles of the original are."""
    module = b"ctheano.tensor.sharedvar\nTensorSharedVariable\n"
    array = pickle.dumps(WANTED[1], 2)[2:-1]
    shared = (
        module
        + b")\x81}X\x09\x00\x00\x00container"
        + b"cno\nContainer\n"
        + b")\x81}X\x07\x00\x00\x00storage]"
        + array
        + b"asbsb"
    )
    (tmp_path / "shared.pickle").write_bytes(b"\x80\x02]" + shared + b"a.")
    (found,) = read(tmp_path / "shared.pickle")
    np.testing.assert_array_equal(found, WANTED[1])
    layer = (
        b"clasagne.layers.dense\nDenseLayer\n)\x81}(X\x06\x00\x00\x00paramsccollections\nOrderedDict\n)R" + shared
        + b"K\x01sX\x0b\x00\x00\x00input_layerNub"
    )  # fmt: skip
    with gzip.open(tmp_path / "layer.pickle.gz", "wb") as file:
        file.write(b"\x80\x02" + layer + b".")
    (found,) = read(tmp_path / "layer.pickle.gz")
    np.testing.assert_array_equal(found, WANTED[1])
    net = (
        b"cnolearn.lasagne.base\nNeuralNet\n)\x81}X\x07\x00\x00\x00layers_ccollections\nOrderedDict\n)RX\x01\x00\x00\x00d"
        + layer
        + b"ssb"
    )
    (tmp_path / "net.pickle").write_bytes(b"\x80\x02" + net + b".")
    assert list(read(tmp_path / "net.pickle")) == ["d"]


def test_python_3_files_of_nolearn(tmp_path):
    layer = small()
    by_layer = OrderedDict(input=[], conv=WANTED[:2], dense=WANTED[2:])
    (tmp_path / "w.pickle").write_bytes(pickle.dumps(by_layer, -1))
    converters.load_weights(layer, tmp_path / "w.pickle")
    for found, wanted in zip(get_all_param_values(layer), WANTED, strict=True):
        np.testing.assert_array_equal(found, wanted)
    (tmp_path / "w.pickle").write_bytes(pickle.dumps(OrderedDict(cnv=WANTED[:2], dense=WANTED[2:3]), -1))
    with pytest.raises(WeightsError, match=r"(?s)'cnv' is not in the net.*'conv' is not in the file.*'dense' has 1"):
        converters.load_weights(layer, tmp_path / "w.pickle")


def assert_refused(content, message, tmp_path, monkeypatch, net=None):
    monkeypatch.chdir(tmp_path)
    Path("w.pkl").write_bytes(content)
    for target in (small(), nets.load(to_net(small()))):
        with pytest.raises(WeightsError, match=message) as caught:
            converters.load_weights(target, "w.pkl")
        assert "\n" not in str(caught.value)
    assert not Path("ran").exists()


CALL = b"X\x09\x00\x00\x00touch ran\x85R"
HOSTILE = {
    "global, protocol 0": (b"cos\nsystem\n(S'touch ran'\ntR.", "os.system"),
    "inst": (b"(S'touch ran'\nios\nsystem\n.", "os.system"),
    "stack global": (b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93" + CALL + b".", "os.system"),
    "old name": (b"\x80\x02cposix\nsystem\n" + CALL + b".", "posix.system"),
    "commands of Python 2": (b"\x80\x02ccommands\ngetoutput\n" + CALL + b".", "commands.getoutput"),
    "a dotted name": (b"\x80\x04\x8c\x0bcollections\x94\x8c\x11OrderedDict.clear\x94\x93.", "OrderedDict.clear"),
    "builtins": (b"\x80\x02c__builtin__\nexecfile\n" + CALL + b".", "__builtin__.execfile"),
    "in a state": (b"\x80\x02cmy\nLayer\n)\x81cos\nsystem\n" + CALL + b"b.", "os.system"),
    "in a key": (b"\x80\x02}cos\nsystem\n" + CALL + b"K\x01s.", "os.system"),
    "numpy's own": (b"\x80\x02cnumpy.testing._private.utils\nrunstring\n" + CALL + b".", "numpy.testing"),
    "runpy": (b"\x80\x02crunpy\nrun_path\n" + CALL + b".", "runpy.run_path"),
    "a persistent id": (b"\x80\x02K\x01Q.", "outside of it"),
    "an extension": (b"\x80\x02\x82\x01.", "not a readable pickle"),
    "changing what is admitted": (
        b"\x80\x02c_codecs\nencode\nN}X\x09\x00\x00\x00_functioncmy\nthing\ns\x86b.", "cannot change what it calls"),
    "bytes of a size": (b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.", "bytearray of a size"),
    "an array of a size": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85X\x01\x00\x00\x00b\x87R.",
        "without values"),
    "a far place in the memory": (b"\x80\x02Nr\xff\xff\xff\x7f.", "claims memory"),
    "tuples without end": (b"\x80\x02}(" + b"N" + b"\x85" * 1_000_001 + b"K\x01u.", "nests more than"),
    "cut off": (b"\x80\x02X\xff\xff\xff\x00abc", "cut off"),
    "no weights": (b"\x80\x02K\x01.", "no weights in it"),
    "words for weights": (b"\x80\x02]X\x03\x00\x00\x00abca.", "array of numbers is expected"),
    "a key of tuples that double": (b"\x80\x02})" + (b"q\x00h\x00\x86") * 60 + b"K\x01s.", "values in a tuple"),
    "tuples of lists that double": (
        b"\x80\x02})" + (b"q\x000cbuiltins\ntuple\n(h\x00h\x00l\x85R") * 60 + b"K\x01s.",
        "values in a tuple"),
    "frozen sets of tuples that double": (
        b"\x80\x04}cbuiltins\nfrozenset\n]" + b")" + (b"q\x00h\x00\x86") * 60 + b"a\x85RK\x01s.", "values in a tuple"),
    "lists that double": (b"\x80\x02]]" + (b"q\x000(h\x00h\x00l") * 60 + b"a.", "lists of more values"),
    "the text of a list": (b"\x80\x02cbuiltins\nstr\n]\x85R.", "str of a container"),
    "a scalar of a size": (b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x0b\x00\x00\x00V1900000000\x85R"
                           b"\x85R.", "1900000000 bytes without its value"),
    "an array of large items": (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n)"
                                b"X\x0b\x00\x00\x00V1900000000\x87R.", "items of 1900000000 bytes"),
    "a dict with other items": (
        b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemscfoo\nBar\nsb.", r"no weights in it \("),
    "a key too deep for words": (b"}" + b")" + b"\x85" * 9000 + b"K\x01s.", "no weights in it"),
    "an object without arrays": (b"\x80\x02]cmy\nLayer\n)\x81a.", r"my\.Layer stands where an array"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(name, tmp_path, monkeypatch):
    assert_refused(*HOSTILE[name], tmp_path, monkeypatch)


def test_containers_and_zeros_beyond_all_measure_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(opcodes, "MOST", 1000)
    assert_refused(b"(" * 1001 + b".", "makes more than 1000 containers", tmp_path, monkeypatch)
    monkeypatch.setattr(unpickling, "SMALL", 1 << 20)
    zeros = gzip.compress(b"\0" * (2 << 20))
    assert_refused(zeros, "it unpacks to more than 1 MiB", tmp_path, monkeypatch)


def test_tuples_in_tuples_are_read_with_room(tmp_path):
    depth = 200_000
    (tmp_path / "w.pkl").write_bytes(b"\x80\x02}(N" + b"\x85" * depth + b"K\x01u.")
    found = read_pickle(tmp_path / "w.pkl")
    assert list(found.values()) == [1]


def test_hostile_arrays_of_objects(tmp_path, monkeypatch):
    values = np.empty(1, object)
    values[0] = Hostile(os.system, "touch ran")
    np.savez(tmp_path / "w.npz", values)
    assert_refused((tmp_path / "w.npz").read_bytes(), "posix.system", tmp_path, monkeypatch)
    np.save(tmp_path / "w.npy", values, allow_pickle=True)
    assert_refused((tmp_path / "w.npy").read_bytes(), "posix.system", tmp_path, monkeypatch)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed, np.save])
def test_a_list_of_arrays_saved_as_one_object(save, tmp_path):
    ragged = np.empty(len(WANTED), object)
    ragged[:] = WANTED
    path = tmp_path / ("w.npy" if save is np.save else "w.npz")
    save(path, ragged)
    for found, wanted in zip(read(path), WANTED, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_header_that_promises_too_much(tmp_path, monkeypatch):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as file:
        file.writestr("arr_0.npy", head.getvalue())
    assert_refused((tmp_path / "w.npz").read_bytes(), "cut off", tmp_path, monkeypatch)
    assert_refused((tmp_path / "w.npz").read_bytes()[:-9], "cannot be read", tmp_path, monkeypatch)


@pytest.mark.parametrize("function", [b"ctheano.sandbox.cuda.type\nCudaNdarray_unpickler\n",
                                      b"ctheano.gpuarray.type\nGpuArray_unpickler\n"])  # fmt: skip
def test_arrays_of_a_gpu_are_arrays(function, tmp_path):
    """A list of variables whose values lay on a GPU, as Theano pickled them."""
    parts = [function + pickle.dumps(value, 2)[2:-1] + b"\x85R" for value in WANTED]
    (tmp_path / "w.pkl").write_bytes(b"\x80\x02](" + b"".join(parts) + b"e.")
    for found, wanted in zip(read(tmp_path / "w.pkl"), WANTED, strict=True):
        np.testing.assert_array_equal(found, wanted)


def damaged(**members):
    """An .npz of these files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return made.getvalue()


def saved(value):
    made = io.BytesIO()
    np.save(made, value, allow_pickle=True)
    return made.getvalue()


OBJECTS = saved(np.array([{}, 1], object))
BROKEN = {
    "an unknown opcode": (b"\x80\x02\xff.", r"not a readable pickle \(no opcode at byte 2\)"),
    "gzip cut off": (gzip.compress(pickle.dumps(WANTED))[:-20], "cannot be read: Compressed file ended before"),
    "arrays of objects": (damaged(arr_0=OBJECTS, arr_1=saved(WANTED[1])), "it holds objects where arrays are expected"),
    "objects that are none": (OBJECTS[:128] + pickle.dumps("text"), "it holds objects where arrays are expected"),
    "a header of nothing": (b"\x93NUMPY\x01\x00\x02\x00{}", "cannot be read: Header does not contain the correct keys"),
    "an object of no net": (b"\x80\x02cmy\nThing\n)\x81}X\x01\x00\x00\x00aK\x01sb.", "no weights in it: neither"),
    "deep and damaged": (b"\x80\x02N" + b"\x85" * 20_000 + b"h\x63.", "not a readable pickle"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_hold_no_weights(name, tmp_path, monkeypatch):
    assert_refused(*BROKEN[name], tmp_path, monkeypatch)


def test_files_that_are_not_there(tmp_path):
    for target in (small(), nets.load(to_net(small()))):
        with pytest.raises(WeightsError, match=r"(?i)no such file or directory"):
            converters.load_weights(target, tmp_path / "w.pkl")
    with pytest.raises(WeightsError, match=r"cannot be read: .*No such file"):
        read_pickle(tmp_path / "w.pkl")
    with pytest.raises(TypeError, match="a Lasagne net takes one file"):
        converters.load_weights(small(), [tmp_path / "a.pkl", tmp_path / "b.pkl"])


def test_what_a_net_of_caffe_does_not_take_is_listed(tmp_path):
    net = nets.load(to_net(small()))
    by_layer = OrderedDict(cnv=WANTED[:2], dense=WANTED[2:3])
    (tmp_path / "w.pickle").write_bytes(pickle.dumps(by_layer, -1))
    with pytest.raises(
        WeightsError, match=r"(?s)'cnv' is not in the net.*'conv' is not in the file.*'dense' has 1 arrays"
    ):
        converters.load_weights(net, tmp_path / "w.pickle")
    np.savez(tmp_path / "w.npz", *WANTED, WANTED[0])
    with pytest.raises(WeightsError, match="1 arrays too many in the file: 2x1x3x3"):
        converters.load_weights(net, tmp_path / "w.npz")
    lstm = LSTMLayer(InputLayer((2, 3, 4), name="x"), 5, name="lstm")
    deep = nets.load(to_net(lstm))
    np.savez(tmp_path / "lstm.npz", *[blob.detach() for blob in deep.layer("lstm").blobs])
    with pytest.raises(WeightsError, match=r"'lstm' \(PeepholeLSTM\): load the file into the Lasagne net"):
        converters.load_weights(deep, tmp_path / "lstm.npz")


def test_a_net_of_caffe_takes_layers_by_name(tmp_path):
    net = nets.load(to_net(small()))
    (tmp_path / "w.pickle").write_bytes(pickle.dumps(OrderedDict(dense=WANTED[2:], input=[], conv=WANTED[:2]), -1))
    converters.load_weights(net, tmp_path / "w.pickle")
    np.testing.assert_array_equal(net.layer("dense").weight.detach(), WANTED[2].T)
    np.testing.assert_array_equal(net.layer("conv").weight.detach(), WANTED[0][:, :, ::-1, ::-1])


class Numbers(list):
    """A list of the script's own; pickled with the module's name, which the reader does not know."""


class Named(dict):
    """A dict of the script's own."""


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_objects_of_unknown_classes_keep_what_they_hold(protocol, tmp_path):
    held = [Numbers(WANTED), Numbers(WANTED[:1]), Named(a=WANTED[1])]
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(held, protocol))
    found = list(unpickling.arrays_in(read_pickle(tmp_path / "w.pkl")))
    for one, wanted in zip(found, [*WANTED, WANTED[0], WANTED[1]], strict=True):
        np.testing.assert_array_equal(one, wanted)


def test_what_is_called_and_added_to_in_a_pickle_is_kept(tmp_path):
    array = pickle.dumps(WANTED[1], 4)[2:-1]
    thing = b"cmy\nThing\n)\x81"
    (tmp_path / "w.pkl").write_bytes(b"\x80\x04(" + thing + array + b"\x85R" + thing + b"(" + array + b"\x90l.")
    for one in unpickling.arrays_in(read_pickle(tmp_path / "w.pkl")):
        np.testing.assert_array_equal(one, WANTED[1])
    called, added = read_pickle(tmp_path / "w.pkl")
    assert (len(called.arguments), len(added.listed)) == (2, 1)


def test_plain_values_are_read(tmp_path):
    values = {"rate": np.float32(0.25), "name": "net", "raw": bytearray(b"ab"), "flags": {1, 2}}
    for protocol in (2, 4, 5):
        (tmp_path / "w.pkl").write_bytes(pickle.dumps(values, protocol))
        assert read_pickle(tmp_path / "w.pkl") == values
    (tmp_path / "w.pkl").write_bytes(b"\x80\x02cbuiltins\nstr\nX\x02\x00\x00\x00ab\x85R.")
    assert read_pickle(tmp_path / "w.pkl") == "ab"
