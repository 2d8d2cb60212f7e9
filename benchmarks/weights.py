"""Time and memory of large weights, .caffemodel and ONNX: ``python benchmarks/weights.py [--size MB]``.

Each way runs in a process of its own, several times; the best time counts. Side by side: the bare file
(read into memory, written and flushed to the disk), this library, and the plain way through a protobuf
message. Peak memory is what the process had beyond its imports, the net or the array that holds the values
included.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path[0] = str(Path(__file__).parents[1])  # a neighbour of this file is called as a package

import onnx  # noqa: E402
from onnx import numpy_helper  # noqa: E402

import nets  # noqa: E402
from converters import export_onnx  # noqa: E402
from nets.weights import load_weights, save_weights  # noqa: E402
from protos import text  # noqa: E402
from protos.schema import NetParameter  # noqa: E402

MAKE = "make the file"  # not here: a process counts the memory of the one that starts it as its own
WIDTHS = (25088, 4096, 4096, 1000)  # the inner products of VGG-16: 495 MB
MODEL = """
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: {0} }} }} }} layer {{
name: "fc6" type: "InnerProduct" bottom: "data" top: "fc6" inner_product_param {{ num_output: {1} }} }}
layer {{ name: "fc7" type: "InnerProduct" bottom: "fc6" top: "fc7" inner_product_param {{ num_output: {2} }}
}} layer {{ name: "fc8" type: "InnerProduct" bottom: "fc7" top: "fc8" inner_product_param {{ num_output: {3}
}} }}
"""


def make_net(size: float) -> nets.Net:
    scale = (size / 495) ** 0.5
    net = nets.Net(nets.graph.build(text.parse_net(MODEL.format(*(int(width * scale) for width in WIDTHS)))))
    for blob in net.learnable:
        with torch.no_grad():
            blob.tensor.fill_(1 / 3)
    return net


def read_file(path: Path, size: float) -> Callable[[], object]:
    return path.read_bytes


def write_file(path: Path, size: float) -> Callable[[], object]:
    content = path.read_bytes()

    def write() -> None:
        with path.with_suffix(".out").open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    return write


def load(path: Path, size: float) -> Callable[[], object]:
    net = make_net(size)
    return lambda: load_weights(net, path)


def save(path: Path, size: float) -> Callable[[], object]:
    net = make_net(size)
    return lambda: save_weights(net, path.with_suffix(".out"))


def load_protobuf(path: Path, size: float) -> Callable[[], object]:
    net = make_net(size)

    def parse() -> None:
        for layer in NetParameter.FromString(path.read_bytes()).layer:
            for blob, stored in zip(net.layer(layer.name).blobs if layer.blobs else [], layer.blobs, strict=True):
                values = np.fromiter(stored.data, np.float32, len(stored.data))
                with torch.no_grad():
                    blob.copy_(torch.from_numpy(values).view(blob.shape))

    return parse


def save_protobuf(path: Path, size: float) -> Callable[[], object]:
    net = make_net(size)

    def serialize() -> None:
        param = NetParameter()
        for node, layer in net.nodes:
            proto = param.layer.add(name=node.name, type=node.type)
            for blob in layer.blobs:
                stored = proto.blobs.add()
                stored.shape.dim[:] = blob.shape
                stored.data.extend(blob.detach().numpy().ravel())
        with path.with_suffix(".out").open("wb") as file:
            file.write(param.SerializeToString())
            file.flush()
            os.fsync(file.fileno())

    return serialize


def export(path: Path, size: float) -> Callable[[], object]:
    net = make_net(size)
    export_onnx(make_net(1), path.with_suffix(".out"))  # the imports that it takes
    return lambda: export_onnx(net, path.with_suffix(".out"))


def export_protobuf(path: Path, size: float) -> Callable[[], object]:
    net, target = make_net(size), path.with_suffix(".out")
    export_onnx(net, target)
    model = onnx.load(target)

    def serialize() -> None:
        del model.graph.initializer[:]
        for node, layer in net.nodes:
            for blob, name in zip(layer.blobs, ("weight", "bias"), strict=False):
                values = numpy_helper.from_array(blob.detach().numpy(), f"{node.name}.{name}")
                model.graph.initializer.append(values)
        onnx.checker.check_model(model, full_check=True)
        with target.open("wb") as file:
            file.write(model.SerializeToString())
            file.flush()
            os.fsync(file.fileno())

    return serialize


def make_file(path: Path, size: float) -> Callable[[], object]:
    return lambda: save_weights(make_net(size), path)


WAYS = {
    "read: the bare file": (read_file, 5),
    "read: load_weights": (load, 5),
    "read: through protobuf": (load_protobuf, 1),
    "write: the bare file": (write_file, 5),
    "write: save_weights": (save, 5),
    "write: through protobuf": (save_protobuf, 1),
    "write: export_onnx": (export, 5),
    "write: ONNX, protobuf": (export_protobuf, 5),
    MAKE: (make_file, 1),
}


def peak() -> int:
    """The largest memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(way: str, path: Path, size: float) -> None:
    start = peak()
    make, repeats = WAYS[way]
    run = make(path, size)
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    print(json.dumps([min(times), peak() - start]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=float, default=500, help="of the model, in MB")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        measure(options.way, options.file, options.size)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.caffemodel")
        run_apart(MAKE, path, options.size)
        size = path.stat().st_size
        print(f"a model of {size / 1e6:.0f} MB")
        bare = 0.0
        for way in list(WAYS)[:-1]:
            seconds, memory = run_apart(way, path, options.size)
            bare = seconds if "bare" in way else bare
            print(f"{way:24} {seconds:8.2f} s {seconds / bare:7.2f}x   peak {memory / size:5.2f}x the file")


def run_apart(way: str, path: Path, size: float) -> tuple[float, float]:
    """Seconds and bytes of *way*, in a process of its own."""
    command = [sys.executable, __file__, "--size", f"{size}", "--way", way, "--file", f"{path}"]
    seconds, memory = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return seconds, memory


if __name__ == "__main__":
    main()
