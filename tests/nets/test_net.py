"""The net as a PyTorch module: inputs, losses, sharing, modes, keys; what it refuses while it is built or run."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

import nets
from protos import text
from protos.errors import NetError

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }\n'
LABEL = 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }\n'


def make(layers: str, phase: str = "TRAIN", **options) -> nets.Net:
    torch.manual_seed(0)
    return nets.Net(nets.graph.build(text.parse_net(f'name: "n"\n{layers}'), phase, **options))


def ip(name: str, bottom: str, top: str = "", options: str = "", param: str = "", out: int = 3) -> str:
    inner = f'inner_product_param {{ num_output: {out} weight_filler {{ type: "xavier" }} {options} }}'
    return f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{top or name}" {param} {inner} }}\n'


LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "l" loss_weight: 2 }\n'
CLASSIFIER = DATA + LABEL + ip("ip", "data") + LOSS
X, Y = torch.tensor([[1.0, 2, 3], [4, 5, 6]]), torch.tensor([0.0, 2])


# ---- inputs and outputs


def test_inputs_go_by_name_or_in_order():
    net = make(CLASSIFIER)
    by_name, in_order = net(data=X, label=Y), net(X, Y)
    assert list(by_name) == ["l"]
    assert torch.equal(by_name["l"], in_order["l"])
    assert torch.equal(net(X, label=Y)["l"], by_name["l"])
    assert list(net.activations(X, Y)) == ["data", "label", "ip", "l"]


@pytest.mark.parametrize(
    ("args", "kwargs", "given"),
    [
        ((), {}, "none"),
        ((X,), {}, "#0"),
        ((X, Y, Y), {}, "#0, #1, #2"),
        ((X,), {"data": X}, "#0, data"),
        ((), {"data": X, "labels": Y}, "data, labels"),
    ],
)
def test_wrong_inputs(args, kwargs, given):
    with pytest.raises(NetError) as caught:
        make(CLASSIFIER)(*args, **kwargs)
    assert str(caught.value) == f"the net's inputs are data, label; given: {given}"


def test_another_batch_size_runs():
    assert make(DATA + ip("ip", "data"))(torch.zeros(7, 3))["ip"].shape == (7, 3)
    with pytest.raises(NetError, match=r"layer 'ip' \(InnerProduct\) with bottoms data 2x4: "):
        make(DATA + ip("ip", "data"))(torch.zeros(2, 4))


def test_shapes_must_be_known():
    data = 'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "nowhere" batch_size: 2 } }\n'
    with pytest.raises(NetError, match="net 'n': the shape of 'data', 'label' is not known: name it in input_shapes"):
        make(data)
    assert make(data + ip("ip", "data"), input_shapes={"data": (2, 5), "label": (2,)}).shapes["ip"] == (2, 3)


def test_a_misfit_names_layer_type_and_shapes():
    with pytest.raises(NetError) as caught:
        make(DATA + LABEL + 'layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "label" top: "sum" }')
    assert str(caught.value) == "layer 'sum' (Eltwise) with bottoms data 2x3, label 2: its bottoms must have one shape"


# ---- losses


def test_the_loss_is_the_weighted_sum_over_all_tops():
    net = make(CLASSIFIER)
    out, loss = net.forward_with_loss({"data": X, "label": Y})
    expected = 2 * torch.nn.functional.cross_entropy(net.activations(X, Y)["ip"], Y.long())
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(net.loss(out), expected)


def test_a_loss_that_is_consumed_counts_too():
    net = make(CLASSIFIER + 'layer { name: "twice" type: "Power" bottom: "l" top: "twice" power_param { scale: 2 } }')
    out, loss = net.forward_with_loss({"data": X, "label": Y})
    assert list(out) == ["twice"]
    torch.testing.assert_close(loss, out["twice"])
    torch.testing.assert_close(net.loss(net.activations(X, Y)), loss)
    message = r"loss 'l' of layer 'loss' \(SoftmaxWithLoss\) is consumed by another layer: give net.activations"
    with pytest.raises(NetError, match=message):
        net.loss(out)


def test_a_net_without_losses_loses_nothing():
    assert make(DATA + ip("ip", "data")).forward_with_loss({"data": X})[1] == 0


def test_a_weight_on_any_top_sums_it():
    net = make(DATA + 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" loss_weight: 0.5 }')
    assert net.forward_with_loss({"data": X})[1] == X.sum() / 2


def test_propagate_down_stops_the_gradient():
    net = make(DATA + LABEL + ip("a", "data") + ip("ip", "a").replace("top:", "propagate_down: false top:", 1) + LOSS)
    net.forward_with_loss({"data": X, "label": Y})[1].backward()
    assert net.layer("a").weight.grad is None
    assert net.layer("ip").weight.grad is not None


def test_force_backward_goes_before_propagate_down():
    layers = ip("a", "data") + ip("ip", "a").replace("top:", "propagate_down: false top:", 1)
    net = make("force_backward: true " + DATA + LABEL + layers + LOSS)
    net.forward_with_loss({"data": X, "label": Y})[1].backward()
    assert net.layer("a").weight.grad is not None


# ---- an ordinary module


def test_keys_are_the_names_of_layers_and_blobs():
    assert list(make(CLASSIFIER).state_dict()) == ["ip.weight", "ip.bias"]
    assert [blob.key for blob in make(CLASSIFIER).learnable] == ["ip.weight", "ip.bias"]


def test_layers_of_one_name_have_keys_of_their_own():
    net = make(DATA + ip("ip", "data", "a") + ip("ip", "a", "b"))
    assert list(net.state_dict()) == ["ip.weight", "ip.bias", "ip#2.weight", "ip#2.bias"]


@pytest.mark.parametrize("name", ["forward", "loss", "train", "a.b/c", "_modules"])
def test_a_layer_may_have_any_name(name):
    net = make(DATA + ip(name, "data", "y"))
    assert net(X)["y"].shape == (2, 3)
    key = name.replace(".", "_")
    assert list(net.state_dict()) == [f"{key}.weight", f"{key}.bias"]
    assert net.layer(name).weight is dict(net.named_parameters())[f"{key}.weight"]
    twin = copy.deepcopy(net)
    twin.load_state_dict(net.state_dict())


def test_the_layer_of_a_name():
    net = make(CLASSIFIER)
    assert [tuple(blob.shape) for blob in net.layer("ip").blobs] == [(3, 3), (3,)]
    with pytest.raises(NetError, match=r"the net has no layer 'ip1', did you mean ip\?"):
        net.layer("ip1")


def test_modes_follow_the_phase_and_a_layer_its_own():
    drop = 'layer { name: "d" type: "Dropout" bottom: "data" top: "d" dropout_param { dropout_ratio: 0.9 } %s }'
    assert not torch.equal(make(DATA + drop % "")(X)["d"], X)
    assert torch.equal(make(DATA + drop % "", "TEST")(X)["d"], X)
    assert torch.equal(make(DATA + drop % "").eval()(X)["d"], X)
    fixed = make(DATA + drop % "phase: TEST")
    assert torch.equal(fixed(X)["d"], X)
    assert torch.equal(fixed.train()(X)["d"], X)


def test_rates_of_zero_take_no_gradient():
    net = make(CLASSIFIER.replace('top: "ip"', 'top: "ip" param { lr_mult: 0 } param { lr_mult: 2 decay_mult: 0 }'))
    assert [(b.key, b.lr_mult, b.decay_mult, b.tensor.requires_grad) for b in net.learnable] == [
        ("ip.weight", 0.0, 1.0, False),
        ("ip.bias", 2.0, 0.0, True),
    ]


def test_types_and_copies():
    net = make(CLASSIFIER).double()
    assert net(X.double(), Y)["l"].dtype == torch.float64
    twin = copy.deepcopy(net)
    with torch.no_grad():
        twin.layer("ip").weight.zero_()
    assert net.layer("ip").weight.any()


def test_a_generator_makes_the_same_net_again():
    param = nets.graph.build(text.parse_net(DATA + ip("ip", "data")), "TRAIN")
    one, two = (nets.Net(param, torch.Generator().manual_seed(7)).state_dict()["ip.weight"] for _ in range(2))
    assert torch.equal(one, two)


def test_weights_in_the_message():
    net = make(DATA + ip("ip", "data"))
    blobs = net.to_proto(weights=True).layer[1].blobs
    assert [list(blob.shape.dim) for blob in blobs] == [[3, 3], [3]]
    torch.testing.assert_close(torch.tensor(blobs[0].data).view(3, 3), net.layer("ip").weight.detach())
    assert not net.to_proto().layer[1].blobs


# ---- sharing


def shared(first: str, second: str, out: int = 3) -> str:
    return DATA + ip("a", "data", param=first) + ip("b", "a", param=second, out=out)


def test_shared_blobs_are_one_tensor():
    net = make(shared('param { name: "w" }', 'param { name: "w" }'))
    assert net.layer("a").weight is net.layer("b").weight
    assert net.layer("a").bias is not net.layer("b").bias
    assert [blob.key for blob in net.learnable] == ["a.weight", "a.bias", "b.bias"]
    twin = copy.deepcopy(net)
    assert twin.layer("a").weight is twin.layer("b").weight


def test_permissive_sharing_needs_the_count_alone():
    layers = DATA + ip("a", "data", out=6, options="bias_term: false", param='param { name: "w" }')
    layers += ip("b", "a", out=3, options="bias_term: false", param='param { name: "w" share_mode: PERMISSIVE }')
    net = make(layers)
    assert net.layer("b").blobs[0].shape == (3, 6)
    with torch.no_grad():
        net.layer("a").weight.fill_(2)
    assert (net.layer("b").blobs[0] == 2).all()
    twin = copy.deepcopy(net).double()
    assert twin.layer("b").blobs[0].data_ptr() == twin.layer("a").weight.data_ptr()
    assert twin.layer("b").blobs[0].dtype == torch.float64


@pytest.mark.parametrize(
    ("first", "second", "out", "message"),
    [
        (
            'param { name: "w" }', 'param { name: "w" }', 2,
            "shared param 'w' of layer 'b' (InnerProduct) (2x3) and of layer 'a' (InnerProduct) (3x3) differ in shape",
        ),
        (
            'param { name: "w" }', 'param { name: "w" share_mode: PERMISSIVE }', 2,
            "shared param 'w' of layer 'b' (InnerProduct) (2x3) and of layer 'a' (InnerProduct) (3x3) differ in count",
        ),
        (
            'param { name: "w" lr_mult: 1 }', 'param { name: "w" lr_mult: 2 }', 3,
            "shared param 'w' of layer 'b' (InnerProduct) (3x3) and of layer 'a' (InnerProduct) (3x3) "
            "set different lr_mult",
        ),
        (
            'param { name: "w" decay_mult: 1 }', 'param { name: "w" decay_mult: 0 }', 3,
            "shared param 'w' of layer 'b' (InnerProduct) (3x3) and of layer 'a' (InnerProduct) (3x3) "
            "set different decay_mult",
        ),
        ("param { } param { } param { }", "", 3, "layer 'a' (InnerProduct) has 2 blobs but 3 param blocks"),
        (
            "param { } param { } param { }", "param { } param { } param { } param { }", 3,
            "layer 'a' (InnerProduct) has 2 blobs but 3 param blocks; "
            "layer 'b' (InnerProduct) has 2 blobs but 4 param blocks",
        ),
    ],
)  # fmt: skip
def test_sharing_that_does_not_fit(first, second, out, message):
    with pytest.raises(NetError) as caught:
        make(shared(first, second, out))
    assert str(caught.value) == message


def test_the_one_who_states_a_rate_decides():
    net = make(shared('param { name: "w" }', 'param { name: "w" lr_mult: 3 }'))
    assert net.learnable[0].lr_mult == 3


def test_the_second_who_states_a_rate_has_to_agree():
    silent, stated = 'param { name: "w" }', 'param { name: "w" lr_mult: 3 }'
    third = ip("c", "b", out=3, param=stated.replace("3", "4"))
    with pytest.raises(NetError, match=r"of layer 'c' .* set different lr_mult"):
        make(shared(silent, stated) + third)


# ---- what is carried from pass to pass


@pytest.mark.parametrize("case", ["lstm", "lstm_static", "rnn"])
def test_a_sequence_goes_on_in_the_next_batch(case):
    """The original's outputs of T steps, from two passes of half the steps each."""
    folder = Path(__file__).parents[1] / "golden" / "layers"
    net = nets.load(folder / f"{case}.prototxt", phase="TRAIN", input_shapes={})
    with np.load(folder / f"{case}.npz") as values:
        given = {key.split("/")[1]: torch.from_numpy(values[key]) for key in values.files if key.startswith("bottom/")}
        wanted = values["top/y"]
        with torch.no_grad():
            for key in (key for key in values.files if key.startswith("param/")):
                _, layer, i = key.split("/")
                net.layer(layer).blobs[int(i)].copy_(torch.from_numpy(values[key]))
    half = len(wanted) // 2
    cuts = [
        {name: x if name == "s" else x[part] for name, x in given.items()} for part in (slice(half), slice(half, None))
    ]
    for _ in range(2):
        tops = [net.activations(**cut)["y"].detach() for cut in cuts]
        np.testing.assert_allclose(torch.cat(tops), wanted, rtol=1e-5, atol=1e-6)
        net.forget()


