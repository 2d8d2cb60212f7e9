"""Products of matrices: those that oneDNN multiplies, against NumPy in double precision, and those that it does not."""

import platform

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import nets
from nets.layers import product
from nets.layers.product import ENOUGH, linear
from protos import text
from tests.calls import Calls

ROWS, COLUMNS, UNITS = 64, 300, 200

NET = f"""
input: "x" input_shape {{ dim: {ROWS} dim: {COLUMNS} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {{ num_output: {UNITS}
  weight_filler {{ type: "xavier" }} bias_filler {{ type: "gaussian" }} transpose: %s }} }}
"""


@pytest.fixture(autouse=True)
def _as_on_amd(monkeypatch):
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("a PyTorch without oneDNN")
    monkeypatch.setattr(product, "WITH_ONEDNN", True)
    torch.manual_seed(1)


def spread(rows: int, columns: int) -> Tensor:
    """A matrix whose values lie apart in memory."""
    return torch.randn(2 * rows, 2 * columns)[::2, ::2]


FACTORS = {
    "plain": lambda: (torch.randn(ROWS, COLUMNS), torch.randn(UNITS, COLUMNS), torch.randn(UNITS)),
    "transposed": lambda: (torch.randn(COLUMNS, ROWS).t(), torch.randn(COLUMNS, UNITS).t(), torch.randn(UNITS)),
    "without bias": lambda: (torch.randn(ROWS, COLUMNS), torch.randn(UNITS, COLUMNS), None),
    "apart": lambda: (spread(ROWS, COLUMNS), spread(UNITS, COLUMNS), torch.randn(2 * UNITS)[::2]),
    "one row again and again": lambda: (torch.randn(1, COLUMNS).expand(ROWS, -1), torch.randn(UNITS, COLUMNS), None),
    "steps": lambda: (torch.randn(4, ROWS // 4, COLUMNS), torch.randn(UNITS, COLUMNS), torch.randn(UNITS)),
}


@pytest.mark.parametrize("kind", FACTORS)
def test_a_large_product_and_its_gradients_are_numpys(kind):
    x, weight, bias = FACTORS[kind]()
    leaves = [None if one is None else one.detach().requires_grad_() for one in (x, weight, bias)]
    with Calls() as calls:
        y = linear(*leaves)
        upstream = torch.randn(y.shape)
        y.backward(upstream)
    assert calls.products == 3
    x_np, weight_np, g_np = (one.double().numpy().reshape(-1, one.shape[-1]) for one in (x, weight, upstream))
    added = 0 if bias is None else bias.double().numpy()
    wanted = [x_np @ weight_np.T + added, g_np @ weight_np, g_np.T @ x_np, g_np.sum(0)]
    found = [y.detach(), *(None if leaf is None else leaf.grad for leaf in leaves)]
    for mine, theirs in zip(found, wanted, strict=True):
        if mine is not None:
            np.testing.assert_allclose(mine.numpy().reshape(theirs.shape), theirs, rtol=1e-5, atol=1e-4)


def test_a_gradient_that_is_one_value_again_and_again():
    x, weight = torch.randn(ROWS, COLUMNS), torch.randn(UNITS, COLUMNS, requires_grad=True)
    linear(x, weight).sum().backward()  # the gradient of a sum has no memory of its own
    torch.testing.assert_close(weight.grad, x.sum(0).expand(UNITS, -1), rtol=1e-5, atol=1e-4)


def test_only_the_gradients_that_are_asked_for():
    x, weight = torch.randn(ROWS, COLUMNS), torch.randn(UNITS, COLUMNS, requires_grad=True)
    with Calls() as calls:
        linear(x, weight, torch.randn(UNITS)).sum().backward()
    assert calls.products == 2


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # by torch.func itself
def test_gradients_of_gradients_and_the_transforms_of_torch_func():
    x, weight, bias = torch.randn(ROWS, COLUMNS), torch.randn(UNITS, COLUMNS) / 9, torch.randn(UNITS)

    def total(function):
        return lambda x, weight, bias: function(x, weight, bias).pow(3).mean()

    def penalty(function):
        given = [one.clone().requires_grad_() for one in (x, weight, bias)]
        grads = torch.autograd.grad(total(function)(*given), given, create_graph=True)
        return torch.autograd.grad(sum(grad.pow(2).sum() for grad in grads), given)

    every = (0, 1, 2)
    for mine, theirs in (
        (penalty(linear), penalty(F.linear)),
        tuple(torch.func.grad(total(function), every)(x, weight, bias) for function in (linear, F.linear)),
        *((torch.func.jvp(linear, given, given), torch.func.jvp(F.linear, given, given))
          for given in ((x, weight, bias), (x, weight))),
        (torch.func.jvp(lambda b: linear(x, weight, b), (bias,), (bias,)),
         (linear(x, weight, bias), bias.expand(ROWS, -1))),
    ):  # fmt: skip
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    many = torch.randn(3, ROWS, COLUMNS)
    found = torch.func.vmap(linear, (0, None, None))(many, weight, bias)
    torch.testing.assert_close(found, F.linear(many, weight, bias), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("rows", "columns", "units"),
    [(3, 2000, 2000), (2000, 3, 2000), (2000, 2000, 3), (128, 128, 128), (0, 9, 9), (9, 0, 9)],
)
def test_thin_and_small_products_are_left_to_pytorch(rows, columns, units):
    assert min(rows, columns, units) < 4 or rows * columns * units < ENOUGH
    x, weight = torch.randn(rows, columns), torch.randn(units, columns)
    with Calls() as calls:
        y = linear(x, weight)
    assert not calls.products
    assert torch.equal(y, F.linear(x, weight))


@pytest.mark.filterwarnings("ignore:`torch.jit.trace` is deprecated:DeprecationWarning")  # but still in use
def test_other_types_casts_and_devices_are_left_to_pytorch():
    x, weight = torch.randn(ROWS, COLUMNS), torch.randn(UNITS, COLUMNS)
    with Calls() as calls:
        assert linear(x.double(), weight.double()).dtype == torch.float64
        assert linear(x.to("meta"), weight.to("meta")).is_meta
        with torch.autocast("cpu", torch.bfloat16):
            assert linear(x, weight).dtype == torch.bfloat16
        torch.backends.mkldnn.set_flags(_enabled=False)
        try:
            linear(x, weight)
        finally:
            torch.backends.mkldnn.set_flags(_enabled=True)
    assert not calls.products
    traced = torch.jit.trace(linear, (x, weight), check_trace=False)  # a file that other builds of PyTorch can read
    assert "mkldnn" not in str(traced.inlined_graph)
    exported = torch.export.export(nets.load(text.parse_net(NET % "false")), (), {"x": x})
    assert "mkldnn" not in str(exported.graph)


@pytest.mark.parametrize("transpose", ["false", "true"])
def test_an_inner_product_multiplies_so(transpose):
    net = nets.load(text.parse_net(NET % transpose))
    weight, bias = net.layer("ip").blobs
    x = torch.randn(ROWS, COLUMNS)
    with Calls() as calls:
        y = net(x=x)["y"]
    assert calls.products == 1
    wanted = x.double() @ (weight if transpose == "true" else weight.t()).double() + bias
    torch.testing.assert_close(y.double(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options", "shapes"),
    [
        ("SimpleRNN", f"sequence_param {{ num_output: {UNITS} }}", [(16, 48, COLUMNS)]),
        ("RNN", "recurrent_param { num_output: 256 }", [(40, 16, 9), (40, 16)]),  # what it reads out of its states
    ],
)
def test_sequences_are_multiplied_for_all_steps_at_once(kind, options, shapes):
    inputs = "".join(
        f'input: "x{i}" input_shape {{ {" ".join(f"dim: {size}" for size in shape)} }} '
        for i, shape in enumerate(shapes)
    )
    bottoms = " ".join(f'bottom: "x{i}"' for i in range(len(shapes)))
    net = nets.load(text.parse_net(f'{inputs} layer {{ name: "l" type: "{kind}" {bottoms} top: "y" {options} }}'))
    with Calls() as calls:
        net(*(torch.ones(shape) for shape in shapes))
    assert calls.products == 1


@pytest.mark.parametrize(("vendor", "is_amd"), [("AuthenticAMD", True), ("GenuineIntel", False)])
def test_who_made_the_processor(vendor, is_amd, tmp_path, monkeypatch):
    told = tmp_path / "cpuinfo"
    told.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: 6\n")
    monkeypatch.setattr(product, "CPUINFO", told)
    assert product._is_amd() is is_amd
    monkeypatch.setattr(product, "CPUINFO", tmp_path / "none")  # as on Windows
    monkeypatch.setattr(platform, "processor", lambda: f"Intel64 Family 6 Model 158, {vendor}")
    assert product._is_amd() is is_amd
