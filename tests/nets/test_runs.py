"""A BatchNorm and the Scale behind it are one operator, with the numbers of two; and when they stay two."""

import weakref

import numpy as np
import pytest
import torch

import nets
from nets.predictions import predict
from protos import text
from protos.errors import NetError
from tests.calls import Calls

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 dim: 5 dim: 6 } } }\n'


def layer(name: str, kind: str, bottoms: str, top: str, more: str = "") -> str:
    tied = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    return f'layer {{ name: "{name}" type: "{kind}" {tied} top: "{top}" {more} }}\n'


def scale(bottoms: str = "x", top: str = "x", options: str = "bias_term: true", more: str = "") -> str:
    fillers = 'filler { type: "uniform" min: 0.5 max: 2 } bias_filler { type: "gaussian" }'
    return layer("scale", "Scale", bottoms, top, f"scale_param {{ {options} {fillers} }} {more}")


def norm(top: str = "x", options: str = "", more: str = "") -> str:
    return layer("bn", "BatchNorm", "x", top, f"batch_norm_param {{ {options} }} {more}")


RELU = layer("relu", "ReLU", "x", "x")
JOINED = {
    "in place": norm() + scale() + RELU,
    "blobs of their own": norm("n") + scale("n", "y"),
    "the first alone in place of nothing": norm("n") + scale("n", "n") + layer("relu", "ReLU", "n", "n"),
    "without bias": norm() + scale(options=""),
    "a scale that does not learn": norm() + scale(more="param { lr_mult: 0 } param { lr_mult: 0 }"),
    "stored statistics": norm(options="use_global_stats: true") + scale(),
    "eps behind the root": norm(options="use_global_stats: true add_eps_before_sqrt: false eps: 0.1") + scale(),
    "shared": norm() + scale(more='param { name: "w" } param { name: "b" }')
    + layer("again", "Scale", "x", "y",
            'scale_param { bias_term: true } param { name: "w" } param { name: "b" }'),
}  # fmt: skip
APART = {
    "what is between them is asked for": norm("n") + scale("n", "y") + layer("tap", "ReLU", "n", "z"),
    "what is between them goes out": norm("n") + layer("other", "ReLU", "n", "n2") + scale("x", "y"),
    "a loss between them": norm("n", more="loss_weight: 1") + scale("n", "y"),
    "a loss of the scale": norm() + scale("x", "y", more="loss_weight: 2"),
    "no gradient through the scale": norm() + scale(more="propagate_down: false"),
    "another axis": norm() + scale(options="axis: 2"),
    "two axes": norm() + scale(options="num_axes: 2"),
    "one factor": norm() + scale(options="num_axes: 0"),
    "a factor for each value": norm() + scale(options="axis: 0 num_axes: -1"),
    "factors from a bottom": layer("w", "Parameter", "", "w", "parameter_param { shape { dim: 3 } }").replace(
        'bottom: ""', ""
    )
    + norm() + layer("scale", "Scale", "x w", "x"),
    "a norm that scales by itself": norm(options="scale_bias: true") + scale(),
    "another layer": norm() + layer("power", "Power", "x", "x", "power_param { scale: 2 shift: 1 }"),
    "a layer between them": norm() + RELU + scale(),
}  # fmt: skip


def load(layers: str, phase: str = "TRAIN") -> nets.Net:
    torch.manual_seed(0)
    net = nets.load(text.parse_net(INPUT + layers), phase=phase)
    bn = net.layer("bn")
    with torch.no_grad():
        bn.mean.normal_()
        bn.variance.uniform_(1, 4)
        bn.factor.fill_(2.0)
    return net


def passed(net: nets.Net, x: torch.Tensor, run) -> list[torch.Tensor]:
    """The output of *run*, the gradients of a sum over it, and the statistics that the pass left."""
    net.zero_grad()
    x = x.clone().requires_grad_()
    out = run(x)
    (out.sin() * torch.linspace(1, 2, out.numel()).view_as(out)).sum().backward()
    learnt = [parameter.grad for parameter in net.parameters() if parameter.requires_grad]
    return [out.detach(), x.grad, *learnt, *(buffer.clone() for buffer in net.buffers())]