def test_states_of_another_batch_size_are_not_gone_on_from():
    net = make("""
    layer { name: "x" type: "Input" top: "x" top: "c"
      input_param { shape { dim: 3 dim: 2 dim: 4 } shape { dim: 3 dim: 2 } } }
    layer { name: "rnn" type: "RNN" bottom: "x" bottom: "c" top: "y" recurrent_param { num_output: 5
      weight_filler { type: "xavier" } } }""")
    x, one = torch.rand(3, 2, 4), torch.ones(3, 2)
    first = net(x, one)["y"]
    assert not torch.equal(net(x, one)["y"], first)
    torch.testing.assert_close(net(x[:, :1], one[:, :1])["y"], first[:, :1])
    torch.testing.assert_close(net(x, one)["y"], first)
    torch.testing.assert_close(copy.deepcopy(net)(x, one)["y"], net(x, one)["y"])


def test_a_net_too_large_for_the_memory_says_so():
    wide = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 500000000 } } }'
    with pytest.raises(NetError) as caught:
        make(
            wide + ip("a", "x", options="bias_term: false", out=2) + ip("b", "x", options="bias_term: false", out=2**30)
        )
    assert str(caught.value) == (
        "net 'n': there is no memory for its blobs, 2,147,483,652.0 GB, 2,147,483,648.0 GB of it for "
        "layer 'b' (InnerProduct)"
    )
