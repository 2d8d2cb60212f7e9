"""A script as people wrote them for pycaffe. ``run(folder)`` gives all that it saw, in order.

`tests/golden/pycaffe/script.npz` is what it saw with the original: ``python script.py OUT.npz`` wrote it there.
"""

import math
import sys
import tempfile
from functools import partial
from pathlib import Path

import caffe
import numpy as np
from caffe import layers as L
from caffe import params as P
from caffe.coord_map import coord_map_from_to
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from PIL import Image

FILLER = {"weight_filler": {"type": "xavier"}}


class Notes(list):
    """Names and values."""

    def note(self, name, value):
        self.append((name, np.array(value)))


def draw(net, seed):
    """Weights that do not depend on a filler's random numbers."""
    chance = np.random.RandomState(seed)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] = chance.randn(*blob.data.shape) * 0.3


def small_net(folder):
    n = caffe.NetSpec()
    n.data = L.Input(shape=[{"dim": [4, 3, 12, 12]}])
    n.conv1 = L.Convolution(n.data, kernel_size=3, num_output=5, **FILLER)
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    n.pool1 = L.Pooling(n.relu1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.norm = L.LRN(n.pool1, local_size=3, alpha=0.1)
    n.branch = L.Convolution(n.pool1, kernel_size=1, num_output=5, **FILLER)
    n.sum = L.Eltwise(n.norm, n.branch)
    n.ip = L.InnerProduct(n.sum, num_output=6, **FILLER)
    n.prob = L.Softmax(n.ip)
    path = folder + "/net.prototxt"
    Path(path).write_text("force_backward: true\n" + str(n.to_proto()))
    return path


def looks(seen, path):
    """What there is in a net."""
    message = caffe_pb2.NetParameter()
    text_format.Merge(Path(path).read_text(), message)
    seen.note("layers of the file", [layer.name for layer in message.layer])
    net = caffe.Net(path, caffe.TEST)
    seen.note("inputs and outputs", list(net.inputs) + list(net.outputs))
    seen.note("params", [f"{name} {list(blobs[0].data.shape)}" for name, blobs in net.params.items()])
    seen.note("layer names", [name for name in net._layer_names if "split" not in name])
    seen.note("layer types", [layer.type for layer in net.layers if layer.type != "Split"])
    seen.note("blobs", [name for name in net.blobs if "split" not in name])
    seen.note("type by name", net.layer_dict["pool1"].type)
    try:
        net.blobs["data"].data = 1
        seen.note("data can be replaced", [True])
    except AttributeError:
        seen.note("data can be replaced", [False])
    seen.note("tops and bottoms", [*net.top_names["conv1"], *net.bottom_names["conv1"]])
    data = net.blobs["data"]
    seen.note("sizes", [data.num, data.channels, data.height, data.width, data.count])


def passes(seen, path):
    """Forwards and backwards, whole and in part, with hands on the blobs."""
    chance = np.random.RandomState(1)
    net = caffe.Net(path, caffe.TEST)
    draw(net, 2)
    x, g = chance.randn(4, 3, 12, 12), chance.randn(4, 6)
    seen.note("forward", net.forward(data=x)["prob"])
    net.blobs["data"].data[...] = x * 2
    seen.note("forward to pool1", net.forward(end="pool1")["pool1"])
    net.blobs["pool1"].data[...] *= 0.5
    found = net.forward(start="norm", blobs=["norm", "sum"])
    for name in ("prob", "norm", "sum"):
        seen.note(f"forward from norm: {name}", found[name])
    net.forward()
    seen.note("backward", net.backward(prob=g)["data"])
    seen.note("backward again", net.backward(prob=g, diffs=["conv1", "pool1"])["conv1"])
    for name, blobs in net.params.items():
        for blob in blobs:
            seen.note(f"diffs of {name} add up", blob.diff)
    net.clear_param_diffs()
    net.blobs["sum"].diff[...] = net.blobs["sum"].data
    net.backward(start="sum", end="conv1")
    seen.note("backward from the middle", net.blobs["data"].diff)
    seen.note("its diff", net.params["conv1"][0].diff)
    calls = []
    for when in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(net, when)(lambda layer, when=when: calls.append(when + " " + net._layer_names[layer]))
    net.forward(end="conv1")
    net.backward(start="conv1")
    seen.note("calls", calls)


def batches(seen, path):
    """Other numbers of items."""
    chance = np.random.RandomState(3)
    net = caffe.Net(path, caffe.TEST)
    draw(net, 4)
    net.blobs["data"].reshape(2, 3, 12, 12)
    net.reshape()
    seen.note("shape of prob", list(net.blobs["prob"].data.shape))
    net.blobs["data"].data[...] = chance.randn(2, 3, 12, 12)
    seen.note("two items", net.forward()["prob"])
    net.blobs["data"].reshape(4, 3, 12, 12)
    xs = chance.randn(10, 3, 12, 12)
    found = net.forward_all(data=xs, blobs=["norm"])
    seen.note("ten items", found["prob"])
    seen.note("their norm", found["norm"])
    found, back = net.forward_backward_all(data=xs, prob=chance.randn(10, 6))
    seen.note("ten items back", back["data"])


def files(seen, path, folder):
    """Weights in and out, shared, and cut."""
    x = np.random.RandomState(5).randn(4, 3, 12, 12)
    net = caffe.Net(path, caffe.TEST)
    draw(net, 6)
    net.save(folder + "/w.caffemodel")
    again = caffe.Net(path, folder + "/w.caffemodel", caffe.TEST)
    seen.note("saved", again.forward(data=x)["prob"])
    third = caffe.Net(path, caffe.TEST, weights=folder + "/w.caffemodel")
    seen.note("by keyword", third.forward(data=x)["prob"])
    third.share_with(again)
    again.params["ip"][1].data[...] = 1
    seen.note("shared", third.forward(data=x)["prob"])
    third.params["branch"][0].data.flat = again.params["conv1"][0].data.flat[:25]
    seen.note("cut", third.forward(data=x)["prob"])


def classifier(seen, path, folder):
    """Ten crops of images, and their centres."""
    images = [np.random.RandomState(7).rand(16, 18, 3).astype(np.float32) for _ in range(3)]
    mean = np.array([0.1, 0.2, 0.3])
    net = caffe.Classifier(
        path, folder + "/w.caffemodel", image_dims=(16, 18), mean=mean, raw_scale=2.0, input_scale=0.5,
        channel_swap=(2, 1, 0),
    )  # fmt: skip
    seen.note("ten crops", net.predict(images))
    seen.note("centres", net.predict(images, oversample=False))
    made = net.transformer.preprocess("data", images[0][:12, :12])
    seen.note("preprocessed", made)
    seen.note("deprocessed", net.transformer.deprocess("data", made))


def train_net(folder):
    n = caffe.NetSpec()
    n.data, n.label = L.DummyData(
        shape=[{"dim": [8, 3, 5, 5]}, {"dim": [8]}],
        data_filler=[{"type": "constant", "value": 0.7}, {"type": "constant", "value": 2}],
        ntop=2,
    )
    n.scale = L.Power(n.data, scale=2)
    n.ip1 = L.InnerProduct(n.scale, num_output=7, **FILLER)
    n.act = L.TanH(n.ip1)
    n.score = L.InnerProduct(n.act, num_output=4, **FILLER)
    n.loss = L.SoftmaxWithLoss(n.score, n.label)
    n.acc = L.Accuracy(n.score, n.label)
    path = folder + "/train.prototxt"
    Path(path).write_text(str(n.to_proto()))
    return path


def training(seen, folder, rule, make):
    """Steps, by the solver and by hand, and what they leave in the blobs."""
    path = train_net(folder)
    Path(folder, "solver.prototxt").write_text(
        f'train_net: "{path}" test_net: "{path}" test_iter: 1 test_interval: 1000 base_lr: 0.05 momentum: 0.9 '
        f'lr_policy: "step" gamma: 0.5 stepsize: 3 weight_decay: 0.01 type: "{rule}" max_iter: 12 '
        f'snapshot_prefix: "{folder}/snap" random_seed: 1 solver_mode: CPU'
    )
    solver = make(folder + "/solver.prototxt")
    draw(solver.net, 8)
    for _ in range(5):
        solver.step(1)
        seen.note(f"{rule}: rate", solver.lr)
        for name in ("loss", "score", "act"):
            seen.note(f"{rule}: {name}", solver.net.blobs[name].data)
            seen.note(f"{rule}: diff of {name}", solver.net.blobs[name].diff)
        for name, blobs in solver.net.params.items():
            seen.note(f"{rule}: {name}", blobs[0].data)
            seen.note(f"{rule}: update of {name}", blobs[0].diff)
    tests = solver.test_nets[0]
    seen.note(f"{rule}: test loss", tests.forward()["loss"])
    tests.forward(start="ip1")
    seen.note(f"{rule}: test score", tests.blobs["score"].data)
    solver.net.clear_param_diffs()
    solver.net.forward()
    solver.net.backward()
    seen.note(f"{rule}: diff by hand", solver.net.params["ip1"][0].diff)
    solver.apply_update()
    seen.note(f"{rule}: by hand", solver.net.params["ip1"][0].data)
    seen.note(f"{rule}: iter", solver.iter)
    solver.snapshot()
    solver.solve()
    seen.note(f"{rule}: solved", solver.net.params["score"][0].data)
    seen.note(f"{rule}: last iter", solver.iter)
    again = make(folder + "/solver.prototxt")
    again.restore(folder + "/snap_iter_6.solverstate")
    again.step(2)
    seen.note(f"{rule}: restored", again.net.params["score"][0].data)
    again.share_weights(solver.net)
    seen.note(f"{rule}: sharing", solver.net.params["score"][0].data)
    third = make(folder + "/solver.prototxt")
    third.solve(folder + "/snap_iter_6.solverstate")
    seen.note(f"{rule}: solved from a state", third.net.params["score"][0].data)
    weights = solver.net.blob_loss_weights
    seen.note(f"{rule}: loss weights", [weights[name] for name in ("score", "loss", "acc")])


def specs(seen):
    """Nets in Python: names that are given twice, and tops without any."""
    n = caffe.NetSpec()
    n.data, unnamed = L.DummyData(shape=[{"dim": [1, 3, 4, 4]}, {"dim": [1]}], ntop=2)
    n.x = L.Convolution(n.data, num_output=2, kernel_size=1)
    n.x = L.ReLU(n.x)
    n.x = L.ReLU(n.x, in_place=True)
    n.tops["y"] = L.InnerProduct(n.x, num_output=3, name="named")
    n.y.fn.params["bias_term"] = False
    n.silence = L.Silence(unnamed, ntop=0)
    _, n.b = L.Slice(n.y, ntop=2, slice_point=[1])
    left = L.Slice(n.b, ntop=2, axis=1, slice_point=[1])[0]
    for name, net in (("a spec", n.to_proto()), ("a top", left.to_proto()), ("tops", caffe.to_proto(n.x, left))):
        layers = [" ".join([layer.name, layer.type, *layer.bottom, "->", *layer.top]) for layer in net.layer]
        seen.note(f"the layers of {name}", layers)
    seen.note("options that changed", [n.to_proto().layer[4].inner_product_param.bias_term])
    names = caffe.net_spec.param_name_dict()
    seen.note("names of options", [names[kind] for kind in ("Convolution", "InnerProduct", "LRN", "Recurrent", "Loss")])


def pixels(seen):
    """Where the pixels of tops lie in each other."""
    for kernel, stride, pad, pooled, up, cut in (
        (3, 1, 0, 2, 2, 0),
        (3, 1, 0, 4, 4, 0),
        (3, 2, 1, 4, 2, 1),
        (7, 1, 9, 2, 4, 0),
    ):
        data = L.Input(shape=[{"dim": [2, 1, 100, 100]}])
        x = L.Convolution(data, num_output=1, kernel_size=kernel, stride=stride, pad=pad)
        x = L.Pooling(x, kernel_size=pooled, stride=pooled)
        x = L.Deconvolution(x, num_output=1, kernel_size=up, stride=up, pad=cut)
        for there, back in ((x, data), (data, x)):
            axis, scale, shift = coord_map_from_to(there, back)
            seen.note("pixels", [axis, *scale, *shift])


def numbers(seen, path):
    """Layers and blobs by their numbers."""
    net = caffe.Net(path, caffe.TEST)
    first = list(net._layer_names).index("conv1")
    seen.note("by number", [net._blob_names[i] for i in [*net._bottom_ids(first), *net._top_ids(first)]])
    seen.note("ends by number", [net._blob_names[i] for i in [*net._inputs, *net._outputs]])
    seen.note("a blob by number", list(net._blobs[net._top_ids(first)[0]].shape))
    seen.note(
        "kinds", [type(net.params["conv1"]) is caffe._caffe.BlobVec, isinstance(net.blobs["ip"], caffe._caffe.Blob)]
    )


def fed(seen, folder):
    """A solver whose inputs and constants are what the script writes."""
    n = caffe.NetSpec()
    n.x = L.Input(shape=[{"dim": [6, 4]}])
    n.y = L.DummyData(shape=[{"dim": [6]}])
    n.ip = L.InnerProduct(n.x, num_output=3, **FILLER)
    n.loss = L.SoftmaxWithLoss(n.ip, n.y)
    Path(folder, "fed.prototxt").write_text(str(n.to_proto()))
    Path(folder, "fed_solver.prototxt").write_text(
        f'net: "{folder}/fed.prototxt" test_iter: 1 test_interval: 1000 base_lr: 0.5 lr_policy: "fixed" momentum: 0.9'
    )
    solver = caffe.SGDSolver(folder + "/fed_solver.prototxt")
    draw(solver.net, 11)
    chance = np.random.RandomState(12)
    for _ in range(4):
        solver.net.blobs["x"].data[...] = chance.randn(6, 4)
        solver.net.blobs["y"].data[...] = chance.randint(3, size=6)
        solver.step(1)
        seen.note("loss of what was fed", solver.net.blobs["loss"].data)
        seen.note("weights after it", solver.net.params["ip"][0].data)
    test = solver.test_nets[0]
    test.share_with(solver.net)
    test.blobs["x"].data[...] = chance.randn(6, 4)
    test.blobs["y"].data[...] = [0, 1, 2, 0, 1, 2]
    seen.note("loss by number", test._forward(0, len(test.layers) - 1))
    seen.note("loss of the test", test.forward()["loss"])
    solver.net.forward()
    solver.net.backward()
    solver.apply_update()
    seen.note("weights by hand", solver.net.params["ip"][0].data)


def deploy(seen, folder):
    """A net without a loss: its diffs stay as they are."""
    n = caffe.NetSpec()
    n.x = L.Input(shape=[{"dim": [2, 4]}])
    n.ip = L.InnerProduct(n.x, num_output=3, **FILLER)
    n.prob = L.Softmax(n.ip)
    Path(folder, "deploy.prototxt").write_text(str(n.to_proto()))
    net = caffe.Net(folder + "/deploy.prototxt", caffe.TEST)
    net.forward(x=np.ones((2, 4)))
    net.backward(prob=np.arange(6).reshape(2, 3))
    for name, blob in [*net.blobs.items(), ("weights", net.params["ip"][0])]:
        seen.note(f"diff of {name} without a loss", blob.diff)


def detector(seen, path, folder):
    """Windows of images, cut with and without what is around them."""
    chance = np.random.RandomState(13)
    images = [chance.randint(0, 256, size).astype(np.uint8) for size in ((40, 50, 3), (33, 21, 3))]
    names = [f"{folder}/{i}.png" for i in range(len(images))]
    for name, image in zip(names, images):  # noqa: B905  # the original's Python has no strict
        Image.fromarray(image).save(name)
    windows = [
        np.array(sides) for sides in ((0, 0, 40, 50), (3, 5, 20, 30), (30, 40, 40, 50), (0, 0, 5, 4), (10, 0, 33, 7))
    ]
    mean = chance.rand(3, 12, 12).astype(np.float32) * 100
    for more in (
        {},
        {"mean": mean, "raw_scale": 255, "input_scale": 0.02, "channel_swap": (2, 1, 0), "context_pad": 2},
        {"context_pad": 3},
    ):
        net = caffe.Detector(path, folder + "/w.caffemodel", **more)
        seen.note("crop_dims", net.crop_dims)
        found = net.detect_windows([(names[0], windows), (names[1], windows[3:])])
        seen.note("windows", [entry["window"] for entry in found])
        seen.note("their images", [names.index(entry["filename"]) for entry in found])
        seen.note("their predictions", [entry["prediction"] for entry in found])
        seen.note("a crop", net.crop(images[0] / np.float32(255), windows[2]))


def messages(seen):
    """caffe.io's messages."""
    values = np.random.RandomState(9).rand(2, 3, 4)
    datum = caffe.io.array_to_datum(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), 7)
    seen.note("Datum", np.frombuffer(datum.SerializeToString(), np.uint8))
    seen.note("its values", caffe.io.datum_to_array(datum))
    seen.note("floats", caffe.io.datum_to_array(caffe.io.array_to_datum(values)))
    blob = caffe.io.array_to_blobproto(values, values * 2)
    seen.note("blob", caffe.io.blobproto_to_array(blob))
    seen.note("its diff", caffe.io.blobproto_to_array(blob, return_diff=True))
    seen.note("crops", caffe.io.oversample([values.transpose(1, 2, 0)], (2, 3)))
    seen.note("types", [kind in caffe.layer_type_list() for kind in ("Convolution", "Data", "Input")])


