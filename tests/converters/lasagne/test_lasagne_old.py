"""Scripts as old as Lasagne: what Python 2, NumPy's and scikit-learn's old days and Theano's corners need."""

import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import lmdb
import numpy as np
import pytest
import sklearn.model_selection  # compiled modules are imported once in a process
import torch
from PIL import Image

import converters.lasagne as L
from converters.lasagne.python2_signs import is_old
from converters.lasagne.theano.config import config
from converters.run import run

lmdb.open(tempfile.mkdtemp()).close()  # it imports more when it is first used
ROOT = str(Path(__file__).parents[3])
pytestmark = pytest.mark.usefixtures("restored")


def ran(tmp_path, text):
    path = tmp_path / "script.py"
    path.write_text(text)
    return run(path)


def test_modules_of_a_package_find_each_other_by_their_bare_names(tmp_path):
    package = tmp_path / "thing"
    package.mkdir()
    (package / "__init__.py").write_text("from part import f\n")
    (package / "part.py").write_text("import other\ntry:\n    import no_such\nexcept ImportError:\n    no_such = None\n"
                                     "import other as o, inner.deep\n"
                                     "def f(): return other.x + o.x + inner.deep.y\n")  # fmt: skip
    (package / "other.py").write_text("x = 3\n")
    (package / "no_such.py").write_text("")
    (package / "inner").mkdir()
    (package / "inner" / "__init__.py").write_text("")
    (package / "inner" / "deep.py").write_text("y = 1\n")
    found = ran(tmp_path, "import thing, thing.part\nvalue = thing.f()\n")
    assert found["value"] == 7
    assert found["thing"].part.no_such is None


def test_a_script_has_modules_called_as_ours(tmp_path):
    (tmp_path / "data.py").write_text("import nets.parts\nfrom nets import a\ndef load(): return a + nets.parts.b\n")
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "__init__.py").write_text("a = 40\n")
    (tmp_path / "nets" / "parts.py").write_text("b = 2\n")
    text = "import data\nfrom data import load\nimport lasagne, nets.parts as p\nprint(data.load(), load(), p.b)\n"
    (tmp_path / "script.py").write_text(text)
    env = {"HOME": str(tmp_path), "PYTHONPATH": ROOT}
    for place in (tmp_path, ROOT):
        done = subprocess.run([sys.executable, "-m", "converters.run", tmp_path / "script.py"], cwd=place, text=True,
                              capture_output=True, check=False, env=env)  # fmt: skip
        assert (done.stdout, done.stderr) == ("42 42 2\n", "")


LISTS = """
from __future__ import print_function, division
import numpy as np
order = [1, 0] + range(2, 4)
places = range(5)
np.random.shuffle(places)
d = {'a': 1, 'b': 2}
for key in d.keys():
    d[key + key] = d.pop(key)
first, both = sorted(d.keys())[0], d.values() + [3]
far = range(10 ** 12)[-1]
"""


def test_ranges_and_keys_are_lists(tmp_path):
    found = ran(tmp_path, LISTS)
    assert (found["order"], sorted(found["places"])) == ([1, 0, 2, 3], [0, 1, 2, 3, 4])
    assert (found["first"], found["both"], found["far"]) == ("aa", [1, 2, 3], 10**12 - 1)


def test_builtins_of_python_2(tmp_path):
    text = "with file(__file__) as f:\n    a = f.readline()\n"
    text += "b = apply(max, [2, 3]), cmp(2, 1), reduce(lambda x, y: x * y, [2, 3, 4])\n"
    found = ran(tmp_path, text)
    assert (found["a"], found["b"]) == ("with file(__file__) as f:\n", (3, 1, 24))


