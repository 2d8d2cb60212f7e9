"""Where a net runs: the layout of its weights, and memory that stays with the process."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

import nets
from data.allocation import keep_freed_memory
from nets.layers import convolution
from nets.openmp import SPINS
from nets.placement import place
from nets.summary import multiply_adds
from protos import text

PROBE = """
import resource
{}
import torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        kept = [torch.ones(10_000_000) for _ in range(2)]
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(4):  # it settles
    faults()
print(faults())
"""

CORRUPTED = """
import torch
import nets
from nets.placement import place
from protos import text
net = place(nets.load(text.parse_net('''
    input: "x" input_shape { dim: 33 dim: 8 dim: 34 dim: 36 }
    layer { name: "c" type: "Convolution" bottom: "x" top: "y" convolution_param { num_output: 64 kernel_size: 1
      stride: 2 weight_filler { type: "xavier" } } }
''')), torch.device("cpu"))
for _ in range(20):
    net(x=torch.randn(33, 8, 34, 36))["y"].sum().backward()
"""

FIRST = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"))
sys.meta_path.insert(0, Watch())
import {}
"""

NET = """
input: "x" input_shape { dim: 8 dim: 3 dim: 32 dim: 32 }
layer { name: "large" type: "Convolution" bottom: "x" top: "y" convolution_param { num_output: 32 kernel_size: 5
  weight_filler { type: "xavier" } } }
layer { name: "pool" type: "Pooling" bottom: "y" top: "y4" pooling_param { kernel_size: 7 stride: 7 } }
layer { name: "tiny" type: "Convolution" bottom: "y4" top: "z" convolution_param { num_output: 4 kernel_size: 3
  weight_filler { type: "xavier" } } }
"""


def test_weights_lie_as_their_convolution_likes_it_and_give_the_same_numbers():
    net = nets.load(text.parse_net(NET))
    x = torch.rand(8, 3, 32, 32)
    wanted = net.activations(x=x)["z"]
    assert place(net, torch.device("cpu")) is net
    assert net.layer("large").blobs[0].is_contiguous(memory_format=torch.channels_last)
    assert net.layer("tiny").blobs[0].is_contiguous()
    torch.testing.assert_close(net(x=x)["z"], wanted, rtol=1e-5, atol=1e-6)


@pytest.fixture
def layouts(monkeypatch):
    """The layouts of what the convolutions take that are not tiny."""
    found = []

    def watched(x, *others):
        if not x.is_meta:
            found.append("as it came" if x.is_contiguous() else "channels last")
        return convolve(x, *others)

    convolve = convolution.convolve
    monkeypatch.setattr(convolution, "convolve", watched)
    return found


