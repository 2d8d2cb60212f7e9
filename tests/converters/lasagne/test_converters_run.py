"""Scripts for Theano, Lasagne and nolearn, run with the stand-ins."""

import builtins
import inspect
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import converters.lasagne as L
from converters.lasagne import installing
from converters.lasagne.modern import modernise
from converters.lasagne.python2 import old_division
from converters.lasagne.theano.config import Config, config
from converters.run import main, run
from protos.errors import CaffeError

API = Path(__file__).parents[2] / "golden" / "lasagne" / "api.txt"
pytestmark = pytest.mark.usefixtures("restored")


def script(tmp_path, text):
    path = tmp_path / "script.py"
    path.write_text(text)
    return path


MODERN = """
import sys
import numpy as np
import theano, theano.tensor as T, lasagne
from lasagne.layers import InputLayer, DenseLayer
try:
    from lasagne.layers.cuda_convnet import Conv2DCCLayer as Conv
except ImportError:
    from lasagne.layers import Conv2DLayer as Conv
x, y = T.matrix("x"), T.ivector("y")
net = DenseLayer(InputLayer((None, 4), x), 3, nonlinearity=lasagne.nonlinearities.softmax)
loss = lasagne.objectives.categorical_crossentropy(lasagne.layers.get_output(net), y).mean()
params = lasagne.layers.get_all_params(net, trainable=True)
step = theano.function([x, y], loss, updates=lasagne.updates.adam(loss, params, learning_rate=0.05))
X = np.random.RandomState(0).normal(size=(50, 4))
losses = [float(step(X, (X[:, 0] > 0).astype("int32"))) for _ in range(60)]
arguments = sys.argv[1:]
"""


def test_a_script_trains(tmp_path):
    names = run(script(tmp_path, MODERN), ["--fast"])
    assert names["losses"][-1] < 0.5 * names["losses"][0]
    assert names["arguments"] == ["--fast"]
    assert names["Conv"] is L.layers.Conv2DLayer


def test_the_process_keeps_the_memory_of_what_is_computed(tmp_path, monkeypatch):
    """A batch of 500 digits trains twice as fast so."""
    set_to = []
    library = SimpleNamespace(mallopt=lambda *setting: set_to.append(setting) or 1)
    monkeypatch.setattr("ctypes.CDLL", lambda _: library)
    run(script(tmp_path, "import theano"), [])
    assert set_to


STRIDED = """
import numpy as np, theano, theano.tensor as T, lasagne
x = T.tensor4("x")
images = lasagne.layers.DimshuffleLayer(lasagne.layers.InputLayer((None, 34, 36, 8), x), (0, 3, 1, 2))
layer = lasagne.layers.Conv2DLayer(images, 64, 1, stride=2)
loss = lasagne.layers.get_output(layer).mean()
updates = lasagne.updates.sgd(loss, lasagne.layers.get_all_params(layer), 0.1)
step = theano.function([x], loss, updates=updates)
for _ in range(20):
    step(np.random.randn(33, 34, 36, 8).astype("float32"))
"""


def test_single_pixels_of_images_with_their_channels_last(tmp_path):
    """oneDNN writes beyond its memory here, see ``nets.layers.convolution.correlate``."""
    call = [sys.executable, "-m", "converters.run", str(script(tmp_path, STRIDED))]
    done = subprocess.run(call, env=os.environ | {"THEANO_FLAGS": "floatX=float32"}, check=False)
    assert done.returncode == 0


def test_a_script_of_python_2_is_translated(tmp_path, capsys):
    pytest.importorskip("fissix")
    names = run(
        script(
            tmp_path, "import cPickle as pickle\nfor i in xrange(2):\n    print i, 3 / 2\nhalf = 5 / 2\nx = 1.0 / 2\n"
        )
    )
    assert capsys.readouterr().out == "0 1\n1 1\n"
    assert (names["half"], names["x"]) == (2, 0.5)
    assert (
        modernise("from __future__ import division\nprint 3 / 2\n", "s")
        == "from __future__ import division\nprint(3 / 2)\n"
    )
    assert old_division(7, -2) == -4
    with pytest.raises(CaffeError, match="neither Python 2 nor Python 3"):
        modernise("def (:\n", "broken.py")