STRINGS = r"""
import hashlib, json, lmdb, os, struct, subprocess, csv, string, types
import cPickle as pickle, Queue, threading
from StringIO import StringIO
import numpy as np
import helper
raw = bytes(bytearray([255, 216, 13, 10, 65]))
with open('raw', 'w') as f:
    f.write(raw)
    f.write('text')
content = open('raw').read()
lines = open('raw').readlines(), [line for line in open('raw', 'rb')], open('raw', 'rb').readline()
kept = str(content) == content, content + 'x' == raw + b'textx', content[0], ord(content[4]), 'text' in content
kept += content[-4:] == 'text', {'text': 3}[content[-4:]], content[-4:].upper(), '%s!' % content[-4:], content[:2]
kept += len(content), content[5:].split('x'), 'a' + content[5:], content != 'text', list(content[5:7])
kept += content[5:].startswith('te'), content[5:].replace('x', 's'), '{}'.format(content[5:]), content[5:].format()
pickle.dump({'a': 1}, open('p', 'w'))
loaded = pickle.load(open('p'))
with open('j', 'wb') as f:
    json.dump([1], f)
with open('c', 'wb') as f:
    csv.writer(f).writerow(['a', 1])
    print >> f, 'b,2'
rows = list(csv.reader(open('c', 'rb'))), json.load(open('j', 'rb'))
rows += open('c', 'rU').next(), open('c').xreadlines().next()
both = open('c', 'r+')
both.write('z')
both.close()
first = open('c', 'rb+').read(1)
image, text = StringIO(), StringIO('a\nb')
np.save(image, np.arange(3))
image.seek(0)
array = np.load(image).tolist(), image.getvalue()[1:6], StringIO(image.getvalue()).read(6)[1:]
text.readline()
text = text.next(), text.getvalue(), text.read()
with lmdb.open('db') as env:
    with env.begin(write=True) as txn:
        txn.put('key', 'value')
        txn.put(key=b'other', value=raw)
    with env.begin() as txn:
        pairs = [(key + '_x', str(value)[:1]) for key, value in txn.cursor()]
        got = txn.get('key'), txn.get('none'), txn.cursor().first(), int('3')
        try:
            txn.put('key', 'value')
        except lmdb.ReadonlyError:
            got += 'refused',
told = subprocess.check_output(['echo', 'a b']).split('\n')[0], hashlib.md5('abc').hexdigest()[:4]
piped = subprocess.Popen('echo hi', shell=True, stdout=subprocess.PIPE)
told += piped.stdout.read() == 'hi\n', piped.wait(), struct.unpack('>H', 'ab'), struct.pack('2s', 'ab') == 'ab'
piped.stdout.close()
told += 'abc'.encode('hex'), '616263'.decode('hex'), u'a'.encode('utf-8') == 'a'
told += 'a'.decode('utf-8'), raw.decode('latin1')
order = None < 3, '' > 5, [1] > 3, len > 0, (1, 'a') < (1, None), {} < [], 2 < 3 < 4, [None] < [0], 3 <= 3.5
order += sorted([3, None, 'a']), sorted([3, 1], cmp=lambda a, b: b - a)
order += cmp(None, 0), sorted('ba', key=ord, reverse=True)
sizes = [3, 1]
sizes.sort(lambda a, b: cmp(a, b))
value = {'a': np.zeros(1)}.itervalues().next().shape
names = np.array(['b', 'a'], dtype='S5')
names.sort()
old = string.join(['a', 'b'], '_'), string.split('a b'), string.atoi('3'), type('') == types.StringType, os.getcwdu()
old += {u'a': 1}[names[0]], str(3), '%s' % names[0], unichr(65)
import sys
reload(sys)
sys.setdefaultencoding('utf-8')
class Own(object):
    def next(self): return 'own'
    def sort(self, by): return by
    def encode(self, a): return a
    def decode(self, a): return a
own = Own().next(), Own().sort(2), Own().encode(3), Own().decode(4)
queue = Queue.Queue(), threading.Thread
from caffe.proto import caffe_pb2
datum, again = caffe_pb2.Datum(label=3), caffe_pb2.Datum()
datum.data = 'abc'
again.ParseFromString(str(datum.SerializeToString()))
own += again.data == b'abc', caffe_pb2.Datum.FromString(open('raw').read()[:0]).label
"""


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_strings_of_python_2_are_text_and_bytes(tmp_path, monkeypatch):
    pytest.importorskip("fissix")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helper.py").write_text("print 'helped'\n")
    found = ran(tmp_path, STRINGS)
    raw = b"\xff\xd8\r\nA"
    assert found["content"] == raw + b"text"
    assert found["lines"] == ([raw[:4], "Atext"], [raw[:4], "Atext"], raw[:4])
    assert found["kept"][:10] == (True, True, b"\xff", 65, True, True, 3, "TEXT", "text!", b"\xff\xd8")
    assert found["kept"][10:15] == (9, ["te", "t"], "atext", True, ["t", "e"])
    assert found["kept"][15:] == (True, "test", "text", "text")
    assert (found["loaded"], found["rows"]) == ({"a": 1}, ([["a", "1"], ["b", "2"]], [1], "a,1\n", "a,1\r\n"))
    assert (found["first"], found["array"]) == ("z", ([0, 1, 2], "NUMPY", "NUMPY"))
    assert (found["text"], found["pairs"]) == (("b", "a\nb", ""), [("key_x", "v"), ("other_x", b"\xff")])
    assert found["got"] == ("value", None, True, 3, "refused")
    assert found["told"] == ("a b", "9001", True, 0, (0x6162,), True, "616263", "abc", True, "a", raw.decode("latin1"))
    assert found["order"][:9] == (True, True, True, True, False, True, True, True, True)
    assert found["order"][9:] == ([None, 3, "a"], [3, 1], -1, ["b", "a"])
    assert (found["sizes"], found["value"]) == ([1, 3], (1,))
    assert found["old"] == ("a_b", ["a", "b"], 3, True, str(tmp_path), 1, "3", "a", "A")
    assert found["own"] == ("own", 2, 3, 4, True, 0)


