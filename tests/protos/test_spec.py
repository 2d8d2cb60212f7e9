import pytest

from protos import text
from protos.errors import NetError
from protos.schema import FillerParameter
from protos.spec import L, NetSpec


def lenet():
    n = NetSpec("LeNet")
    n.data, n.label = L.Data(
        source="mnist_train_lmdb", backend="LMDB", batch_size=64, ntop=2, transform_param={"scale": 1 / 256}
    )
    n.conv1 = L.Convolution(n.data, num_output=20, kernel_size=5, weight_filler={"type": "xavier"})
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool="MAX")
    n.ip1 = L.InnerProduct(n.pool1, num_output=10, param=[{"lr_mult": 1}, {"lr_mult": 2, "decay_mult": 0}])
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.loss = L.SoftmaxWithLoss(n.relu1, n.label, loss_weight=2, ignore_label=3)
    n.accuracy = L.Accuracy(n.relu1, n.label, include={"phase": "TEST", "stage": ["a"]})
    return n


def test_a_whole_net():
    expected = text.parse_net("""
        name: "LeNet"
        layer { name: "data" type: "Data" top: "data" top: "label" transform_param { scale: 0.00390625 }
                data_param { source: "mnist_train_lmdb" backend: LMDB batch_size: 64 } }
        layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
                convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: "xavier" } } }
        layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
                pooling_param { kernel_size: 2 stride: 2 pool: MAX } }
        layer { name: "ip1" type: "InnerProduct" bottom: "pool1" top: "ip1"
                param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
                inner_product_param { num_output: 10 } }
        layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip1" bottom: "label" top: "loss" loss_weight: 2
                loss_param { ignore_label: 3 } }
        layer { name: "accuracy" type: "Accuracy" bottom: "ip1" bottom: "label" top: "accuracy"
                include { phase: TEST stage: "a" } }
    """)
    assert lenet().to_proto() == expected
    assert text.parse_net(text.to_text(lenet().to_proto())) == expected


def test_layers_without_a_name_of_their_own_are_numbered():
    n = NetSpec()
    n.ReLU1 = L.Input(shape={"dim": [1, 3]})
    n["a/b"] = L.ReLU(L.ReLU(L.Concat(n.ReLU1, n.ReLU1)))
    net = n.to_proto()
    assert [(layer.name, *layer.top) for layer in net.layer] == [
        ("ReLU1", "ReLU1"),
        ("Concat1", "Concat1"),
        ("ReLU2", "ReLU2"),
        ("a/b", "a/b"),
    ]


def test_a_top_of_several_without_a_name():
    n = NetSpec()
    n.data, _ = L.Data(ntop=2)
    assert list(n.to_proto().layer[0].top) == ["data", "Data1"]
    n = NetSpec()
    _, n.label = L.Data(ntop=2)
    layer = n.to_proto().layer[0]
    assert (layer.name, list(layer.top)) == ("Data1", ["Data1", "label"])


def test_a_layer_without_tops_and_one_with_a_name():
    n = NetSpec()
    n.x = L.Input(shape={"dim": [1]}, name="in")
    n.silence = L.Silence(n.x, ntop=0)
    assert [(layer.name, list(layer.top)) for layer in n.to_proto().layer] == [("in", ["x"]), ("silence", [])]


def test_the_options_of_types_that_forks_have_in_common():
    """Of SSD's Normalize, and of BVLC's LSTM: other forks have a normalize_param and an lstm_param."""
    made = L.Normalize(L.Input(), scale_filler={"value": 20}, across_spatial=False).fn.message()
    assert (made.norm_param.scale_filler.value, made.HasField("normalize_param")) == (20, False)
    assert L.LSTM(L.Input(), num_output=3).fn.message().recurrent_param.num_output == 3


def test_messages_are_taken_as_they_are():
    n = NetSpec()
    n.x = L.InnerProduct(weight_filler=FillerParameter(std=2))
    assert n.to_proto().layer[0].inner_product_param.weight_filler.std == 2


def test_options_may_change_until_the_net_is_written():
    n = NetSpec()
    n.ip = L.InnerProduct(L.Input(), num_output=3, param={"lr_mult": 0})
    n.ip.fn.params["param"] = [{"lr_mult": 4}]
    layer = n.to_proto().layer[1]
    assert [param.lr_mult for param in layer.param] == [4]
    assert n.ip.to_proto().layer[1].inner_product_param == layer.inner_product_param


def test_a_chain_deeper_than_the_stack():
    n = NetSpec()
    top = L.Input()
    for _ in range(3000):
        top = L.ReLU(top)
    n.last = top
    assert len(n.to_proto().layer) == 3001


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda n: L.Convolution(n.x, kernel_sise=3),
            "Convolution: unknown option 'kernel_sise' in ConvolutionParameter, did you mean kernel_size",
        ),
        (
            lambda n: L.Convolution(n.x, weight_filler={"typ": "x"}),
            "Convolution: unknown option 'typ' in FillerParameter, did you mean type?",
        ),
        (
            lambda n: L.Silence(n.x, loss_wait=3),
            "Silence: unknown option 'loss_wait' in LayerParameter, did you mean loss_weight",
        ),
        (lambda n: L.Pooling(n.x, pool="MAXX"), "Pooling: pool='MAXX' does not fit"),
        (lambda n: L.Pooling(n.x, stride="a"), "Pooling: stride='a' does not fit"),
        (lambda n: L.ReLU("x"), "ReLU: a bottom is the top of another layer, not 'x'"),
        (lambda n: L.ReLU(in_place=True), "ReLU: a layer in place has one top, and the bottom"),
        (lambda n: n.date, "no top 'date' in the net so far, did you mean data?"),
        (lambda n: setattr(n, "x", L.ReLU(n.x)), "x: there is a top of this name already"),
        (lambda n: setattr(n, "y", 3), "y: a net consists of tops and layers, not of 3"),
    ],
)
def test_errors_name_the_remedy(build, message):
    n = NetSpec()
    n.x = L.Input()
    n.data = L.Input()
    with pytest.raises(NetError, match=message):
        build(n)


def test_what_python_asks_every_object_for_is_no_top():
    net = NetSpec()
    assert not hasattr(net, "__array__")
    with pytest.raises(NetError, match="no top 'array' in the net so far"):
        net.array  # noqa: B018  # what asks is tested
