"""Every layer and every update rule on a GPU that has no values: what is left on the CPU, or reads values back, shows.

A CUDA graph can hold neither. Run as a program with ``pretended_gpu.cpp`` loaded in front of PyTorch; prints JSON.
"""

import contextlib
import json
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import nets
from nets.lasagne_updates import UPDATES
from nets.net import Blob
from protos.schema import SolverParameter
from tests.nets.cases import CASES, Case


def on_gpu(x: Tensor) -> Tensor:
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="cuda")


def move(net: nets.Net) -> None:
    for module in net.modules():
        for name, blob in module._parameters.items():
            if blob is not None:
                module._parameters[name] = nn.Parameter(on_gpu(blob), requires_grad=blob.requires_grad)
        for name, statistic in module._buffers.items():
            if statistic is not None:
                module._buffers[name] = on_gpu(statistic)


def pass_through(case: Case, dtype: torch.dtype | None) -> None:
    """The case forward and backward, with autocast to *dtype* if any."""
    net = nets.load(case.param, phase=case.phase, allow_python=True)
    labels = {node.bottoms[i] for node, layer in net.nodes for i in layer.labels if i < len(node.bottoms)}
    with FakeTensorMode():
        move(net)
        inputs = {name: on_gpu(torch.from_numpy(values)) for name, values in case.part("bottom").items()}
        for name, x in inputs.items():
            x.requires_grad_(name not in labels and case.phase == "TRAIN")
        with contextlib.nullcontext() if dtype is None else torch.autocast("cuda", dtype):
            outputs, _ = net.forward_with_loss(inputs)
        assert all(top.is_cuda for top in outputs.values())
        live = [top.sum() for top in outputs.values() if top.requires_grad]
        if live:
            torch.autograd.backward(live)


def update(rule: str, **fields: object) -> None:
    """Two steps of a rule, the rate in a tensor as in a CUDA graph."""
    with FakeTensorMode():
        blobs = [Blob(key, nn.Parameter(torch.ones(4, 3, device="cuda")), 1.0, 1.0) for key in "ab"]
        blobs[1] = Blob("b", blobs[1].tensor, 2.0, 0.0)
        param = SolverParameter(base_lr=0.1, weight_decay=0.1, type=rule, **fields)
        made = UPDATES[rule].from_proto(param, blobs, 0.1)
        made.hold_rate(torch.tensor(0.1, device="cuda"))
        for _ in range(2):
            for blob in blobs:
                blob.tensor.grad = torch.ones_like(blob.tensor)
            made.update()
            made.rate = 0.05


def fused(*parts: object, **options: object) -> None:
    """Stands in for PyTorch's fused updates, which it does not try out without values: all is on one device."""
    held = [x for part in (*parts, *options.values()) for x in (part if isinstance(part, list) else [part])]
    assert all(x.is_cuda for x in held if isinstance(x, Tensor))


def rules() -> Iterable[tuple[str, dict[str, object]]]:
    options: dict[str, dict[str, object]] = {name: {"momentum": 0.9} for name in UPDATES}
    for name in ("AdaGrad", "RMSProp", "RootAdaGrad", "RootRMSProp"):
        options[name] = {"delta": 1e-6, **({"rms_decay": 0.9} if "RMS" in name else {})}
    for name, fields in options.items():
        yield name, fields
        yield name, {**fields, "clip_gradients": 1.0, "regularization_type": "L1"}


def main() -> None:
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False  # so that autocast is not switched off
    torch.cuda.is_bf16_supported = lambda *_: True
    for name in ("_fused_sgd_", "_fused_adam_"):
        for overload in ("", ".tensor_lr"):
            torch.library.register_fake(f"aten::{name}{overload}", fused)
    failed: dict[str, str] = {}
    ran = 0
    jobs = [(case.name, pass_through, (case, None)) for case in CASES]
    jobs += [(case.name, pass_through, (case, torch.bfloat16)) for case in CASES]
    for name, job, arguments in jobs:
        ran += 1
        try:
            job(*arguments)
        except Exception as error:  # whatever it is, the test says what it was
            failed[name] = " ".join(str(error.__cause__ or error).split())[:300]
    for name, fields in rules():
        ran += 1
        try:
            update(name, **fields)
        except Exception as error:  # as above
            failed[f"{name} {fields}"] = " ".join(str(error).split())[:300]
    print(json.dumps({"ran": ran, "failed": failed}))


if __name__ == "__main__":
    main()