def count(net: nets.Net) -> int:
    return len(net.nodes) - len(net.runs())


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("kind", JOINED)
def test_both_at_once_give_what_each_by_itself_gives(kind, phase):
    net, other = load(JOINED[kind], phase), load(JOINED[kind], phase)
    assert count(net) == 1
    x = 3 * torch.randn(4, 3, 5, 6) + 1
    (top,) = net.graph.outputs
    at_once = passed(net, x, lambda x: net(x=x)[top])
    apart = passed(other, x, lambda x: other.activations(x=x)[top])
    assert len(at_once) == len(apart) > 4
    for mine, theirs in zip(at_once, apart, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", ["", "bias_term: true"])
def test_one_value_a_channel_is_its_own_mean(options):
    net, other = (load(norm() + scale(options=options)) for _ in range(2))
    assert count(net) == 1
    x = torch.randn(1, 3, 1, 1)
    for mine, theirs in zip(
        passed(net, x, lambda x: net(x=x)["x"]), passed(other, x, lambda x: other.activations(x=x)["x"]), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_both_at_once_are_one_pass_over_the_blob(phase):
    net = load(JOINED["in place"], phase)
    x = 3 * torch.randn(4, 3, 5, 6) + 1
    x_np = x.double().numpy()
    bn, by = net.layer("bn"), net.layer("scale")
    mean, var = x_np.mean((0, 2, 3)), x_np.var((0, 2, 3))
    if phase == "TEST":
        mean, var = (bn.mean.double() / 2).numpy(), (bn.variance.double() / 2).numpy()
    with Calls() as calls, torch.no_grad():
        found = net(x=x)["x"].numpy()
    assert calls.names["native_batch_norm"] == 1
    assert not {"addcmul", "div"} & {*calls.names}
    w, b = (one.detach().double().numpy()[:, None, None] for one in (by.weight, by.bias))
    wanted = (x_np - mean[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None] * w + b
    np.testing.assert_allclose(found, np.maximum(wanted, 0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", APART)
def test_they_stay_two_where_something_is_between_them(kind):
    net = load(APART[kind])
    assert count(net) == 0
    x = torch.randn(4, 3, 5, 6)
    other = load(APART[kind])
    for top, value in net(x=x).items():
        torch.testing.assert_close(value, other.activations(x=x)[top])


@pytest.mark.parametrize("name", ["bn", "scale"])
@pytest.mark.parametrize("hook", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_hooks_see_each_layer(name, hook):
    net = load(JOINED["in place"])
    x = torch.randn(4, 3, 5, 6, requires_grad=True)
    wanted = net(x=x)["x"]
    seen = []
    handle = getattr(net.layer(name), f"register_{hook}_hook")(lambda *args: seen.append(args) or None)
    assert count(net) == 0
    found = net(x=x)["x"]
    found.sum().backward()
    assert len(seen) == 1
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    handle.remove()
    assert count(net) == 1


def test_every_blob_is_there_for_who_asks_for_all():
    net = load(JOINED["blobs of their own"], "TEST")
    x = torch.randn(4, 3, 5, 6)
    blobs = net.activations(x=x)
    assert list(blobs) == ["x", "n", "y"]
    mean, var = net.layer("bn").mean / 2, net.layer("bn").variance / 2
    wanted = (x - mean[:, None, None]) / (var + 1e-5).sqrt()[:, None, None]
    torch.testing.assert_close(blobs["n"], wanted, rtol=1e-5, atol=1e-5)


def test_predictions_and_compiled_nets_give_the_same():
    net = load(JOINED["blobs of their own"], "TEST")
    x = torch.randn(4, 3, 5, 6)
    wanted = net.activations(x=x)["y"]
    with Calls() as calls:
        found = predict(net, {"x": x})["y"]
    assert calls.names["native_batch_norm"] == 1
    assert "addcmul" not in calls.names
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    exported = torch.export.export(net, (), {"x": x}).module()(x=x)["y"]
    torch.testing.assert_close(exported, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", ["forward", "loss", "predict"])
def test_blobs_are_let_go_when_they_are_done_with(how):
    net = nets.load(text.parse_net(INPUT + "".join(layer(f"p{i}", "Power", b, t, "power_param { shift: 1 }")
                                                   for i, (b, t) in enumerate([("x", "a"), ("a", "b"), ("b", "c")])
                                                   ) + layer("sum", "Eltwise", "a c", "y")), phase="TEST")  # fmt: skip
    alive = []  # at each layer, which of the tops so far
    tops = []

    def note(module, args, top):
        alive.append([weak() is not None for weak in tops])
        tops.append(weakref.ref(top))

    for one in net.children():
        one.register_forward_hook(note)
    x = torch.randn(4, 3, 5, 6)
    with torch.no_grad():
        found = {
            "forward": lambda: net(x=x)["y"],
            "loss": lambda: net.forward_with_loss({"x": x})[0]["y"],
            "predict": lambda: predict(net, {"x": x})["y"],
        }[how]()
    assert alive == [[], [True], [True, True], [True, False, True]]
    torch.testing.assert_close(found, (x + 1) + (x + 3))


def test_a_wrong_blob_is_named_as_ever():
    net = load(JOINED["in place"])
    with pytest.raises(NetError, match=r"'bn' \(BatchNorm\) with bottoms x 4x2x5x6: "):
        net(x=torch.zeros(4, 2, 5, 6))


def test_bf16_normalises_in_float32():
    net = load(JOINED["in place"])
    x = torch.randn(4, 3, 5, 6)
    wanted = load(JOINED["in place"])(x=x.bfloat16().float())["x"]
    with torch.autocast("cpu", torch.bfloat16):
        found = net(x=x.bfloat16())["x"]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(("factor", "wanted"), [(0.0, 0.0), (-0.0, 0.0), (4.0, 0.5), (float("nan"), float("nan"))])
def test_the_weight_of_what_is_stored(factor, wanted):
    net = load(norm("y"), "TEST")
    bn = net.layer("bn")
    with torch.no_grad():
        bn.mean.fill_(2.0)
        bn.variance.fill_(1.0 if factor else 9.0)
        bn.factor.fill_(factor)
    mean, variance, eps = bn._statistics()
    np.testing.assert_array_equal(mean.numpy(), np.full(3, wanted, np.float32))
    assert eps == bn.eps
    if factor == 0:
        assert not variance.any()