def test_a_script_that_is_not_there_is_one_line(capsys):
    assert main(["nowhere.py"]) == 2
    assert "nowhere.py: cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "status"), [([], 2), (["-h"], 0), (["--help"], 0)])
def test_the_command_says_how_it_is_used(given, status, capsys):
    assert main(given) == status
    assert capsys.readouterr().err == "usage: python -m converters.run SCRIPT.py [args]\n"


def test_a_script_of_python_2_needs_fissix(monkeypatch):
    real = builtins.__import__

    def absent(name, *rest, **named):
        if name == "fissix":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(CaffeError, match=r"old\.py: it is written for Python 2: pip install fissix"):
        modernise("print 3\n", "old.py")


CHECK = """
from theano import function, config, shared, tensor
import numpy
x = shared(numpy.asarray(numpy.random.RandomState(22).rand(10), config.floatX))
f = function([], tensor.exp(x))
steps = f.maker.fgraph.toposort()
if numpy.any([isinstance(n.op, tensor.Elemwise) and ('Gpu' not in type(n.op).__name__) for n in steps]):
    print('Used the cpu')
else:
    print('Used the gpu')
"""


def test_the_classic_check_script_names_the_device(tmp_path, capsys):
    run(script(tmp_path, CHECK))
    assert capsys.readouterr().out == f"Used the {'gpu' if config.torch_device != 'cpu' else 'cpu'}\n"


def test_settings_come_from_the_file_and_the_flags(tmp_path, caplog):
    (tmp_path / ".theanorc").write_text("[global]\nfloatX = float32\ndevice = cpu\n[nvcc]\nfastmath = True\n")
    found = Config()
    with caplog.at_level(logging.WARNING, "caffe"):
        found.read({"THEANO_FLAGS": "floatX=float16,allow_gc=False"}, tmp_path)
    assert (found.floatX, found.torch_device) == ("float16", "cpu")
    assert [r.getMessage() for r in caplog.records] == [
        "settings of Theano that have no effect here: allow_gc, nvcc.fastmath"
    ]
    assert found.allow_gc == "False"
    assert found.nvcc.fastmath == "True"
    assert (found.dnn.enabled, found.lib.cnmem) == ("auto", 0.0)
    with pytest.raises(CaffeError, match="floatX is one of"):
        found.read({"THEANO_FLAGS": "floatX=float8"}, tmp_path)


def test_the_command(tmp_path):
    path = script(tmp_path, "import theano; print(theano.config.floatX)")
    done = subprocess.run([sys.executable, "-m", "converters.run", path], capture_output=True, text=True, check=True,
                          env={"THEANO_FLAGS": "floatX=float32", "HOME": str(tmp_path), "PYTHONPATH": "."},
                          cwd=Path(__file__).parents[3])  # fmt: skip
    assert done.stdout == "float32\n"


def test_names_that_are_not_supported_say_so():
    installing.install()
    import theano  # noqa: PLC0415

    with pytest.raises(NotImplementedError, match=r"theano\.gof\.Apply is not supported here: write it with"):
        theano.gof.Apply()
    with pytest.raises(AttributeError, match=r"theano\.d4viz is not supported"):
        theano.d4viz  # noqa: B018
    with pytest.raises(NotImplementedError, match=r"theano\.tensor\.fft\.rfft is not supported"):
        theano.tensor.fft.rfft(0)


def entries():
    module = ""
    for line in API.read_text().splitlines():
        if line.startswith("## "):
            module = line[3:].replace("/", ".")
        found = re.match(r"  (?:class\(.*?\)|def) (\w+)\((.*?)\)(?:   \[0\.1.*)?(?: \[new.*)?$", line)
        if found and "cuda_convnet" not in module:
            yield pytest.param(module, found[1], found[2], id=f"{module}.{found[1]}")


