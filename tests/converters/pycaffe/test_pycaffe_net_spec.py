"""caffe.net_spec: what the original allows beyond protos.spec. Its nets, letter by letter, are in script.py."""

import pytest

from protos.errors import NetError


def test_names_of_ssd(caffe):
    """keys, vals and update, by which SSD's scripts go on from the last layer and freeze others."""
    n = caffe.NetSpec()
    n.data = caffe.layers.Input(shape={"dim": [1, 3, 8, 8]})
    n["conv/3x3"] = caffe.layers.Convolution(n.data, num_output=2, kernel_size=3, param=[{"lr_mult": 1}])
    n.update("conv/3x3", {"dilation": 2, "param": [{"lr_mult": 0}]})
    assert n.keys()[-1] == "conv/3x3"
    assert n.vals() == [n.data, n["conv/3x3"]]
    layer = n.to_proto().layer[1]
    assert list(layer.convolution_param.dilation) == [2]
    assert [param.lr_mult for param in layer.param] == [0]


def test_what_is_missing_and_what_is_wrong(caffe):
    n = caffe.NetSpec()
    n.data = caffe.layers.Input()
    assert not hasattr(n, "dota")
    for wrong, message in (
        (lambda: n.dota, "no top 'dota' in the net so far, did you mean data"),
        (
            lambda: caffe.net_spec.assign_proto(caffe.proto.caffe_pb2.SolverParameter(), "base_rl", 1),
            "did you mean base_lr",
        ),
        (lambda: n.update("data", {"shap": 1}) or n.to_proto(), "Input: unknown option 'shap' in InputParameter"),
    ):
        with pytest.raises(NetError, match=message):
            wrong()


def test_a_layer_by_its_type_and_options(caffe):
    n = caffe.NetSpec()
    n.data = caffe.layers.Input(shape={"dim": [1, 3]})
    options = {"ntop": 2, "slice_param": {"slice_point": 1}}
    n.first, n.second = caffe.net_spec.Function("Slice", (n.data,), options).tops
    n.relu = caffe.net_spec.Function("ReLU", (n.first,), {"in_place": True}).tops[0]
    slice_, relu = n.to_proto().layer[1:]
    assert (slice_.type, list(slice_.top), list(slice_.slice_param.slice_point)) == ("Slice", ["first", "second"], [1])
    assert (list(relu.bottom), list(relu.top)) == (["first"], ["first"])
    assert options["ntop"] == 2