MORE = r"""
import os, hashlib, cPickle, theano.tensor as T
import numpy as np
class Thing: pass
things = [Thing(), Thing()]
found = cmp(Thing(), Thing()) in (-1, 1), cmp(things[0], things[0]), cmp([1, 'a'], [1, None]), cmp({}, [1]) < 0
with open('raw', 'wb') as f:
    f.write(bytes(bytearray([255, 97])))
raw = open('raw', 'rb').read()
shown = repr(raw), (raw + '%d')[1:] % 3, sorted([raw, 'b'])[0]
pairs = zip([3, 1], 'ab')
pairs.sort()
pairs.append((9, 'z'))
v = T.ivector()
half = v
half /= 2
divided = half.eval({v: [3, 5]}).tolist()
loaded = cPickle.loads(open('old.pkl', 'rb').read())
with open(os.open('raw', os.O_RDONLY), 'rb') as f:
    descriptor = f.read()
with open('words', 'w') as f:
    f.write('a')
named = open('words', encoding='utf-8').read()
try:
    hashlib.md5(3)
except TypeError:
    refused = True
try:
    np.array([None, 1]) < np.array([1, 'a'])
except TypeError:
    arrays = True
"""


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_more_of_python_2(tmp_path, monkeypatch):
    pytest.importorskip("fissix")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.pkl").write_bytes(b"S'\\xe9'\n.")
    found = ran(tmp_path, MORE)
    assert found["found"] == (True, 0, 1, True)
    assert found["shown"] == (r"'\xffa'", "a3", "b")
    assert list(found["pairs"]) == [(1, "b"), (3, "a"), (9, "z")]
    assert (found["divided"], found["loaded"]) == ([1, 2], "\xe9")
    assert (found["descriptor"], found["named"]) == (b"\xffa", "a")
    assert found["refused"]
    assert found["arrays"]


def test_modules_of_an_old_package_find_those_beside_and_all_others(tmp_path):
    pytest.importorskip("fissix")
    package = tmp_path / "thing"
    package.mkdir()
    (package / "__init__.py").write_text("from .part import f\n")
    text = "import os, other\nfrom . import other as again\n"
    text += "def f():\n    print 'called'\n    return os.sep, other.x + again.x\n"
    (package / "part.py").write_text(text)
    (package / "other.py").write_text("x = 3\n")
    assert ran(tmp_path, "import thing\nvalue = thing.f()\n")["value"] == ("/", 6)


IMAGES = """
import numpy as np
import scipy.misc
from scipy import misc
from scipy.misc import imread, imresize, imsave
ramp = np.arange(12.0).reshape(3, 4)
imsave('gray.png', ramp)
color = np.zeros((2, 5, 3), np.uint8)
color[0, 0] = 9, 8, 7
misc.imsave('color.png', color.transpose(2, 0, 1))
read = imread('gray.png'), imread('color.png'), imread('color.png', flatten=True), imread('color.png', mode='L')
sizes = [scipy.misc.imresize(color, size).shape for size in ((4, 10), 50, 0.5)]
doubled = imresize(ramp, 2.0, interp='nearest'), imresize(np.float32([[1.5]]), (1, 2), mode='F')
turned = misc.imrotate(color, 180)
"""


