"""Every layer, by one table of cases: the same numbers, however it is run, stored, converted or compiled."""

import copy
import io
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import nets
from data.sources import SOURCES
from nets.layer import LAYERS
from nets.step import Options
from nets.weights import load_weights, save_weights
from protos import text
from protos.errors import NetError
from tests.nets.cases import CASES, Case

Run = Callable[..., dict[str, Tensor]]

TOP, GRADIENT, NEAR_ZERO = 1e-5, 1e-4, 1e-6

# Cases whose gradient, as in the original, is not the derivative of what the net computes.
NOT_THE_DERIVATIVE = {
    "eltwise_max_ties": "its values are tied: the maximum has a kink there",
    "loss_softmax_saturated": "the loss is capped where it is saturated, the gradient is not",
    "lstm_expose": "no gradient flows through exposed states",
    "rnn_expose": "no gradient flows through exposed states",
    "net_propagate_down": "propagate_down stops the gradient",
    "ctc_loss": "the gradient is that of the sum over the lines, not of their mean",
    "ctc_loss_weight": "the gradient is that of the sum over the lines, not of their mean",
    "lstm_fork_clip": "the weights' gradient counts states that were dropped, as in the fork",
    "lstm_fork_clipping": "the gradient is clipped",
    "other_center_loss_1": "the gradient of the centers is not their slope",
    "other_center_loss_2": "the gradient of the centers is not their slope",
    "other_correlation_2": "the gradient of SUBTRACT is not the slope",
    "other_l1_loss_1": "some values are equal: there is a kink",
    "other_lstm_1": "the gradient is clipped",
    "other_lstm_2": "the gradient is clipped",
    "other_lstm_3": "the weights' gradient counts states that were dropped",
    "other_lstm_4": "the gradient is clipped",
    "other_margin_1": "the weight's length takes no part, and the label's share of x's has another length",
    "other_margin_2": "the weight's length takes no part, and the label's share of x's has another length",
    "other_margin_3": "the weight's length takes no part",
    "other_margin_4": "the weight's length takes no part, and the label's share of x's has another length",
    "other_relu6_1": "some values are at the limit: there is a kink",
    "other_relu_relu6_1": "some values are at the limit: there is a kink",
    "other_unpooling_1": "the gradient of TILE is that of AVE",
    "other_unpooling_3": "values that another one covers have a gradient, too",
    "normalize_channels": "the scales of the channels come last",
    "normalize_image_channels": "the scales of the channels come last",
    "roipooling": "regions that end before they begin give none",
    "roipooling_of_items": "regions that end before they begin give none",
    "smooth_l1_inside": "it is not weighted once more",
    "smooth_l1_ohem_fixed": "it is not weighted once more",
    "smooth_l1_ohem_batch": "it is not weighted once more",
    "multibox_inside": "it is not divided by the variances once more",
    "detection_normalize_1": "the scales of the channels come last",
    "detection_normalize_2": "the scales of the channels come last",
    "detection_roi_pooling_1": "regions that end before they begin give none",
    "detection_roi_pooling_2_of_items": "regions that end before they begin give none",
    "detection_roi_pooling_3_of_items": "regions that end before they begin give none",
    "detection_smooth_l1_2": "it is not weighted once more",
    "detection_smooth_l1_ohem_1": "it is not weighted once more",
    "detection_multibox_2": "it is not divided by the variances once more",
    "detection_multibox_3": "it is not divided by the variances once more",
    "mvn_constant": "all values are equal: the deviation has a kink there",
}
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
# Compiled besides the first case of each type: what breaks the graph, and what has code of its own for it.
COMPILED_TOO = {"inplace_bnll", "overwritten_lrn_tanh", "lstm_segments", "lrn_across_k", "loss_softmax_saturated"}
# Values decide what they do: they break the graph again and again, which takes seconds. Proposal stands for all.
BROKEN_UP = {
    "DetectionEvaluate", "DetectionOutput", "MultiBoxLoss", "YoloDetectionOutput", "Yolov3DetectionOutput",
}  # fmt: skip
# What a trace cannot hold: Python itself, and what depends on values.
UNTRACED = {"Python", "DetectionEvaluate", "Lstm", "MarginInnerProduct"}
# Compiled to machine code, which takes seconds each: where torch's generated code is known to have been wrong.
GENERATED = {"pool_ave_ceil", "lasagne_maxpool3d"}
OVERWRITTEN = "a later layer overwrites, in place, what the original's backward pass reads"


def ids(cases: Iterable[Case]) -> object:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases])


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


