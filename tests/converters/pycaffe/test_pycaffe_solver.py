"""The solvers of caffe, and what scripts write to the blobs of their nets between the steps."""

from pathlib import Path

import numpy as np
import pytest

from protos.errors import CaffeError

GOLDEN = Path(__file__).parents[2] / "golden"


def test_what_is_written_to_a_solver_s_batch_stays_in_it(caffe, monkeypatch, tmp_path):
    monkeypatch.chdir(GOLDEN / "formats")
    (tmp_path / "net.prototxt").write_text(
        """layer { name: "data" type: "Data" top: "data" top: "label" transform_param { scale: 0.01 }
            data_param { source: "raw_lmdb" batch_size: 4 backend: LMDB } }
        layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }
        layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "ip" top: "loss" }"""
    )
    (tmp_path / "solver.prototxt").write_text(f'train_net: "{tmp_path}/net.prototxt" base_lr: 0 lr_policy: "fixed"')
    solver = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    seen = []
    for _ in range(6):
        solver.step(1)
        seen.append(solver.net.blobs["data"].data.copy())
        solver.net.blobs["data"].data[...] = 7
    assert all(any(np.array_equal(late, early) for early in seen[:3]) for late in seen[3:])
    assert not any((batch == 7).all() for batch in seen)


def test_constants_are_filled_once(caffe, tmp_path):
    """Scripts write labels over those of DummyData, as the original's own test_solver does."""
    (tmp_path / "net.prototxt").write_text(
        """layer { name: "in" type: "DummyData" top: "data" top: "label" dummy_data_param { shape { dim: 2 dim: 3 }
            shape { dim: 2 } data_filler { type: "gaussian" } data_filler { type: "constant" value: 5 } } }
        layer { name: "sum" type: "InnerProduct" bottom: "data" top: "sum" inner_product_param { num_output: 1 } }
        layer { name: "loss" type: "EuclideanLoss" bottom: "sum" bottom: "label" top: "loss" }"""
    )
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{tmp_path}/net.prototxt" test_iter: 1 test_interval: 1 base_lr: 0 lr_policy: "fixed"'
    )
    solver = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    for net in (caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST), solver.net, solver.test_nets[0]):
        np.testing.assert_array_equal(net.blobs["label"].data, [5, 5])
        net.forward()
        data = net.blobs["data"].data.copy()
        net.blobs["label"].data[...] = [1, 2]
        found = net.forward()["loss"]
        assert (net.blobs["data"].data != data).all()
        np.testing.assert_array_equal(net.blobs["label"].data, [1, 2])
        np.testing.assert_allclose(found, 5 / 4)
    solver.step(2)
    np.testing.assert_allclose([net.blobs["loss"].data for net in (solver.net, solver.test_nets[0])], 5 / 4)


def test_a_solver_s_inputs_are_what_the_script_writes(caffe, tmp_path):
    """One step of gradient descent by hand: w -= rate * (w x - y) x."""
    (tmp_path / "net.prototxt").write_text(
        """input: "x" input: "y" input_shape { dim: 1 dim: 2 } input_shape { dim: 1 dim: 1 }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
            inner_product_param { num_output: 1 bias_term: false } }
        layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "loss" }"""
    )
    (tmp_path / "solver.prototxt").write_text(f'train_net: "{tmp_path}/net.prototxt" base_lr: 0.5 lr_policy: "fixed"')
    solver = caffe.SGDSolver(str(tmp_path / "solver.prototxt"))
    assert solver.net.inputs == ["x", "y"]
    w = solver.net.params["ip"][0].data
    w[...] = [[1, 2]]
    solver.net.blobs["x"].data[...] = [[1, -1]]
    solver.net.blobs["y"].data[...] = 3
    solver.step(1)
    np.testing.assert_allclose(w, [[1 + 2, 2 - 2]])
    solver.net.blobs["x"].reshape(2, 2)
    solver.net.blobs["y"].reshape(2, 1)
    solver.net.blobs["x"].data[...] = [[1, 0], [0, 1]]
    solver.net.blobs["y"].data[...] = [[3], [4]]
    solver.step(1)
    np.testing.assert_allclose(w, [[3, 0 + 0.5 * 4 / 2]])


def test_callbacks_are_called_by_the_passes_alone(caffe, tmp_path):
    (tmp_path / "net.prototxt").write_text(
        """input: "x" input_shape { dim: 1 dim: 2 }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 1 } }
        layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1 }"""
    )
    (tmp_path / "solver.prototxt").write_text(f'train_net: "{tmp_path}/net.prototxt" base_lr: 1 lr_policy: "fixed"')
    solver = caffe.SGDSolver(str(tmp_path / "solver.prototxt"))
    calls = []
    solver.net.before_forward(calls.append)
    with pytest.raises(
        CaffeError, match=r"do not call what .* hold: call net.forward\(\), net.backward\(\) and solver.app"
    ):
        solver.step(1)
    solver.net.blobs["x"].data[...] = [[3, 4]]
    solver.net.forward()
    solver.net.backward()
    solver.apply_update()
    assert calls == [0, 1, 2]
    np.testing.assert_array_equal(solver.net.params["ip"][0].data, [[-3, -4]])


def test_a_test_net_has_weights_of_its_own_up_to_its_first_test(caffe, tmp_path):
    """And its blobs show the last batch of a test."""
    (tmp_path / "net.prototxt").write_text(
        """layer { name: "in" type: "DummyData" top: "x" dummy_data_param { shape { dim: 1 dim: 2 }
            data_filler { type: "constant" value: 3 } } }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 1
            weight_filler { type: "constant" value: 5 } } }
        layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1 }"""
    )
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{tmp_path}/net.prototxt" test_iter: 2 test_interval: 2 base_lr: 1 lr_policy: "fixed"'
    )
    solver = caffe.SGDSolver(str(tmp_path / "solver.prototxt"))
    test = solver.test_nets[0]
    solver.net.params["ip"][0].data[...] = 1
    assert test.params["ip"][0].data.tolist() == [[5, 5]]
    solver.step(1)
    assert (test.blobs["ip"].data, test.blobs["loss"].data) == (6, 6)
    assert test.params["ip"][0] is solver.net.params["ip"][0]
    solver.net.save(str(tmp_path / "w.caffemodel"))
    with (tmp_path / "solver.prototxt").open("a") as file:
        file.write(f' weights: "{tmp_path}/w.caffemodel"')
    again = caffe.SGDSolver(str(tmp_path / "solver.prototxt"))
    for net in (again.net, again.test_nets[0]):
        assert net.params["ip"][0].data.tolist() == [[-2, -2]]