def test_images_of_the_old_scipy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = ran(tmp_path, IMAGES)
    gray, color, flat, luminance = found["read"]
    np.testing.assert_array_equal(gray, np.round(np.arange(12) * 255 / 11).reshape(3, 4))
    np.testing.assert_array_equal(color, found["color"])
    assert (flat.dtype, luminance.dtype, luminance[0, 0]) == (np.float32, np.uint8, 8)
    assert found["sizes"] == [(4, 10, 3), (1, 2, 3), (1, 2, 3)]
    np.testing.assert_array_equal(found["doubled"][0], gray.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(found["doubled"][1], [[1.5, 1.5]])
    np.testing.assert_array_equal(found["turned"], color[::-1, ::-1])


def test_images_of_few_colours_are_read_as_of_many(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    black = Image.new("1", (2, 1))
    black.putpixel((1, 0), 1)
    black.save("black.png")
    color = Image.new("RGB", (2, 1), (10, 20, 30))
    color.quantize(2).save("palette.png")
    color.quantize(2).save("clear.png", transparency=0)
    text = "from scipy.misc import imread\nread = [imread(n + '.png') for n in ('black', 'palette', 'clear')]\n"
    read = ran(tmp_path, text)["read"]
    np.testing.assert_array_equal(read[0], [[0, 255]])
    np.testing.assert_array_equal(read[1], [[[10, 20, 30]] * 2])
    np.testing.assert_array_equal(read[2], [[[10, 20, 30, 0]] * 2])


def test_a_script_of_python_3_keeps_its_strings_and_its_order(tmp_path):
    for wrong in ("None < 3", "b'a' + 'a'", "sorted([None, 3])", "''.join([b'a'])"):
        with pytest.raises(TypeError):
            ran(tmp_path, f"{wrong}\n")


def test_a_module_beside_a_script_may_be_called_as_one_of_python_2(tmp_path):
    (tmp_path / "Queue.py").write_text("mine = 3\n")
    assert ran(tmp_path, "try:\n    import Queue\nexcept ImportError:\n    Queue = None\n")["Queue"].mine == 3


@pytest.mark.parametrize(
    ("text", "old"),
    [
        ("# unicode, xrange\nx = 'basestring'\n", False),
        ("try:\n    import cPickle as pickle\nexcept ImportError:\n    import pickle\n", False),
        ("import cPickle\n", True),
        ("for i in xrange(3): pass\n", True),
        ("d.iteritems()\n", True),
        ("print 3\n", True),
        ("import Queue\n", True),
        ("import six\nfor k, v in six.iteritems(d): pass\n", False),
        ("from six.moves import xrange\nfor i in xrange(3): pass\n", False),
        ("from six import moves\nfor i in moves.xrange(3): pass\n", False),
        ("from past.builtins import basestring\nx = basestring\n", False),
        ("try:\n    xrange\nexcept NameError:\n    xrange = range\nfor i in xrange(3): pass\n", False),
        ("import sys\nif sys.version_info[0] == 3:\n    xrange = range\nfor i in xrange(3): pass\n", False),
        ("import sys\nif sys.version_info < (3,):\n    input = raw_input\n", False),
        ("import sys\nPY3 = sys.version_info[0] == 3\nitems = d.items() if PY3 else d.iteritems()\n", False),
        ("import sys\nnew = sys.version_info[0] == 3\nitems = d.items() if new else d.iteritems()\n", False),
        ("items = d.iteritems() if hasattr(d, 'iteritems') else d.items()\n", False),
        ("class D(dict):\n    def iteritems(self): return iter(self.items())\nD().iteritems()\n", False),
        ("import sys\nif sys.argv:\n    x = raw_input()\n", True),
    ],
)
def test_what_is_written_for_python_2(text, old):
    assert is_old(text) is old


def test_translating_says_nothing_to_a_script_that_logs_all(tmp_path, caplog):
    pytest.importorskip("fissix")
    (tmp_path / "helper.py").write_text("print 'helped'\n")
    with caplog.at_level(logging.DEBUG):
        ran(tmp_path, "import logging\nlogging.getLogger().setLevel(logging.DEBUG)\nimport helper\n")
    assert not [record for record in caplog.records if record.name == "RefactoringTool"]


FOLDS = """
import numpy as np
from sklearn import cross_validation
from sklearn.cross_validation import KFold, StratifiedKFold, ShuffleSplit, StratifiedShuffleSplit, train_test_split
from sklearn.grid_search import GridSearchCV
from sklearn.externals import joblib
y = np.array([0, 1] * 10)
folds = list(KFold(20, n_folds=4)), list(StratifiedKFold(y, 5)), len(ShuffleSplit(20)), list(
    StratifiedShuffleSplit(y, 2))
cuts = train_test_split(y, test_size=0.25, random_state=0)
from sklearn.linear_model import LogisticRegression
x = y[:, None] + np.linspace(0, 0.5, 20)[:, None]
scores = cross_validation.cross_val_score(LogisticRegression(), x, y, cv=StratifiedKFold(y, n_folds=5))
"""


def test_folds_of_the_old_scikit_learn(tmp_path):
    kfold, stratified, shuffled, halves = (found := ran(tmp_path, FOLDS))["folds"]
    assert [test.tolist() for _, test in kfold] == [list(range(i, i + 5)) for i in range(0, 20, 5)]
    assert [found["y"][test].sum() for _, test in stratified] == [2] * 5
    assert (shuffled, [len(test) for _, test in halves], len(found["cuts"][1])) == (10, [2, 2], 5)
    assert len(found["scores"]) == 5
    assert found["joblib"].dump
    assert found["GridSearchCV"] is sklearn.model_selection.GridSearchCV
    with pytest.raises(ImportError):
        ran(tmp_path, "import sklearn.nothing\n")


OPS = """
import theano, theano.tensor as T
from theano import gof
from theano.compile.ops import as_op
from theano.gradient import grad_not_implemented
class Mine(theano.Op):
    def __init__(self): pass
class Other(gof.Op):
    pass
@as_op(itypes=[T.dvector], otypes=[T.dvector])
def doubled(x):
    return x * 2
"""


def test_ops_of_the_user_say_so_when_they_are_made(tmp_path):
    found = ran(tmp_path, OPS)
    for name in ("Mine", "Other"):
        with pytest.raises(NotImplementedError, match=f"{name}: an Op of your own is not supported here: write it"):
            found[name]()
    with pytest.raises(NotImplementedError, match="doubled: an Op of your own"):
        found["doubled"](found["T"].dvector())
    with pytest.raises(NotImplementedError, match="no gradient for its input 1"):
        found["grad_not_implemented"]("op", 1, None)


def test_the_old_names_of_cuda(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(config, "device", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    text = """
import theano.sandbox.cuda, theano.tensor as T
from theano.sandbox.cuda.basic_ops import gpu_contiguous, host_from_gpu
from theano.sandbox.cuda.var import CudaNdarraySharedVariable
theano.sandbox.cuda.use('gpu1')
x = T.vector()
same = host_from_gpu(gpu_contiguous(x)) is x
"""
    with caplog.at_level(logging.WARNING, "caffe"):
        found = ran(tmp_path, text)
    assert found["same"]
    assert [record.getMessage() for record in caplog.records] == [
        "theano.sandbox.cuda.use('gpu1'): there is no GPU here, the CPU is used"
    ]


DEFAULTS = """
import numpy as np, theano, theano.tensor as T
x, mean, count = T.vector('x'), theano.shared(np.zeros(2)), theano.shared(0)
running = theano.clone(mean, share_inputs=False)
running.default_update = 0.5 * running + 0.5 * x + 0 * count
count.default_update = count + 1
collect = theano.function([x], x - mean + 0 * running)
still = theano.function([x], x + 0 * running, no_default_updates=True)
partly = theano.function([x], running + 0 * x, no_default_updates=[running])
own = theano.function([x], x + 0 * running, updates=[(running, x)])
"""


def test_shared_variables_bring_updates_of_their_own(tmp_path):
    found = ran(tmp_path, DEFAULTS)
    mean, count = found["mean"], found["count"]
    x = np.array([2.0, 4.0])
    np.testing.assert_array_equal(found["collect"](x), x)
    np.testing.assert_array_equal(found["still"](x), x)
    np.testing.assert_array_equal(found["partly"](x), [1, 2])
    np.testing.assert_array_equal(mean.get_value(), [1, 2])
    assert count.get_value() == 1
    found["own"](x)
    np.testing.assert_array_equal(mean.get_value(), x)
    found["running"].set_value(x * 3)
    np.testing.assert_array_equal(mean.get_value(), x * 3)


CORNERS = """
import numpy as np, theano, theano.tensor as T
from lasagne.layers import InputLayer, DenseLayer, ConcatLayer
w = theano.shared(np.ones(3))
total = T.sum([T.sum(w), T.sum(w ** 2), 1])
slope = theano.function([], T.grad(total, w))()
y = T.ivector()
pairs = theano.function([y], y.repeat(T.cast(y.shape[0], 'int16'), axis=0).reshape((y.shape[0], y.shape[0])) - y)
x, u = T.matrix(), theano.shared(np.arange(14.).reshape(7, 2))
steps, _ = theano.scan(lambda row, s: s + T.tanh(T.dot(row, u))[:2], T.concatenate([x, x], axis=1)[:, :7], T.zeros(2))
scanned = theano.function([x], steps)
l = InputLayer((None, 3))
below = [hasattr(one, 'input_layer') for one in (l, DenseLayer(l, 2), ConcatLayer([l, l]))]
"""


def test_corners_of_theano(tmp_path):
    found = ran(tmp_path, CORNERS)
    np.testing.assert_array_equal(found["slope"], [3, 3, 3])
    np.testing.assert_array_equal(found["pairs"](np.array([1, 4], "int32")), [[0, -3], [3, 0]])
    x, u = np.linspace(-0.1, 0.1, 14).reshape(2, 7), np.arange(14.0).reshape(7, 2)
    np.testing.assert_allclose(found["scanned"](x), np.cumsum(np.tanh(x @ u), axis=0))
    assert found["below"] == [False, True, False]


NAMED = """
import numpy as np, theano, theano.tensor as T
from theano.tensor.shared_randomstreams import RandomStreams
from theano.tensor import nlinalg
x, y = T.dmatrices('x', 'y')
k = T.ivector()
parts = dict(
    joined=T.concatenate(tensor_list=[x, y], axis=1), shaped=x.reshape(shape=(3, 2)), again=T.reshape(x, newshape=(6,)),
    mean=T.mean(input=x, axis=0, acc_dtype='float64'),
    total=T.sum(k, dtype='int64'), product=T.prod(k, dtype='float64'),
    order=x.argsort(axis=1, kind='mergesort'), above=T.diag(T.dot(x.T, y), k=1), ones=T.ones_like(k, dtype='float32'),
    nothing=T.zeros_like(model=x, dtype='int8'), soft=T.nnet.softmax_with_bias(x, y[0]),
    roots=(x ** 2).sqrt() + x.exp(),
    third=x.take(k, axis=1, mode='raise'), whole=T.floor_div(k, 2), inverse=nlinalg.pinv(x),
    cross=T.nnet.categorical_crossentropy(coding_dist=T.nnet.softmax(x), true_dist=k[:2]),
    values=nlinalg.eigh(T.dot(x, x.T))[0], singular=nlinalg.svd(x, compute_uv=False),
    cube=nlinalg.matrix_power(T.dot(x, x.T), 3), chain=nlinalg.matrix_dot(x, y.T, x), rest=T.divmod(k, 2)[1],
)
f = theano.function([x, y, k], parts)
halved = theano.function([x], T.grad(theano.gradient.grad_scale(x, 0.5).sum(), x))
streams = RandomStreams(4)
drawn = theano.function([x], [
    streams.binomial(size=x.shape, n=1, p=T.nnet.sigmoid(x * 100), dtype='float64', nstreams=3),
    streams.normal(avg=x, std=abs(0.0 * x)), streams.uniform(size=(4,), low=x.sum(), high=x.sum() + 1e-9),
    streams.choice(size=(3,), a=2, p=[0, 1]), streams.random_integers((2,), 5, 5)])
"""


def test_names_of_arguments_are_theanos(tmp_path):
    found = ran(tmp_path, NAMED)
    rng = np.random.RandomState(0)
    x, y, k = rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), np.array([2, 1, 0], "int32")
    values = found["f"](x, y, k)
    soft = np.exp(x + y[0]) / np.exp(x + y[0]).sum(1, keepdims=True)
    plain = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    wanted = {
        "joined": np.hstack([x, y]), "shaped": x.reshape(3, 2), "again": x.ravel(), "mean": x.mean(0), "total": 3,
        "product": 0.0, "order": x.argsort(1), "above": np.diag(x.T @ y, 1), "ones": np.ones(3), "nothing": 0 * x,
        "soft": soft, "roots": abs(x) + np.exp(x), "third": x[:, ::-1], "whole": [1, 0, 0],
        "inverse": np.linalg.pinv(x),
        "cross": -np.log(plain[[0, 1], [2, 1]]), "values": np.linalg.eigvalsh(x @ x.T), "chain": x @ y.T @ x,
        "singular": np.linalg.svd(x, compute_uv=False), "cube": np.linalg.matrix_power(x @ x.T, 3), "rest": [0, 1, 0],
    }  # fmt: skip
    for name, value in wanted.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
    assert [values[name].dtype for name in ("total", "product", "ones", "nothing")] == [
        np.int64, np.float64, np.float32, np.int8]  # fmt: skip
    np.testing.assert_array_equal(found["halved"](x), np.full((2, 3), 0.5))
    trials, normal, uniform, chosen, fives = found["drawn"](x * 100)
    np.testing.assert_array_equal(trials, x > 0)
    np.testing.assert_array_equal(normal, x * 100)
    np.testing.assert_allclose(uniform, np.full(4, x.sum() * 100))
    np.testing.assert_array_equal(np.hstack([chosen, fives]), [1, 1, 1, 5, 5])


def test_names_that_python_had_are_there_for_the_script_alone(tmp_path):
    text = """
import collections, inspect, itertools, string, sys, time, theano.tensor as T
found = isinstance(len, collections.Callable), inspect.getargspec(lambda a, b=1: a)[0], \\
    string.letters[:2], sys.maxint > 9
pairs, started = list(itertools.izip([1], [2])), time.clock()
x = T.matrix()
above = (x + 1).get_parents() == [x]
"""
    before = set(vars(sys.modules["collections"])), set(vars(sys.modules["time"]))
    found = ran(tmp_path, text)
    assert found["found"] == (True, ["a", "b"], "ab", True)
    assert (found["pairs"], found["above"]) == ([(1, 2)], True)
    assert (set(vars(sys.modules["collections"])), set(vars(sys.modules["time"]))) == before


def test_updates_of_loops_can_be_added(tmp_path):
    text = """
import theano, theano.tensor as T
from theano.updates import OrderedUpdates
from theano.compat.python2x import OrderedDict
x, a, b = T.vector(), theano.shared(0.0), theano.shared(0.0)
_, first = theano.scan(lambda v: OrderedDict([(a, a + v)]), x)
_, second = theano.scan(lambda v: {b: b - v}, x)
theano.function([x], updates=[] + first + second + {})([1.0, 2.0])
kinds = type(first), type([(b, b)] + first)
"""
    found = ran(tmp_path, text)
    assert (found["a"].get_value(), found["b"].get_value()) == (3, -3)
    assert found["kinds"] == (found["OrderedUpdates"],) * 2


def test_functions_of_arrays_alone_give_variables(tmp_path):
    text = """
import numpy as np, theano.tensor as T, lasagne
a = np.array([[1.0, 2.0], [3.0, 5.0]])
dot, least = T.dot(a, a.T).eval(), T.minimum(2, 1).eval()
rate = T.cast(0.5, 'float32').eval().dtype
loss = lasagne.objectives.squared_error(a, a + 1).mean().eval()
soft = lasagne.nonlinearities.softmax(a).sum(axis=1).eval()
"""
    found = ran(tmp_path, text)
    np.testing.assert_array_equal(found["dot"], [[5, 13], [13, 34]])
    assert (found["least"], found["rate"], found["loss"]) == (1, np.float32, 1)
    np.testing.assert_allclose(found["soft"], [1, 1])
    assert isinstance(L.theano.tensor.dot(torch.ones(2), np.ones(2, "float32")), torch.Tensor)