def make(case: Case, param=None) -> nets.Net:
    net = nets.load(case.param if param is None else param, phase=case.phase, allow_python=True)
    with torch.no_grad():
        for key, value in case.part("param").items():
            layer, i = key.rsplit("/", 1)
            net.layer(layer).blobs[int(i)].copy_(torch.from_numpy(value))
    return net


def bottoms(case: Case, device="cpu", dtype=torch.float32) -> dict[str, Tensor]:
    wanted = case.part("bottom_diff")
    return {
        name: torch.from_numpy(value).to(device, dtype, copy=True).requires_grad_(name in wanted)
        for name, value in case.part("bottom").items()
    }


def backward(case: Case, net: nets.Net, blobs: dict[str, Tensor]) -> None:
    """Run the backward pass as the original did: from the given gradients, or from the losses of the net."""
    given = case.part("top_diff")
    tops = [blobs[name] for name in given] if given else [net.loss(blobs)]
    gradients = [torch.from_numpy(given[name]).to(blobs[name]) for name in given] if given else [None]
    pairs = [(top, gradient) for top, gradient in zip(tops, gradients, strict=True) if top.requires_grad]
    assert pairs, "no gradient flows"
    torch.autograd.backward(*zip(*pairs, strict=True))


def gradients(case: Case, net: nets.Net, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {f"bottom_diff/{name}": x for name, x in inputs.items()}
    for name in {key.rsplit("/", 1)[0] for key in case.part("param_diff")}:
        for i, blob in enumerate(net.layer(name).blobs):
            found[f"param_diff/{name}/{i}"] = blob if blob.is_leaf else owner(net, name, i)
    return {
        key: torch.zeros_like(blob) if blob.grad is None else blob.grad.reshape(case.values[key].shape)
        for key, blob in found.items()
        if key in case.values
    }


def owner(net: nets.Net, name: str, i: int) -> Tensor:
    """The blob whose memory blob *i* of layer *name* shares; the original keeps one gradient for both, their sum."""
    shared = net.layer(name).blobs[i]
    return next(p for p in net.parameters() if p.data_ptr() == shared.data_ptr())


def compare(case: Case, net: nets.Net, inputs: dict[str, Tensor], slack: float = 1.0, run: Run | None = None) -> None:
    """Forward and backward, everything that the case has a value for; *slack* times the tolerances."""
    blobs = (run or net.activations)(**inputs)
    for name, value in case.part("top").items():
        close(blobs[name], value, TOP * slack, NEAR_ZERO * slack, f"top {name}")
    for key, value in case.part("param_after").items():
        layer, i = key.rsplit("/", 1)
        close(net.layer(layer).blobs[int(i)], value, TOP * slack, NEAR_ZERO * slack, f"blob {key} afterwards")
    if not differentiable(case):
        return
    backward(case, net, blobs)
    for key, gradient in gradients(case, net, inputs).items():
        # Behind the scalar "gate", which made the original run backwards at all, its gradient of x is that of xw.
        factor = case.values["param/gate/0"] if key == "bottom_diff/x" and "param/gate/0" in case.values else 1
        close(gradient, factor * case.values[key], GRADIENT * slack, NEAR_ZERO * slack, key)


def close(found: Tensor, wanted: object, rtol: float, atol: float, what: str) -> None:
    values = found.detach().cpu().double().numpy()
    np.testing.assert_allclose(values, wanted, rtol=rtol, atol=atol, err_msg=what)


def differentiable(case: Case) -> bool:
    return any(key.startswith(("bottom_diff/", "param_diff/")) for key in case.values)


def types(case: Case) -> set[str]:
    return set(re.findall(r'type: "(\w+)"', case.prototxt)) & set(LAYERS)


def first_of_each_type() -> list[Case]:
    found: dict[str, Case] = {}
    for case in sorted(CASES, key=lambda case: len(types(case))):
        for name in types(case):
            found.setdefault(name, case)
    return list({case.name: case for case in found.values()}.values())


# ---- the table is whole


def test_every_layer_type_has_a_case():
    assert set(LAYERS) == set().union(*map(types, CASES))


def test_every_data_layer_type_has_a_test_of_its_batches():
    tests = Path(__file__).parents[1]
    written = [*tests.glob("data/*.py"), *tests.glob("golden/formats/**/*.prototxt")]
    seen = "\n".join(path.read_text() for path in written)
    assert [name for name in SOURCES if f'"{name}"' not in seen] == []


# ---- the numbers


@ids(CASES)
def test_numbers_of_the_original(case):
    compare(case, make(case), bottoms(case))


@ids(CASES)
def test_the_shape_is_known_before_the_run(case):
    net = make(case)
    axes = {top: layer.open_axis for node, layer in net.nodes for top in node.tops}
    for name, blob in net.activations(**bottoms(case)).items():
        known, found = list(net.shapes[name]), list(blob.shape)
        if (axis := axes.get(name)) is not None:
            assert found.pop(axis) <= known.pop(axis), name
        assert found == known, name


@ids(case for case in CASES if differentiable(case))
def test_the_gradient_is_the_derivative(case):
    if case.name in NOT_THE_DERIVATIVE:
        pytest.skip(NOT_THE_DERIVATIVE[case.name])
    if case.name.startswith(("inplace_", "overwritten_")):
        pytest.skip(OVERWRITTEN)
    net = make(case).double()
    inputs = bottoms(case, dtype=torch.float64)
    varied = [x for x in (*inputs.values(), *net.parameters()) if x.requires_grad]

    def run(*_: Tensor) -> tuple[Tensor, ...]:
        blobs = net.activations(**inputs)
        return tuple(blobs[name] for name in net.graph.outputs if blobs[name].requires_grad and blobs[name].numel())

    if run():
        assert torch.autograd.gradcheck(run, varied, fast_mode=True, check_undefined_grad=False)


@ids(CASES)
def test_text_and_back_gives_the_same_numbers(case):
    net = make(case)
    again = text.parse_net(text.to_text(net.to_proto()))
    assert again == net.to_proto()
    assert_same(net.activations(**bottoms(case)), make(case, again).activations(**bottoms(case)))


@ids(case for case in CASES if case.part("param"))
@pytest.mark.parametrize("kind", ["caffemodel", "caffemodel.h5"])
def test_weights_out_and_back_give_the_same_numbers(case, kind):
    net = make(case)
    save_weights(net, f"net.{kind}")
    again = nets.load(case.param, phase=case.phase, allow_python=True)
    load_weights(again, f"net.{kind}")
    assert_same(net.activations(**bottoms(case)), again.activations(**bottoms(case)))


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, blob in found.items():
        assert torch.equal(blob, wanted[name]), name


# ---- however it is run


@ids(CASES)
def test_double_precision_gives_the_same_numbers(case):
    compare(case, make(case).double(), bottoms(case, dtype=torch.float64))


@ids(case for case in CASES if any(value.ndim in CHANNELS_LAST for value in case.part("bottom").values()))
def test_channels_last_gives_the_same_numbers(case):
    net = make(case)
    if all(blob.ndim < 5 for blob in net.parameters()):
        net = net.to(memory_format=torch.channels_last)
    inputs = {
        name: x.detach().contiguous(memory_format=CHANNELS_LAST[x.ndim]).requires_grad_(x.requires_grad)
        if x.ndim in CHANNELS_LAST
        else x
        for name, x in bottoms(case).items()
    }
    compare(case, net, inputs)


@ids(case for case in CASES if any(value.ndim == 4 for value in case.part("bottom").values()))
def test_a_layout_that_axes_of_1_leave_open_gives_the_same_numbers(case):
    """The channels of one item last, with a stride for its axes of 1 that says nothing, as in a reshaped view."""

    def open_layout(x: Tensor) -> Tensor:
        if x.dim() != 4:
            return x
        y = x.detach().permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format).permute(0, 3, 1, 2)
        strides = [1 if size == 1 else stride for size, stride in zip(y.shape, y.stride(), strict=True)]
        return y.as_strided(y.shape, strides).requires_grad_(x.requires_grad)

    def passes(inputs: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor | None]]:
        torch.manual_seed(0)  # Dropout, and the gradients of the tops
        net = make(case)
        blobs = net.activations(**inputs)
        tops = [blobs[name] for name in net.graph.outputs]
        ends = [top for top in tops if top.requires_grad]
        leaves = [x for x in (*inputs.values(), *net.parameters()) if x.requires_grad]
        upstream = [torch.randn(top.shape) for top in ends]
        found = torch.autograd.grad(ends, leaves, upstream, allow_unused=True) if ends else ()
        return [top.detach() for top in tops], list(found)

    single = {name: x.detach()[:1].clone().requires_grad_(x.requires_grad) for name, x in bottoms(case).items()}
    try:
        wanted = passes(single)
    except (NetError, RuntimeError):
        pytest.skip("it does not take a single item")
    found = passes({name: open_layout(x) for name, x in single.items()})
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, equal_nan=True)