def run(folder):
    caffe.set_mode_cpu()
    seen = Notes()
    path = small_net(folder)
    looks(seen, path)
    passes(seen, path)
    batches(seen, path)
    files(seen, path, folder)
    classifier(seen, path, folder)
    for rule, make in (("SGD", caffe.SGDSolver), ("Adam", caffe.AdamSolver), ("Nesterov", caffe.get_solver)):
        training(seen, folder, rule, make)
    messages(seen)
    specs(seen)
    pixels(seen)
    numbers(seen, path)
    fed(seen, folder)
    deploy(seen, folder)
    detector(seen, path, folder)
    return seen


class Whole(np.ndarray):
    """An image that takes floats that are whole numbers as the ends of slices, as NumPy did."""

    def __getitem__(self, key):
        ends = [slice(*(int(end) for end in (side.start, side.stop))) for side in key]
        return np.asarray(self)[tuple(ends)]


def help_the_original():
    """Its detector is older than today's NumPy, scikit-image and Python."""
    crop = caffe.Detector.crop
    caffe.Detector.crop = lambda self, im, window: crop(self, im.view(Whole), window)
    caffe.detector.round = lambda value: math.floor(value + 0.5)
    caffe.io.resize = partial(caffe.io.resize, anti_aliasing=False)
    caffe.io.load_image = lambda name: (np.asarray(Image.open(name)) / 255).astype(np.float32)


if __name__ == "__main__":
    help_the_original()
    found = run(tempfile.mkdtemp())
    np.savez_compressed(sys.argv[1], **{f"{i:03} {name}": value for i, (name, value) in enumerate(found)})