def parameter_names(text):
    depth, names, word = 0, [], ""
    for char in text + ",":
        depth += (char in "([") - (char in ")]")
        if char == "," and depth == 0:
            names.append(word.split("=", maxsplit=1)[0].strip())
            word = ""
        else:
            word += char
    return [name for name in names if name]


@pytest.mark.parametrize(("module", "name", "text"), list(entries()))
def test_signatures_are_those_of_the_original(module, name, text):
    part = L
    for step in module.split("."):
        part = getattr(part, step)
    target = getattr(part, name)
    signature = inspect.signature(target)
    found = [f"{'*' * (p.kind is p.VAR_POSITIONAL)}{'**' * (p.kind is p.VAR_KEYWORD)}{p.name}"
             for p in signature.parameters.values()]  # fmt: skip
    wanted = parameter_names(text)
    assert [n for n in found if n not in ("*arguments", "**options")] == wanted or found == wanted


def test_defaults_are_those_of_the_original():
    assert inspect.signature(L.layers.DropoutLayer).parameters["p"].default == 0.5
    assert inspect.signature(L.updates.adagrad).parameters["learning_rate"].default == 1.0
    np.testing.assert_equal(inspect.signature(L.layers.Pool2DLayer).parameters["pad"].default, (0, 0))


BOTH = """
from lasagne.layers import InputLayer, DenseLayer, Conv2DLayer, ReshapeLayer, MaxPool2DLayer
names = map(lambda i: "layer%d" % i, [1, 2])
first, number = names[0], len(names)
pairs = [a + b for a, b in zip([1, 2], [3, 4])]
listed = list(zip("ab", "cd"))
names.append("last")
half = 64 / 4
conv = Conv2DLayer(InputLayer((None, 1, 56 / 2, 28)), half, 3, pad=2 / 2)
net = DenseLayer(ReshapeLayer(MaxPool2DLayer(conv, 2), ([0], half * 7, 28)), half / 2 + 1)
third, ratio = 1 / 3, 4 / 2.0
"""


def test_a_script_that_both_pythons_read_has_sizes_and_lists_of_either(tmp_path):
    found = run(script(tmp_path, BOTH))
    assert (found["first"], found["number"], found["pairs"]) == ("layer1", 2, [4, 6])
    assert found["listed"] == [("a", "c"), ("b", "d")]
    assert list(found["names"]) == ["layer1", "layer2", "last"]
    assert str(found["half"]) == "16.0"
    assert [16] * found["half"] == [16] * 16
    assert (found["third"], found["ratio"]) == (1 / 3, 2.0)
    assert type(found["ratio"]) is float
    assert repr([found["conv"].output_shape, found["net"].output_shape]) == "[(None, 16, 28, 28), (None, 9)]"
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        run(script(tmp_path, "from lasagne.layers import *\nDenseLayer((3, 4), 7 / 2)\n"))


OLD = """
import cPickle, theano.tensor as T
import helper
print "half of 7:", helper.half(7)
n = 7
n /= 2
a = np.arange(5)
b = a
a /= 2
x = np.arange(2.)
x /= 4
v = T.ivector()
divided = [(v / 2).eval({v: [3, 5]}).tolist(), (v / 2.0).eval({v: [3, 5]}).tolist()]
with open("old.pkl") as file:
    data = cPickle.load(file)
"""


def test_modules_beside_an_old_script_and_its_pickles_are_old_as_well(tmp_path, capsys, monkeypatch):
    pytest.importorskip("fissix")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helper.py").write_text("def half(x):\n    print 'halved'\n    return x / 2\n")
    (tmp_path / "old.pkl").write_bytes(b"S'\\xe9'\n.")
    found = run(script(tmp_path, "import numpy as np\n" + OLD))
    assert capsys.readouterr().out == "halved\nhalf of 7: 3\n"
    assert (found["n"], found["b"].tolist(), found["x"].tolist()) == (3, [0, 0, 1, 1, 2], [0.0, 0.25])
    assert found["divided"] == [[1, 2], [1.5, 2.5]]
    assert found["data"] == "\xe9"
    assert not list(tmp_path.glob("**/*.pyc"))
    assert [type(one).__name__ for one in sys.meta_path].count("_Beside") == 0


@pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")  # old NumPys have some still
def test_names_that_numpy_had_are_there_for_the_script_alone(tmp_path):
    text = """
import numpy as np
def float32(k): return np.cast['float32'](k)
rate = float32(0.03)
kinds = [np.float, np.int, np.bool(1), np.asscalar(np.array([3])), np.product([2, 3]), np.NaN]
held = np.in1d([[1, 2]], [2])
"""
    before = set(vars(np))
    found = run(script(tmp_path, text))
    assert (found["rate"].dtype, found["kinds"][:5]) == (np.float32, [float, int, True, 3, 6])
    assert found["held"].tolist() == [False, True]
    assert set(vars(np)) == before


ARRAYS = """
import numpy as np
one, sizes = np.array([1.5]), np.zeros((2, 3))
numbers = float(one), int(one), '%.2f %s' % (one, 'a'), '%d' % one, '%s' % one
sizes[0, 1] = one
held = {}
held['one'] = one
raw = np.arange(3, dtype=np.uint8).tostring()
back = np.fromstring(raw, dtype=np.uint8)
back[0] = 7
text = np.fromstring('1 2', sep=' ')
same = np.array(one, copy=False) is one
one.itemset(0, 2.5), sizes.itemset((1, 1), 4)
spread = sizes.ptp(), sizes.ptp(axis=0).tolist()
np.set_printoptions(threshold='nan')
class Own(object):
    def ptp(self): return 'own'
    def itemset(self, *a): self.set = a
    def tostring(self, *a): return a
own = Own()
own.itemset(1)
owned = own.ptp(), own.set, own.tostring('utf-8')
pieces = np.array([[1, 2], [3]]), np.asarray([[1, 2], [3, 4]]), np.array([1, 2], np.uint8)
areas = np.trapz([1, 2]), np.msort(np.array([3, 1])), np.asfarray([1]).dtype
with __import__('h5py').File(FILE, 'w') as f:
    f['data'] = [3, 4]
    value = f['data'].value
"""


@pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")
def test_arrays_do_what_they_did(tmp_path):
    with np.printoptions():
        found = run(script(tmp_path, ARRAYS.replace("FILE", repr(str(tmp_path / "x.h5")))))
    assert found["numbers"] == (1.5, 1, "1.50 a", "1", "[1.5]")
    assert found["sizes"].tolist() == [[0, 1.5, 0], [0, 4, 0]]
    assert found["held"]["one"] is found["one"]
    assert (found["raw"], found["back"].tolist(), found["text"].tolist()) == (b"\0\1\2", [7, 1, 2], [1, 2])
    assert (found["same"], found["spread"], found["one"]) == (True, (4, [0, 2.5, 0]), 2.5)
    assert (found["owned"], found["value"].tolist()) == (("own", (1,), ("utf-8",)), [3, 4])
    assert [(piece.dtype, piece.shape) for piece in found["pieces"]] == [
        (object, (2,)),
        (int, (2, 2)),
        (np.uint8, (2,)),
    ]
    assert (found["areas"][0], found["areas"][1].tolist(), found["areas"][2]) == (1.5, [1, 3], float)
    for wrong in ("np.array([[1, 2], [3]], int)", "np.zeros(3)[0] = np.zeros(2)", "'%d' % np.zeros(2)"):
        with pytest.raises((TypeError, ValueError)):
            run(script(tmp_path, f"import numpy as np\n{wrong}\n"))


def test_yaml_is_loaded_without_a_loader(tmp_path):
    """As py-faster-rcnn's layers read their param_str."""
    (tmp_path / "yaml.py").write_text("class SafeLoader: pass\ndef load(text, Loader): return text, Loader.__name__\n")
    found = run(script(tmp_path, "import yaml\nclass Mine: pass\na, b = yaml.load('x'), yaml.load('x', Loader=Mine)\n"))
    assert (found["a"], found["b"]) == (("x", "SafeLoader"), ("x", "Mine"))
