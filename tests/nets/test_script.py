"""Passes as a script: the same bits as from Python and autograd, on other numbers than were recorded too."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import nets
from nets import script
from nets.layers.choice import ENOUGH
from nets.script import Repeated, Script, ScriptError
from nets.step import UNREPEATABLE, Options
from protos import text
from protos.errors import NetError
from tests.nets.test_layers import bottoms, first_of_each_type, ids, make, types


def passes_of(net: nets.Net) -> script.Passes:
    """Forward, and backward from the sum of all tops, as far as they have a gradient."""

    def passes(batch):
        tops = net(**batch)
        sums = [top.sum() for top in tops.values() if top.requires_grad]
        loss = torch.stack(sums).sum() if sums else torch.zeros(())
        if sums:
            loss.backward()
        return {name: top.detach() for name, top in tops.items()}, loss.detach()

    return passes


def everything(net: nets.Net, outputs: dict[str, Tensor], loss: Tensor) -> list[Tensor]:
    grads = [torch.zeros(()) if blob.grad is None else blob.grad for blob in net.parameters()]
    return [loss, *outputs.values(), *grads, *net.buffers()]


@ids(case for case in first_of_each_type() if not types(case) & UNREPEATABLE)
def test_a_script_gives_the_bits_of_the_layers(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recorded = {name: x.detach() for name, x in bottoms(case).items()}
    other = {name: x.flip(0) for name, x in recorded.items()}
    eager, scripted = make(case), make(case)
    blobs = list(scripted.parameters())
    once = Script(passes_of(scripted), blobs, list(scripted.buffers()), recorded)
    with torch.no_grad():  # what it must not have taken for constants
        for blob in (*eager.parameters(), *blobs):
            blob.mul_(0.5)
    torch.manual_seed(1)
    wanted = everything(eager, *passes_of(eager)(other))
    torch.manual_seed(1)
    outputs, loss, grads = once(other)
    for blob, grad in zip(blobs, grads, strict=True):
        blob.grad = grad
    found = everything(scripted, outputs, loss)
    assert all(torch.equal(x, y) for x, y in zip(found, wanted, strict=True))


CHOOSING = """
    input: "x" input_shape { dim: 8 dim: 16 dim: 16 dim: 16 }
    layer { name: "r" type: "PReLU" bottom: "x" top: "r" }
    layer { name: "d" type: "Dropout" bottom: "r" top: "d" dropout_param { dropout_ratio: 0.3 } }
    layer { name: "c" type: "Clip" bottom: "d" top: "c" clip_param { min: -0.5 max: 0.5 } }
    layer { name: "m" type: "Eltwise" bottom: "c" bottom: "x" top: "m" eltwise_param { operation: MAX } }
    layer { name: "h" type: "Dropout" bottom: "m" top: "h" }
    layer { name: "i" type: "InnerProduct" bottom: "h" top: "y" inner_product_param { num_output: 3
      weight_filler { type: "xavier" } } }
"""


def test_a_script_of_layers_that_choose_and_draw():
    net = nets.load(text.parse_net(CHOOSING), phase="TRAIN")
    batch = {"x": torch.randn(8, 16, 16, 16)}
    assert batch["x"].numel() >= ENOUGH
    once = Script(passes_of(net), list(net.parameters()), [], batch)
    torch.manual_seed(1)
    wanted = everything(net, *passes_of(net)(batch))
    torch.manual_seed(1)
    outputs, loss, grads = once(batch)
    assert all(torch.equal(x, y) for x, y in zip([loss, *outputs.values(), *grads], wanted, strict=True))


@pytest.mark.parametrize("case", ["adam", "sgd_multistep_itersize"])
def test_training_by_script_gives_the_same_bits(case, work, monkeypatch):
    monkeypatch.setattr(script, "AFTER", 3)
    monkeypatch.setattr(script, "BELOW", 60.0)

    def trained(options: Options) -> nets.Solver:
        param = text.read_solver(Path(case) / "solver.prototxt")
        param.snapshot = 0
        solver = nets.Solver(param, "cpu", options=options)
        solver.step(7)
        return solver

    scripted, eager = trained(Options()), trained(Options(graph=False))
    assert scripted._step._passes.script is not None
    assert scripted.losses == eager.losses
    for mine, theirs in zip(scripted.net.parameters(), eager.net.parameters(), strict=True):
        assert torch.equal(mine, theirs)


CLASSIFIER = """
input: "x" input_shape { dim: 3 dim: 4 }
input: "label" input_shape { dim: 3 }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 5
  weight_filler { type: "xavier" } } }
