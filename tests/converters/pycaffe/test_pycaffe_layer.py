"""Python layers in caffe.Net and the solvers."""

import sys

import numpy as np
import pytest

from protos.errors import NetError

STORE = """import caffe
class Mean(caffe.Layer):
    '''What it is given less a running mean, which it keeps in a blob of its own, as center losses do.'''
    def setup(self, bottom, top): self.blobs.add_blob(1)
    def reshape(self, bottom, top): top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top):
        self.blobs[0].data[...] = 0.5 * self.blobs[0].data + 0.5 * bottom[0].data.mean()
        top[0].data[...] = bottom[0].data - self.blobs[0].data
    def backward(self, top, propagate_down, bottom): bottom[0].diff[...] = top[0].diff
"""
MEAN = """input: "data" input_shape { dim: 4 }
layer { name: "mean" type: "Python" bottom: "data" top: "mean" python_param { module: "my_mean" layer: "Mean" } }
layer { name: "loss" type: "Reduction" bottom: "mean" top: "loss" loss_weight: 1 }"""


@pytest.fixture
def mean(tmp_path, monkeypatch):
    """The path of a net with a layer that keeps a mean."""
    (tmp_path / "my_mean.py").write_text(STORE)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "net.prototxt").write_text(MEAN)
    yield str(tmp_path / "net.prototxt")
    sys.modules.pop("my_mean", None)


