"""Deploy nets on a CPU: ours beside plain PyTorch, OpenCV and the original, in one run.

    python benchmarks/inference.py [--nets lenet,googlenet] [--batches 1,16] [--seconds 5] [--python PYTHON]

ours: ``nets.load``, then ``net(data=x)``. pycaffe: a script that imports caffe, by ``converters.run``. original: the
same script by PYTHON, which can import the original caffe. plain: the module that ``converters.export_pytorch`` writes,
as a user of PyTorch would run it. opencv: its reader of Caffe's files, where it is installed. The weights are drawn.
They take turns of about a second, each in its own process, and the median speed counts.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE.parent)  # a neighbour of this file is called as a package
sys.path.insert(1, str(HERE.parent / "tests" / "converters"))

import architectures  # noqa: E402
import torch  # noqa: E402

import converters  # noqa: E402
import nets  # noqa: E402
from benchmarks.turns import Build, Command, Steps, measure, place  # noqa: E402

NETS = {
    "lenet": ((HERE.parent / "protos" / "zoo" / "lenet" / "deploy.prototxt").read_text, (1, 28, 28)),
    "caffenet": (architectures.caffenet, (3, 227, 227)),
    "googlenet": (architectures.googlenet, (3, 224, 224)),
    "squeezenet": (architectures.squeezenet, (3, 227, 227)),
    "resnet50": (architectures.resnet50, (3, 224, 224)),
}

# It may run in an interpreter of Python 2.
SCRIPT = """
import os, sys, time
os.environ["GLOG_minloglevel"] = "3"
import numpy as np
import caffe
net = caffe.Net(sys.argv[1], sys.argv[2], caffe.TEST)
data = net.blobs["data"]
data.reshape(int(sys.argv[3]), *data.shape[1:])
data.data[...] = np.random.randn(*data.shape)
for line in iter(sys.stdin.readline, ""):
    start = time.time()
    for _ in range(int(line)):
        net.forward()
    sys.stdout.write("%r\\n" % (time.time() - start))
    sys.stdout.flush()
"""


def ours(model: str, weights: str, shape: tuple[int, ...]) -> Steps:
    net, x = nets.load(model, weights=weights), torch.randn(shape)

    def steps(count: int) -> None:
        with torch.no_grad():
            for _ in range(count):
                net(data=x)

    return steps


def plain(source: str, shape: tuple[int, ...]) -> Steps:
    spec = importlib.util.spec_from_file_location("exported", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net, x = module.load(), torch.randn(shape)

    def steps(count: int) -> None:
        with torch.no_grad():
            for _ in range(count):
                net(x)

    return steps


def opencv(model: str, weights: str, shape: tuple[int, ...]) -> Steps:
    import cv2  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415  # it may not be there

    cv2.setNumThreads(torch.get_num_threads())
    net, x = cv2.dnn.readNetFromCaffe(model, weights), torch.randn(shape).numpy()

    def steps(count: int) -> None:
        for _ in range(count):
            net.setInput(x)
            net.forward()

    return steps


def compare(name: str, batch: int, seconds: float, python: str | None) -> dict[str, float]:
    """Passes a second of each contender."""
    text, shape = NETS[name]
    with tempfile.TemporaryDirectory() as folder:
        model, weights, source = (
            str(Path(folder) / file) for file in ("net.prototxt", "net.caffemodel", "exported.py")
        )
        Path(model).write_text(text())
        net = architectures.make(text())
        converters.save_weights(net, weights)
        converters.export_pytorch(net, source)
        program = Path(folder) / "script.py"
        program.write_text(SCRIPT)
        given = [str(program), model, weights, str(batch)]
        contenders: dict[str, Build | Command] = {
            "ours": partial(ours, model, weights, (batch, *shape)),
            "pycaffe": [sys.executable, "-m", "converters.run", *given],
            "plain": partial(plain, source, (batch, *shape)),
        }
        if importlib.util.find_spec("cv2"):
            contenders["opencv"] = partial(opencv, model, weights, (batch, *shape))
        if python:
            contenders["original"] = [python, *given]
        return measure(contenders, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--seconds", type=float, default=5, help="turns of about a second for each contender")
    parser.add_argument("--python", help="an interpreter that can import the original caffe")
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH"))))
    print(f"{place(torch.device('cpu'))}; images a second")
    for name in args.nets.split(","):
        for batch in map(int, args.batches.split(",")):
            speeds = compare(name, batch, args.seconds, args.python)
            told = "  ".join(f"{who} {batch * speed:7.1f}" for who, speed in speeds.items())
            print(f"{name:10} batch {batch:3}: {told}", flush=True)


if __name__ == "__main__":
    main()