def test_a_net_computes_channels_last_where_that_is_faster(layouts):
    net = nets.load(text.parse_net(NET + 'layer { name: "out" type: "ReLU" bottom: "y" top: "o" }'))
    x = torch.rand(8, 3, 32, 32, requires_grad=True)
    wanted = net.activations(x=x)
    assert layouts == ["as it came"]  # a blob that is asked for lies as one expects
    found = net(x=x)
    assert layouts[1:] == ["channels last"] * 2  # the tiny one takes what comes
    for name in ("z", "o"):
        assert found[name].is_contiguous()
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-5, atol=1e-6)
    gradients = [
        torch.autograd.grad(tops["z"].square().sum() + tops["o"].sum(), [x, *net.parameters()])
        for tops in (found, wanted)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    layouts.clear()
    torch.testing.assert_close(net(x=x[:1])["z"], wanted["z"][:1], rtol=1e-5, atol=1e-6)
    assert layouts == []  # both are tiny
    net.double()
    assert net(x=x.double())["z"].dtype == torch.float64
    assert layouts == ["as it came"] * 2


def test_a_hook_sees_blobs_as_one_expects_them(layouts):
    net = nets.load(text.parse_net(NET))
    seen = []
    hook = net.layer("pool").register_forward_hook(lambda layer, bottoms, top: seen.append(top.view(8, -1)))
    net(x=torch.rand(8, 3, 32, 32))
    assert layouts == ["as it came"]
    hook.remove()
    net(x=torch.rand(8, 3, 32, 32))
    assert layouts[1:] == ["channels last"] * 2
    assert len(seen) == 1


def test_one_channel_is_laid_out_too(layouts):
    net = nets.load(text.parse_net(NET.replace("dim: 3 dim: 32", "dim: 1 dim: 32")))
    x = torch.rand(8, 1, 32, 32)
    found, wanted = net(x=x)["z"], net.activations(x=x)["z"]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    strides = []
    net.run_layer = lambda node, layer, bottoms: strides.append(bottoms[0].stride()) or layer(*bottoms)
    net(x=x)
    assert strides[:2] == [(1024, 1, 32, 1), (28 * 28 * 32, 1, 28 * 32, 32)]


@pytest.mark.parametrize("kind", ["BatchNorm", 'BN" bn_param { scale_filler { value: 1 } } name: "'])
@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_statistics_behind_a_reshape_of_what_lies_channels_last(kind, phase):
    """PyTorch's batch norm alone has wrong gradients here."""
    net = nets.load(
        text.parse_net(f"""
            input: "x" input_shape {{ dim: 1 dim: 16 dim: 32 dim: 32 }}
            layer {{ name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param {{ num_output: 32
              kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
            layer {{ name: "r" type: "Reshape" bottom: "c" top: "r"
              reshape_param {{ shape {{ dim: 0 dim: 0 dim: -1 dim: 1 }} }} }}
            layer {{ bottom: "r" top: "n" type: "{kind}" }}
        """),
        phase=phase,
    )
    for name in ("variance", "factor"):
        if (blob := getattr(net.nodes[-1][1], name, None)) is not None:
            blob.data.fill_(1)  # of no variance gradients are thousands, in whose rounding some others are lost
    drawn = torch.Generator().manual_seed(0)
    x, upstream = torch.rand(1, 16, 32, 32, generator=drawn), torch.randn(1, 32, 900, 1, generator=drawn)
    weight = net.layer("c").weight

    def gradient(run):
        return torch.autograd.grad(run(x=x)["n"], weight, upstream)[0]

    wanted = gradient(net.activations)
    assert wanted.abs().max() > 1e-3
    torch.testing.assert_close(gradient(net), wanted, rtol=1e-3, atol=1e-4)
    place(net, torch.device("cpu"))
    torch.testing.assert_close(gradient(net.activations), wanted, rtol=1e-3, atol=1e-4)


def test_a_tiny_convolution_of_single_pixels_learns_behind_a_larger_one():
    """As in the last layers of SSD; PyTorch's own kernel fails in the backward pass of what else lies channels last."""
    net = nets.load(
        text.parse_net(
            NET
            + """
            layer { name: "whole" type: "Pooling" bottom: "y" top: "m" pooling_param { kernel_size: 28 } }
            layer { name: "last" type: "Convolution" bottom: "m" top: "o" convolution_param { num_output: 4
              kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
        """
        )
    )
    x, weight = torch.rand(8, 3, 32, 32), net.layer("last").weight
    wanted = torch.autograd.grad(net.activations(x=x)["o"].square().sum(), weight)[0]
    found = torch.autograd.grad(net(x=x)["o"].square().sum(), weight)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    place(net, torch.device("cpu"))
    found = torch.autograd.grad(net.activations(x=x)["o"].square().sum(), weight)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_no_memory_is_written_that_belongs_to_others():
    """oneDNN does, and the process ends soon after, see ``correlate``."""
    done = subprocess.run([sys.executable, "-c", CORRUPTED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("options", ["stride: 2", "stride_h: 3 stride_w: 1", "stride: 2 pad: 1", "stride: 2 pad_l: 1"])
def test_single_pixels_of_few_channels(options):
    net = nets.load(
        text.parse_net(f"""
            input: "x" input_shape {{ dim: 3 dim: 5 dim: 17 dim: 12 }}
            layer {{ name: "c" type: "Convolution" bottom: "x" top: "y" convolution_param {{ num_output: 32
              kernel_size: 1 {options} weight_filler {{ type: "xavier" }} }} }}
        """)
    )
    layer, x = net.layer("c"), torch.rand(3, 5, 17, 12)
    pad = (1, 0) if "pad_l" in options else (int("pad" in options),) * 4
    padded = torch.nn.functional.pad(x, pad)
    wanted = torch.einsum("nchw,oc->nohw", padded, layer.weight[..., 0, 0])
    rows, columns = layer.window.stride
    torch.testing.assert_close(net(x=x)["y"], wanted[:, :, ::rows, ::columns], rtol=1e-5, atol=1e-6)


def test_where_there_are_many_weights_blobs_lie_as_these_do(layouts):
    """Laying out the weights takes longer than the convolution gains."""
    net = nets.load(
        text.parse_net("""
            input: "x" input_shape { dim: 1 dim: 16 dim: 32 dim: 32 }
            layer { name: "large" type: "Convolution" bottom: "x" top: "y" convolution_param { num_output: 128
              kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
            layer { name: "pool" type: "Pooling" bottom: "y" top: "p" pooling_param { kernel_size: 8 stride: 8 } }
            layer { name: "heavy" type: "Convolution" bottom: "p" top: "z" convolution_param { num_output: 128
              kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
        """)
    )
    x = torch.rand(1, 16, 32, 32)
    wanted = net.activations(x=x)["z"]
    layouts.clear()
    for placed in (False, True):
        if placed:
            place(net, torch.device("cpu"))
        torch.testing.assert_close(net(x=x)["z"], wanted, rtol=1e-5, atol=1e-6)
        assert layouts == ["channels last", "as it came"]
        layouts.clear()
    assert not net.layer("large").blobs[0].is_contiguous()
    assert net.layer("heavy").blobs[0].is_contiguous()
    net(x=x.repeat(16, 1, 1, 1))
    assert layouts == ["channels last"] * 2  # many values, too


def test_a_net_that_is_mapped_over_computes_so_too():
    net = nets.load(text.parse_net(NET))
    xs = torch.rand(2, 8, 3, 32, 32)
    found = torch.func.vmap(lambda x: net(x=x)["z"])(xs)
    torch.testing.assert_close(found, torch.stack([net.activations(x=x)["z"] for x in xs]), rtol=1e-5, atol=1e-6)


def test_weights_of_volumes_stay_as_they_are():
    layer = 'type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } }'
    net = nets.load(
        text.parse_net(
            'input: "x" input_shape { dim: 2 dim: 3 dim: 5 dim: 5 dim: 5 } '
            f'layer {{ name: "c" bottom: "x" top: "y" {layer} }}'
        )
    )
    x = torch.rand(2, 3, 5, 5, 5)
    wanted = net(x=x)["y"]
    torch.testing.assert_close(place(net, torch.device("cpu"))(x=x)["y"], wanted)
    assert net.layer("c").blobs[0].is_contiguous()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a matter of glibc")
def test_blobs_are_not_faulted_in_again():
    def faults(setting: str) -> int:
        done = subprocess.run([sys.executable, "-c", PROBE.format(setting)], capture_output=True, text=True, check=True)
        return int(done.stdout)

    usual = faults("")
    kept = faults("from data.allocation import keep_freed_memory; keep_freed_memory()")
    assert kept < usual / 10


def test_loading_a_net_has_blobs_kept(monkeypatch):
    set_to = []
    monkeypatch.setattr("ctypes.CDLL", lambda _: SimpleNamespace(mallopt=lambda *setting: set_to.append(setting) or 1))
    nets.load(text.parse_net(NET))
    assert set_to
    set_to.clear()
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")  # the user has said something
    nets.load(text.parse_net(NET))
    assert not set_to


def test_an_older_library_is_told_what_it_takes(monkeypatch):
    """The second setting alone would leave it at giving each block of 128 kB back."""
    set_to = {}

    class Old:
        def mallopt(self, what, size):
            taken = what != -3 or size <= 2**25
            if taken:
                set_to[what] = size
            return int(taken)

    monkeypatch.setattr("ctypes.CDLL", lambda _: Old())
    keep_freed_memory()
    assert set_to == {-3: 2**25, -1: 2**30}


@pytest.mark.parametrize("module", ["nets.train", "converters.run", "converters.lasagne"])
@pytest.mark.parametrize(
    ("set_by_user", "seen"),
    [({}, str(SPINS)), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_wait_a_short_time_unless_the_user_says_otherwise(module, set_by_user, seen):
    """torch looks when it is imported."""
    others = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    call = [sys.executable, "-c", FIRST.format(module)]
    done = subprocess.run(call, capture_output=True, text=True, check=True, env=others | set_by_user)
    assert done.stdout == f"{seen}\n"


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ('layer { name: "i" type: "InnerProduct" bottom: "z" top: "o" inner_product_param { num_output: 5 } }',
         8 * 28 * 28 * 32 * 75 + 8 * 2 * 2 * 4 * 288 + 8 * 5 * 16),
        ('layer { name: "r" type: "ReLU" bottom: "z" top: "r" }', 8 * 28 * 28 * 32 * 75 + 8 * 2 * 2 * 4 * 288),
        ('layer { name: "p" type: "PReLU" bottom: "z" top: "p" }', None),
    ],
)  # fmt: skip
def test_multiply_adds_of_a_pass(layers, wanted):
    """They decide on the threads; a type with blobs that is not counted leaves that open."""
    assert multiply_adds(nets.load(text.parse_net(NET + layers))) == wanted