@ids(CASES)
def test_inputs_with_gaps_give_the_same_numbers(case):
    inputs = {
        name: torch.stack((x.detach(), x.detach() + 1), -1)[..., 0].requires_grad_(x.requires_grad)
        for name, x in bottoms(case).items()
    }
    compare(case, make(case), inputs)


@ids(CASES)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_gives_the_same_numbers(case):
    Options("fp32").apply(torch.device("cuda"))
    compare(case, make(case).cuda(), bottoms(case, "cuda"), slack=10)


@ids([
    *(case for case in first_of_each_type() if not types(case) & BROKEN_UP),
    *(case for case in CASES if case.name in COMPILED_TOO),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own, at each break
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own, at a Function
def test_a_compiled_net_gives_the_same_numbers(case):
    torch._dynamo.reset()
    net = make(case)
    compare(case, net, bottoms(case), run=torch.compile(net.activations, backend="aot_eager"))


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no compiler")
@ids(case for case in CASES if case.name in GENERATED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Guards may run slower")  # torch's own
def test_generated_code_gives_the_same_numbers(case):
    torch._dynamo.reset()
    net = make(case)
    compare(case, net, bottoms(case), slack=3, run=torch.compile(net.activations))


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no compiler")
@ids(case for case in CASES if case.name in {"lstm_segments", "lstm_fork"})
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Guards may run slower")  # torch's own
def test_generated_code_learns_from_inputs_without_gradients(case):
    torch._dynamo.reset()
    nets_, made = [make(case), make(case)], []
    inputs = {name: x.detach() for name, x in bottoms(case).items()}
    for net, run in zip(nets_, (nets_[0], torch.compile(nets_[1])), strict=True):
        tops = run(**inputs)
        sum(top.square().sum() for top in tops.values()).backward()
        made.append([*tops.values(), *(blob.grad for blob in net.parameters())])
    torch.testing.assert_close(made[1], made[0], rtol=1e-4, atol=1e-6)


@ids(case for case in first_of_each_type() if not types(case) & UNTRACED)
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_trace_is_a_file_of_pytorchs_own_operators(case):
    net, inputs, file = make(case), {name: x.detach() for name, x in bottoms(case).items()}, io.BytesIO()
    given = tuple(inputs[name] for name in net.graph.inputs)
    torch.jit.save(torch.jit.trace(make(case), given, check_trace=False, strict=False), file)
    file.seek(0)
    made = []
    for run in (net, torch.jit.load(file)):
        torch.manual_seed(0)
        made.append(run(*given))
    torch.testing.assert_close(*reversed(made), rtol=1e-4, atol=1e-5, equal_nan=True)


@ids(CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.03), (torch.float16, 0.004)])
def test_autocast_keeps_losses_and_normalisations_in_float32(case, dtype, tolerance):
    net, inputs, full, full_inputs = make(case), bottoms(case), make(case), bottoms(case)
    wanted = full.activations(**full_inputs)
    with torch.autocast("cpu", dtype):
        blobs = net.activations(**inputs)
        half = {name: x.to(dtype) if x.requires_grad else x for name, x in inputs.items()}
        from_half = make(case).activations(**half)
    for node, layer in net.nodes:
        if layer.fp32:
            assert {blobs[top].dtype for top in node.tops} <= {torch.float32}, node
            assert {from_half[top].dtype for top in node.tops} <= {torch.float32}, node
    for name, blob in blobs.items():
        if blob.numel():
            error = (blob.float() - wanted[name]).norm()
            assert error <= tolerance * wanted[name].norm() + 1e-3, name
    if differentiable(case):
        backward(case, net, blobs)
        backward(case, full, wanted)
        exact = gradients(case, full, full_inputs)
        for name, gradient in gradients(case, net, inputs).items():
            assert (gradient.float() - exact[name]).norm() <= 2 * tolerance * exact[name].norm() + 1e-2, name


@ids(first_of_each_type())
def test_a_copy_is_a_net_of_its_own(case):
    net = make(case)
    twin = copy.deepcopy(net)
    torch.save(net.state_dict(), "state.pt")
    again = nets.load(case.param, phase=case.phase, allow_python=True)
    again.load_state_dict(torch.load("state.pt"))
    compare(case, net, bottoms(case))
    for other in (twin, again):
        compare(case, other, bottoms(case))


@ids(case for case in CASES if case.name in {"python_affine", "act_relu_inplace", "overwritten_lrn_tanh"})
def test_a_gradient_that_is_no_derivative_is_not_differentiated_again(case):
    net, inputs = make(case), bottoms(case)
    blobs = net.activations(**inputs)
    tops = [blob for name, blob in blobs.items() if name not in inputs and blob.requires_grad]
    given = [x for x in inputs.values() if x.requires_grad]
    first = torch.autograd.grad(tops, given, [torch.ones_like(top) for top in tops], create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(sum(one.square().sum() for one in first), given)