layer { name: "judge" type: "%s" bottom: "ip" bottom: "label" top: "judged" }
"""


@pytest.mark.parametrize("judge", ["SoftmaxWithLoss", "HingeLoss", "MultinomialLogisticLoss", "Accuracy"])
def test_a_label_out_of_range_is_still_refused_by_the_layer(judge, monkeypatch):
    monkeypatch.setattr(script, "AFTER", 0)
    net = nets.load(text.parse_net(CLASSIFIER % judge), phase="TRAIN")
    repeated = Repeated(passes_of(net), list(net.parameters()), [])
    x = torch.rand(3, 4)
    repeated({"x": x, "label": torch.tensor([0.0, 1, 4])})
    assert repeated.script is not None
    with pytest.raises(NetError, match=r"layer 'judge'.*label 7 is out of range"):
        repeated({"x": x, "label": torch.tensor([0.0, 7, 4])})


@pytest.mark.parametrize("judge", ["SoftmaxWithLoss", "HingeLoss", "Accuracy"])
def test_a_label_out_of_range_in_the_pass_to_record_is_refused_by_the_layer(judge, monkeypatch):
    monkeypatch.setattr(script, "AFTER", 0)
    net = nets.load(text.parse_net(CLASSIFIER % judge), phase="TRAIN")
    repeated = Repeated(passes_of(net), list(net.parameters()), [])
    with pytest.raises(NetError, match=r"layer 'judge'.*label 7 is out of range"):
        repeated({"x": torch.rand(3, 4), "label": torch.tensor([0.0, 7, 4])})


def test_a_net_with_a_layer_that_reads_its_numbers_trains_on(monkeypatch, caplog):
    caplog.set_level("INFO", logger="caffe")
    monkeypatch.setattr(script, "AFTER", 0)
    net = nets.load(text.parse_net(CLASSIFIER % "SoftmaxWithLoss"), phase="TRAIN")
    layer = net.layer("ip")
    forward = layer.forward
    monkeypatch.setattr(layer, "forward", lambda x: forward(x) * (1 if x.sum().item() > 0 else 2))
    repeated = Repeated(passes_of(net), list(net.parameters()), [])
    batch = {"x": torch.rand(3, 4), "label": torch.tensor([0.0, 1, 4])}
    assert repeated(batch)[1] == repeated(batch)[1]
    assert repeated.script is None
    assert sum("Running without a script" in line for line in caplog.messages) == 1


def test_the_cap_of_the_softmax_loss_holds_in_a_script(monkeypatch):
    """Recorded with small losses, run with one beyond the cap."""
    monkeypatch.setattr(script, "AFTER", 0)
    net = nets.load(text.parse_net(CLASSIFIER % "SoftmaxWithLoss"), phase="TRAIN")
    repeated = Repeated(passes_of(net), list(net.parameters()), [])
    label = torch.tensor([0.0, 1, 4])
    repeated({"x": torch.rand(3, 4), "label": label})
    assert repeated.script is not None
    huge = {"x": 1e4 * torch.rand(3, 4), "label": label}
    with torch.no_grad():
        net.layer("ip").blobs[0].copy_(torch.eye(5, 4))
    assert repeated(huge)[1] == passes_of(net)(huge)[1] <= 87.34


class TestRepeated:
    """When a script is used, and when not; on y = w x summed."""

    def make(self, monkeypatch, look=lambda x: 0, after=2):
        monkeypatch.setattr(script, "AFTER", after)
        weight = nn.Parameter(torch.tensor([2.0, 3.0]))
        self.looks = 0

        def passes(batch):
            loss = (batch["x"] * weight).sum() + look(batch["x"])
            self.looks += 1
            loss.backward()
            return {}, loss.detach()

        return Repeated(passes, [weight], []), weight

    def test_gradients_add_up_over_micro_batches(self, monkeypatch):
        repeated, weight = self.make(monkeypatch)
        for _ in range(4):
            weight.grad = None
            for _ in range(3):
                repeated({"x": torch.tensor([1.0, 5.0])})
            assert weight.grad.tolist() == [3.0, 15.0]
        assert repeated.script is not None

    def test_a_batch_of_another_shape_runs_eagerly(self, monkeypatch):
        repeated, _ = self.make(monkeypatch, after=0)
        repeated({"x": torch.ones(2)})
        looks = self.looks
        assert repeated({"x": torch.ones(2)})[1] == 5
        assert self.looks == looks
        assert repeated({"x": torch.ones(4, 2)})[1] == 20
        assert self.looks == looks + 1

    def test_a_pass_that_reads_its_numbers_stays_eager(self, monkeypatch):
        repeated, _ = self.make(monkeypatch, look=lambda x: x.sum().item(), after=0)
        assert [repeated({"x": torch.full((2,), float(i))})[1].item() for i in (1, 2, 3)] == [7, 14, 21]
        assert repeated.script is None

    def test_a_pass_that_differs_from_call_to_call_stays_eager(self, monkeypatch):
        repeated, weight = self.make(monkeypatch, look=lambda x: self.looks, after=0)
        repeated({"x": torch.ones(2)})
        assert repeated.script is None
        with pytest.raises(ScriptError, match="its numbers differ"):
            Script(repeated._passes, [weight], [], {"x": torch.ones(2)})

    def test_long_passes_stay_eager(self, monkeypatch):
        monkeypatch.setattr(script, "BELOW", -1.0)
        repeated, weight = self.make(monkeypatch)
        for _ in range(4):
            weight.grad = None
            repeated({"x": torch.ones(2)})
        assert repeated.script is None


def test_a_script_leaves_out_what_changes_nothing():
    blob = nn.Parameter(torch.randn(5, 4))
    batch = {"x": torch.randn(3, 4)}

    def passes(batch):
        y = nn.functional.soft_margin_loss(batch["x"] @ blob.t(), torch.ones(3, 5))
        y.backward()  # whose own gradient is a scalar of one, and whose product transposes twice
        return {}, y.detach()

    made = Script(passes, [blob], [], batch)
    operators = str(made._run.code)
    assert "ones_like" not in operators
    assert operators.count("aten.t(") <= 2
    again = {"x": batch["x"] + 1}
    found = made(again).grads[0]
    passes(again)
    assert torch.equal(found, blob.grad)


@pytest.mark.parametrize("viewed", [False, True])
def test_a_scalar_that_the_pass_changes_is_no_constant(viewed):
    blob = nn.Parameter(torch.randn(4))

    def passes(batch):
        y = (batch["x"] * blob).sum()
        start = torch.ones_like(y)
        (start.view(1) if viewed else start).add_(batch["x"].sum())
        y.backward(start)
        return {}, y.detach()

    made = Script(passes, [blob], [], {"x": torch.ones(4)})
    for scale in (1.0, 2.0):
        grad = made({"x": torch.full((4,), scale)}).grads[0]
        assert grad.tolist() == [scale * (1 + 4 * scale)] * 4