def test_a_python_layer_is_the_script_s_own_object(caffe, tmp_path, monkeypatch):
    """As py-faster-rcnn gives its data layer the images: ``net.layers[0].set_roidb(...)``."""
    (tmp_path / "my_layers.py").write_text(
        """import caffe
class Shelf(caffe.Layer):
    def setup(self, bottom, top): self.item = 1
    def reshape(self, bottom, top): top[0].reshape(1, 2)
    def forward(self, bottom, top): top[0].data[...] = self.item
    def backward(self, top, propagate_down, bottom): pass
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "net.prototxt"
    path.write_text(
        """layer { name: "shelf" type: "Python" top: "data" python_param { module: "my_layers" layer: "Shelf" } }
        layer { name: "double" type: "Power" bottom: "data" top: "double" power_param { scale: 2 } }"""
    )
    net = caffe.Net(str(path), caffe.TRAIN)
    assert [layer.type for layer in net.layers] == ["Python", "Power"]
    net.layers[0].item = 7
    np.testing.assert_array_equal(net.forward()["double"], [[14, 14]])


def test_what_a_python_layer_keeps_in_its_blobs_stays(caffe, mean, tmp_path):
    net = caffe.Net(mean, caffe.TRAIN)
    kept = net.params["mean"][0].data
    for wanted in (4, 6, 7):
        net.forward(data=np.full(4, 8))
        np.testing.assert_array_equal(kept, [wanted])
    net.save(str(tmp_path / "kept.caffemodel"))
    own = net.layers[1].blobs[0]
    own.data[...] = 100
    assert kept == [100]
    net.copy_from(str(tmp_path / "kept.caffemodel"))
    np.testing.assert_array_equal(own.data, [7])
    other = caffe.Net(mean, caffe.TRAIN)
    other.share_with(net)
    other.layers[1].blobs[0].data[...] = 3
    assert (kept, own.data) == ([3], [3])


def test_a_solver_s_python_layer_keeps_its_blobs_too(caffe, mean, tmp_path):
    (tmp_path / "solver.prototxt").write_text(f'train_net: "{mean}" base_lr: 0 lr_policy: "fixed"')
    solver = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    solver.net.blobs["data"].data[...] = 8
    solver.step(3)
    np.testing.assert_array_equal(solver.net.params["mean"][0].data, [7])
    np.testing.assert_array_equal(solver.net.layers[1].blobs[0].data, [7])


def test_a_python_layer_s_exception_is_one_line(caffe, mean):
    net = caffe.Net(mean, caffe.TRAIN)
    net.layers[1].forward = lambda bottom, top: bottom[3]
    said = (
        r"layer 'mean' \(Python\) with bottoms data 4: .*<lambda> raised IndexError: list index out of range \(test_pyc"
    )
    with pytest.raises(NetError, match=said):
        net.forward()


def python_net(tmp_path, monkeypatch, code, prototxt):
    """The path of a net with Python layers of the module ``my_own``."""
    (tmp_path / "my_own.py").write_text(code)
    (tmp_path / "own.prototxt").write_text(prototxt)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_own", raising=False)
    return str(tmp_path / "own.prototxt")


def test_the_phase_is_a_number_and_a_name(caffe, tmp_path, monkeypatch):
    """py-faster-rcnn's layers look their options up by ``cfg[str(self.phase)]``."""
    code = """import caffe
class Phase(caffe.Layer):
    def setup(self, bottom, top): self.factor = {"TRAIN": 2, "TEST": 3}[str(self.phase)] + len(self.param_str_)
    def reshape(self, bottom, top): top[0].reshape(1)
    def forward(self, bottom, top): top[0].data[...] = 10 * self.factor + self.phase
"""
    own = 'layer { name: "p" type: "Python" top: "p" python_param { module: "my_own" layer: "Phase" } }'
    path = python_net(tmp_path, monkeypatch, code, own)
    assert [caffe.Net(path, phase).forward()["p"] for phase in (caffe.TRAIN, caffe.TEST)] == [[20], [31]]


def test_regions_that_a_python_layer_makes_of_learnt_values(caffe, tmp_path, monkeypatch):
    """As in py-faster-rcnn, whose layers have a backward that does nothing."""
    code = """import caffe
class Regions(caffe.Layer):
    def setup(self, bottom, top): top[0].reshape(1, 5)
    def reshape(self, bottom, top): pass
    def forward(self, bottom, top):
        top[0].reshape(2, 5)
        top[0].data[...] = [[0, 0, 0, 3, 3], [0, 0, 0, 1, 1]]
    def backward(self, top, propagate_down, bottom): pass
"""
    path = python_net(
        tmp_path,
        monkeypatch,
        code,
        """input: "x" input_shape { dim: 1 dim: 1 dim: 4 dim: 4 }
        layer { name: "c" type: "Convolution" bottom: "x" top: "c"
            convolution_param { num_output: 1 kernel_size: 1 weight_filler { type: "constant" value: 1 } } }
        layer { name: "r" type: "Python" bottom: "c" top: "r" python_param { module: "my_own" layer: "Regions" } }
        layer { name: "p" type: "ROIPooling" bottom: "c" bottom: "r" top: "p"
            roi_pooling_param { pooled_w: 1 pooled_h: 1 } }
        layer { name: "l" type: "Reduction" bottom: "p" top: "l" loss_weight: 1 }""",
    )
    (tmp_path / "solver.prototxt").write_text(f'train_net: "{path}" base_lr: 1 lr_policy: "fixed"')
    solver = caffe.SGDSolver(str(tmp_path / "solver.prototxt"))
    solver.net.blobs["x"].data[...] = np.arange(16).reshape(1, 1, 4, 4)
    solver.step(1)
    assert solver.net.blobs["l"].data == 15 + 5
    np.testing.assert_array_equal(solver.net.params["c"][0].data.ravel(), [1 - (15 + 5)])


def test_a_package_that_a_python_layer_needs_is_named(caffe, tmp_path, monkeypatch):
    own = 'layer { name: "p" type: "Python" top: "p" python_param { module: "my_own" layer: "Phase" } }'
    path = python_net(tmp_path, monkeypatch, "import no_such_package", own)
    with pytest.raises(
        NetError, match="module 'my_own' cannot be imported: No module named 'no_such_package'; install"
    ):
        caffe.Net(path, caffe.TEST)


def test_a_gradient_that_forward_writes_is_there_in_backward(caffe, tmp_path, monkeypatch):
    code = """import caffe
class Loss(caffe.Layer):
    def setup(self, bottom, top): top[0].reshape(1)
    def reshape(self, bottom, top): pass
    def forward(self, bottom, top):
        top[0].data[0] = (bottom[0].data ** 2).sum()
        bottom[0].diff[...] = 2 * bottom[0].data
    def backward(self, top, propagate_down, bottom): bottom[0].diff[...] *= top[0].diff[0]
"""
    own = """force_backward: true input: "x" input_shape { dim: 3 }
    layer { name: "l" type: "Python" bottom: "x" top: "l" loss_weight: 2
        python_param { module: "my_own" layer: "Loss" } }"""
    net = caffe.Net(python_net(tmp_path, monkeypatch, code, own), caffe.TRAIN)
    net.forward(x=np.arange(3))
    for _ in range(2):
        np.testing.assert_array_equal(net.backward()["x"], [0, 4, 8])


def test_what_a_python_layer_raises_is_caught_by_its_type(caffe, mean, tmp_path):
    """Data layers end a pass by StopIteration, and scripts catch what their layers raise."""
    (tmp_path / "solver.prototxt").write_text(f'train_net: "{mean}" base_lr: 0 lr_policy: "fixed"')
    solver = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    for error in (StopIteration("end"), OSError(2, "gone"), KeyError("a"), "a".encode, ZeroDivisionError()):
        kind = UnicodeDecodeError if callable(error) else type(error)

        def fail(*_, error=error):
            if callable(error):
                b"\xff".decode()
            raise error

        solver.net.layers[1].forward = fail
        for run in (solver.net.forward, lambda: solver.step(1)):
            with pytest.raises(kind, match=r"layer 'mean' \(Python\) with bottoms data 4: ") as caught:
                run()
            assert isinstance(caught.value, NetError)
    solver.net.layers[1].forward = lambda bottom, top: None
    solver.net.layers[1].backward = fail
    solver.net.forward()
    with pytest.raises(ZeroDivisionError, match="fail raised ZeroDivisionError"):
        solver.net.backward()


def test_what_a_python_layer_s_setup_raises_is_caught_by_its_type(caffe, tmp_path, monkeypatch):
    code = """import caffe
class Refusing(caffe.Layer):
    def setup(self, bottom, top): raise ValueError('two bottoms are needed')
"""
    own = 'layer { name: "r" type: "Python" top: "r" python_param { module: "my_own" layer: "Refusing" } }'
    with pytest.raises(ValueError, match=r"layer 'r' .*two bottoms are needed"):
        caffe.Net(python_net(tmp_path, monkeypatch, code, own), caffe.TEST)


@pytest.mark.parametrize("name", ["data", "nets.layers", "protos"])
def test_a_python_layer_s_module_may_be_called_as_ours(caffe, tmp_path, monkeypatch, name):
    code = """import caffe
class Five(caffe.Layer):
    def setup(self, bottom, top): top[0].reshape(1)
    def reshape(self, bottom, top): pass
    def forward(self, bottom, top): top[0].data[...] = 5
"""
    top, _, inner = name.partition(".")
    if inner:
        (tmp_path / top).mkdir()
        (tmp_path / top / "__init__.py").write_text("")
    (tmp_path / f"{name.replace('.', '/')}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "net.prototxt"
    path.write_text(f'layer {{ name: "f" type: "Python" top: "f" python_param {{ module: "{name}" layer: "Five" }} }}')
    try:
        assert caffe.Net(str(path), caffe.TEST).forward()["f"] == [5]
    finally:
        for own in (f"script_{name}", f"script_{top}"):
            sys.modules.pop(own, None)
